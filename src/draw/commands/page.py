"""draw page: watch a trained model draw in the browser."""

import contextlib
import re
import signal
import webbrowser
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread
from typing import Annotated

import tyro

from draw.commands import console
from draw.commands.options import check_range
from draw.model import DRAW
from draw.page import PageServer, build_site
from draw.zoo import load


@dataclass(frozen=True, kw_only=True)
class Options:
    """Watch trained models draw on an interactive page, served to this computer only."""

    model: Annotated[tyro.conf.Positional[str | None], tyro.conf.arg(metavar="MODEL")] = None
    """The model to show first: the name of a trained model, a run folder, the folder of a saved
    model or a Hugging Face hub id."""
    port: int = 0
    """Port of the server; 0 chooses a free one."""
    browser: bool = True
    """Open the page in the browser; otherwise only print its address."""
    export: Path | None = None
    """Write the page to this folder, for any static host, instead of serving it."""

    def __post_init__(self) -> None:
        check_range(0, 65_535, port=self.port)


def main(arguments: list[str]) -> int:
    """Run the command and return its exit status."""
    options = console.parse(Options, "draw page", arguments)
    console.prepare_device("cpu")
    models = {}
    if options.model is not None:
        models = {_short_name(options.model): load(options.model, DRAW)}
    if options.export is not None:
        build_site(options.export, models)
        console.say(f"{options.export}: upload it to any static host (needs http, not file://)")
        return 0
    with TemporaryDirectory(prefix="draw-page-") as folder:
        build_site(Path(folder), models)
        with PageServer(Path(folder), options.port) as server:
            console.say(f"{server.url}   (Ctrl-C stops it)")
            with _until_stopped():
                if options.browser:  # a text browser blocks until it is closed
                    Thread(target=webbrowser.open, args=[server.url], daemon=True).start()
                server.serve_forever()
    return 0


@contextlib.contextmanager
def _until_stopped() -> Iterator[None]:
    """End the block at Ctrl-C or SIGTERM, even if the shell ignores Ctrl-C (`draw page &`)."""
    stops = (signal.SIGINT, signal.SIGTERM)
    previous = {stop: signal.signal(stop, signal.default_int_handler) for stop in stops}
    try:
        yield
    except KeyboardInterrupt:
        pass
    finally:
        for stop, handler in previous.items():
            signal.signal(stop, handler)


def _short_name(name: str) -> str:
    """Return the last part of a path or hub id, with only characters that need no URL escapes.

    >>> _short_name("runs/my digits/"), _short_name("someone/digits"), _short_name("..")
    ('my-digits', 'digits', 'model')
    """
    last = re.split(r"[/\\]", name.rstrip("/\\"))[-1]
    return re.sub(r"[^\w.-]+", "-", last).strip(".-") or "model"
