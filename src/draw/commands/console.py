"""Shared by all commands: parsing, output, progress bars, signals and devices."""

import contextlib
import io
import os
import re
import signal
import sys
import textwrap
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import numpy as np
import torch
import tyro
from huggingface_hub.utils import logging as hub_logging
from rich import progress
from rich.console import Console

from draw.distributed import is_main
from draw.errors import ConfigError
from draw.storage.files import expand_user

T = TypeVar("T")
HELP_COLUMNS = 100

# `draw` reports a failed download in one message; the log of huggingface_hub would repeat it.
hub_logging.set_verbosity_error()  # type: ignore[no-untyped-call]


def parse(
    command: Callable[..., T], program: str, arguments: list[str], usage: str | None = None
) -> T:
    """Parse the arguments of a command with tyro, and format its help and errors in our style.

    A leading ~ in a value is expanded, because most shells do not expand --out=~/run.

    Args:
        command: the function or class that defines the options.
        program: the name of the command in error messages.
        usage: the name of the command in the help; by default `program`.

    Raises:
        ConfigError: if an option is unknown or a value has the wrong type.
    """
    arguments = [_expand(argument) for argument in arguments]
    buffer, errors = io.BytesIO(), io.StringIO()
    output = io.TextIOWrapper(buffer, sys.stdout.encoding, errors="backslashreplace")
    output.isatty = sys.stdout.isatty  # type: ignore[method-assign]  # keep the colours of the help
    try:
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
            return tyro.cli(command, prog=usage or program, args=arguments)
    except SystemExit as end:
        if not end.code:
            output.seek(0)
            print("\n".join(map(_wrap, output.read().splitlines())))
            raise
    boxed = [line.strip("│╭╮╰╯─ ") for line in errors.getvalue().splitlines()]
    message = " ".join(line for line in boxed[1:] if line.strip("-"))  # without ASCII rules
    message, *hints = re.split(
        " (?:Perhaps you meant|Arguments similar to|For full helptext|Argument helptext)", message
    )
    message = re.sub(r"^Missing from [^:]*: (\S+)", r"\1 is missing:", message)
    message = message.replace(" (required)", "")
    hint = ""
    if message.startswith("Unrecognized options: "):
        unknown = re.findall(r"(?<=[ ,])--[\w.-]+", message)
        if unknown:  # tyro lists their values as well
            message = f"Unrecognized options: {', '.join(unknown)}"
        similar = re.findall(r"--[\w.-]+", hints[0]) if hints else []
        similar = [option for option in similar if option not in (*unknown, "--help")]
        if "--epochs" in unknown and program.startswith("draw train"):
            similar = ["--steps"]
        if similar:
            hint = f"did you mean {similar[0]}? "
    raise ConfigError(f"{message} ({hint}see {program} --help)")


def _wrap(line: str) -> str:
    """Wrap a long line of the help's description; tyro leaves these lines as they are."""
    if len(line) <= HELP_COLUMNS or not (line[0].isalnum() or line[0] == " "):
        return line
    item = re.match(r"  \S+ +", line)  # a name and its description
    return textwrap.fill(line, HELP_COLUMNS, subsequent_indent=" " * (item.end() if item else 0))


def _expand(argument: str) -> str:
    """Expand ~ in an argument such as ~/run or --out=~/run."""
    if match := re.fullmatch(r"(--[\w.-]+=)?(~.*)", argument, re.DOTALL):
        return f"{match[1] or ''}{expand_user(match[2])}"
    return argument


@contextlib.contextmanager
def handle_stop_signals(handler: Callable[[int, Any], Any]) -> Iterator[None]:
    """Handle Ctrl-C, SIGTERM, SIGHUP (unless `nohup` ignores it) and SIGUSR1 inside the block."""
    others = [getattr(signal, name, None) for name in ("SIGHUP", "SIGUSR1")]  # not on Windows
    usable = [n for n in others if n is not None and signal.getsignal(n) != signal.SIG_IGN]
    signals = signal.SIGINT, signal.SIGTERM, *usable
    previous = {number: signal.signal(number, handler) for number in signals}
    try:
        yield
    finally:
        for number, before in previous.items():
            signal.signal(number, before)


def prepare_device(name: str) -> str:
    """Check that a device can be used, configure its arithmetic and return its name.

    `auto` selects a GPU if one is available. With several processes, `auto` and `cuda` assign a GPU
    to each. On a CPU, denormal numbers (the tails of the filters) are flushed to zero, because they
    are slow.

    Raises:
        ConfigError: if the device does not exist or is not supported.
    """
    for dtype in (np.half, np.single, np.double, np.longdouble):
        np.finfo(dtype)  # NumPy before 2.4 would warn about later calls; the results are cached
    torch.set_flush_denormal(True)
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and "LOCAL_RANK" in os.environ:
        visible = max(1, torch.cuda.device_count())  # some launchers show one GPU to each process
        try:
            name = f"cuda:{int(os.environ['LOCAL_RANK']) % visible}"
        except ValueError as error:
            raise ConfigError("LOCAL_RANK is not a number; unset it") from error
    try:
        torch.empty(0, device=name)
        torch.Generator(name)
    except (RuntimeError, AssertionError, ImportError) as error:
        raise ConfigError(f"the device {name!r} cannot be used here; try --device cpu") from error
    return name


def progress_bar() -> progress.Progress:
    """Create a progress bar with a description, a count and the time left, on standard error.

    It appears only on a terminal, and disappears when finished.
    """
    shown = sys.stderr.isatty() and is_main()
    return progress.Progress(
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.TimeRemainingColumn(),
        progress.TextColumn("left"),
        console=Console(highlight=False, soft_wrap=True, stderr=True, quiet=not shown),
        transient=True,
        redirect_stdout=False,  # standard output may be a file
        disable=not shown,
    )


def reporter(bar: progress.Progress) -> Callable[[str, int, int], None]:
    """Return a callback (description, done, total) that adds a row per description to a bar."""
    tasks: dict[str, progress.TaskID] = {}

    def report(description: str, done: int, total: int) -> None:
        if description not in tasks:
            tasks[description] = bar.add_task(description)
        count = f"{done:,}/{total:,}" if total else f"{done:,}"
        text = f"{description} {count}"
        bar.update(tasks[description], completed=done, total=total or None, description=text)

    return report


def say(text: str, bar: progress.Progress | None = None) -> None:
    """Print a line to standard output, above the progress bar if both are on a terminal.

    Only the main process prints. If the reader of a pipe has closed it, output is discarded.
    """
    if not is_main():
        return
    if bar is not None and not bar.disable and sys.stdout.isatty():
        bar.console.print(text, markup=False)
        return
    try:
        print(text, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
