"""draw page: explore trained models in the browser."""

import re
import shlex
import signal
import webbrowser
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread
from typing import Annotated

from draw.commands import console, options
from draw.errors import check_limits
from draw.model import DRAW
from draw.page import PageServer, build_site
from draw.zoo import load


@dataclass(frozen=True, kw_only=True)
class Options:
    """Explore trained models on an interactive web page, served only to this computer."""

    model: options.OptionalModel = None
    port: int = 0
    """port of the server; 0 selects a free port"""
    frame_ancestors: Annotated[str | None, options.arg("SITES")] = None
    """sites that may embed the page, for example http://localhost:8888 or "*"; by default none"""
    browser: bool = True
    """open the page in the browser; its address is always printed"""
    export: Annotated[Path | None, options.arg("DIR")] = None
    """write the page to this folder instead of starting a server"""

    def __post_init__(self) -> None:
        check_limits("--", self, port=(0, 65_535))


def main(arguments: list[str]) -> int:
    """Run the command and return the exit status."""
    args = console.parse(Options, "draw page", arguments)
    console.prepare_device("cpu")
    models = {}
    if args.model is not None:
        models = {_short_name(args.model): load(args.model, DRAW)}
    if args.export is not None:
        build_site(args.export, models)
        console.say(
            f"{args.export}: upload it to any static host, or try it here with "
            f"python -m http.server -d {shlex.quote(str(args.export))} (needs http, not file://)"
        )
        return 0
    with TemporaryDirectory(prefix="draw-page-") as folder:
        build_site(Path(folder), models)
        with PageServer(Path(folder), args.port, args.frame_ancestors or "'none'") as server:
            console.say(f"{server.url}   (Ctrl-C stops it)")
            # A shell ignores Ctrl-C for background jobs (`draw page &`), so handle it explicitly.
            handler = signal.default_int_handler
            with suppress(KeyboardInterrupt), console.handle_stop_signals(handler):
                if args.browser:  # a text browser blocks until it is closed
                    Thread(target=webbrowser.open, args=[server.url], daemon=True).start()
                server.serve_forever()
    return 0


def _short_name(name: str) -> str:
    """Return the last part of a path or Hub id, with only characters that need no URL escapes.

    >>> _short_name("runs/my digits/"), _short_name("someone/digits"), _short_name("..")
    ('my-digits', 'digits', 'model')
    """
    last = re.split(r"[/\\]", name.rstrip("/\\"))[-1]
    return re.sub(r"[^\w.-]+", "-", last).strip(".-") or "model"
