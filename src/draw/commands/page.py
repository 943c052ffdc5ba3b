"""draw page: a page in the browser where the model paints."""

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

from draw import page
from draw.commands import console
from draw.model import DRAW
from draw.zoo import load


@dataclass(frozen=True, kw_only=True)
class Options:
    """Open a page in the browser where the model paints, served on this computer alone."""

    model: Annotated[tyro.conf.Positional[str | None], tyro.conf.arg(metavar="MODEL")] = None
    """A trained model's name, a run folder, a saved model's folder or a hub id: shown first."""
    port: int = 0
    """Where to serve it; 0 takes a port that is free."""
    browser: bool = True
    """Open it in the browser; else only tell its address."""
    export: Path | None = None
    """Write the page into this folder for any static host instead of serving it."""

    def __post_init__(self) -> None:
        console.check_range(0, 65_535, port=self.port)


def main(arguments: list[str]) -> int:
    """Run the command; the exit status."""
    options = console.parse(Options, "draw page", arguments)
    console.prepare_device("cpu")
    models = {}
    if options.model is not None:
        models = {_short(options.model): load(options.model, DRAW)}
    if options.export is not None:
        page.assemble(options.export, models)
        console.say(f"{options.export}: for any static host; opened as a file it cannot run")
        return 0
    with TemporaryDirectory(prefix="draw-page-") as folder:
        page.assemble(Path(folder), models)
        with page.PageServer(Path(folder), options.port) as server:
            console.say(f"{server.url}   (Ctrl-C ends it)")
            with _until_stopped():
                if options.browser:  # from a thread: a browser in this terminal ends when it likes
                    Thread(target=webbrowser.open, args=[server.url], daemon=True).start()
                server.serve_forever()
    return 0


@contextlib.contextmanager
def _until_stopped() -> Iterator[None]:
    """Ctrl-C and SIGTERM end it, also where the shell had Ctrl-C ignored (`draw page &`)."""
    stops = (signal.SIGINT, signal.SIGTERM)
    previous = {stop: signal.signal(stop, signal.default_int_handler) for stop in stops}
    try:
        yield
    except KeyboardInterrupt:
        pass
    finally:
        for stop, handler in previous.items():
            signal.signal(stop, handler)


def _short(name: str) -> str:
    """What to call a model: the last part of its path or hub id, fit for an address.

    >>> _short("runs/my digits/"), _short("someone/digits"), _short("..")
    ('my-digits', 'digits', 'model')
    """
    last = re.split(r"[/\\]", name.rstrip("/\\"))[-1]
    return re.sub(r"[^\w.-]+", "-", last).strip(".-") or "model"
