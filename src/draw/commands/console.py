"""What the commands share: parsing, checks, progress, devices, finding a model and its data."""

import contextlib
import io
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar

import torch
import tyro
from huggingface_hub.utils import logging as hub_logging
from rich import progress
from rich.console import Console
from torch import Tensor

from draw import data, zoo
from draw.data import Images
from draw.distributed import is_main
from draw.errors import ConfigError
from draw.kernels import Engine
from draw.storage.run_folder import RunFolder
from draw.training.config import TrainConfig
from draw.training.state import read_config
from draw.zoo import Network, load

T = TypeVar("T")

# Options that several commands have.
MODEL = tyro.conf.arg(
    metavar="MODEL",
    help="A trained model's name, a run folder, a saved model's folder or a hub id.",
)
Model = Annotated[tyro.conf.Positional[str], MODEL]
Device = Annotated[
    str, tyro.conf.arg(help="cpu, cuda, cuda:1, ...; auto takes a GPU if there is one.")
]
EngineChoice = Annotated[
    Engine,
    tyro.conf.arg(
        help="plain is the readable path, fused the fast one; auto takes fused where it can."
    ),
]

# A model that cannot be fetched is an error of ours, not a log line of theirs.
hub_logging.set_verbosity_error()  # type: ignore[no-untyped-call]


def parse(command: Callable[..., T], program: str, arguments: list[str]) -> T:
    """Parse with tyro; its boxed errors become one line of ours.

    Raises:
        ConfigError: an option is unknown or its value cannot be read.
    """
    errors = io.StringIO()
    try:
        with contextlib.redirect_stderr(errors):
            return tyro.cli(command, prog=program, args=arguments)
    except SystemExit as end:
        if not end.code:
            raise
    boxed = [line.strip("│╭╮╰╯─ ") for line in errors.getvalue().splitlines()]
    message = " ".join(line for line in boxed[1:] if line)
    message, *hints = re.split(
        " (?:Perhaps you meant|Arguments similar to|For full helptext|Argument helptext)", message
    )
    meant = re.search(r"--[\w.-]+", hints[0]) if hints else None
    hint = (
        f"perhaps you meant {meant[0]}; "
        if meant and meant[0] != "--help" and "nrecognized" in message
        else ""
    )
    raise ConfigError(f"{message} ({hint}see {program} --help)")


def check_range(low: int, high: int, **values: int | None) -> None:
    """Refuse numbers outside a range.

    Raises:
        ConfigError: one is.
    """
    for name, value in values.items():
        if value is not None and not low <= value <= high:
            option = "--" + name.replace("_", "-")
            raise ConfigError(f"{option} is {value}; it must be from {low:,} to {high:,}")


def check_pictures(images: tuple[Path, ...], usage: str) -> None:
    """Refuse a command that names no picture, or too many for one sheet.

    Raises:
        ConfigError: it does.
    """
    if not 1 <= len(images) <= 1_024:
        raise ConfigError(f"name 1 to 1,024 pictures, not {len(images):,}: {usage}")


def load_trained(
    name: str, device: str, engine: Engine, kind: type[Network] | None = None
) -> tuple[Any, TrainConfig | None]:
    """A model, of a kind if one is asked for, on a device; how it was trained if its run tells."""
    run = RunFolder(zoo.find(name))
    model = load(name, kind).to(prepare_device(device))
    model.engine = engine
    return model, read_config(run) if run.config_file.is_file() else None


def load_images(
    model: Network,
    config: TrainConfig | None,
    name: str | None,
    data_dir: Path | None,
    split: str,
    fetch: bool = True,
) -> tuple[str, Images]:
    """The data set of this name, else the one that the model was trained on, and its name."""
    if config is not None and name in (None, config.data):
        name = config.data
        data_dir = data_dir or config.data_dir
    if name is None:
        raise ConfigError("a saved model does not know its data; name a data set with --data")
    with progress_bar() as bar:
        images = data.load(
            name,
            split,
            shape=model.config.image_shape,
            data_dir=data_dir,
            progress=reporter(bar),
            fetch=fetch,
        )
    return name, images


def prepare_device(name: str, *, tf32: bool = False) -> str:
    """The device of this name; `auto` takes a GPU if there is one, each process of a group its own.

    On a CPU the tails of the filters are denormal numbers, slow to multiply by: they become zero.

    Args:
        tf32: on a GPU, round the factors of matrix products to TF32 (10 bits), as its tensor cores
            want them; sums and all that goes from step to step stay float32.

    Raises:
        ConfigError: there is none of this name.
    """
    torch.set_flush_denormal(True)
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and "LOCAL_RANK" in os.environ:
        seen = max(1, torch.cuda.device_count())  # some launchers show each process its own alone
        name = f"cuda:{int(os.environ['LOCAL_RANK']) % seen}"
    try:
        torch.empty(0, device=name)
        torch.Generator(name)
    except (RuntimeError, AssertionError, ImportError) as error:
        raise ConfigError(f"the device {name!r} cannot be used here; try --device cpu") from error
    if tf32 and torch.device(name).type == "cuda":
        torch.set_float32_matmul_precision("high")
    return name


def console() -> Console:
    """Standard output, without colours guessed from the text."""
    return Console(highlight=False, soft_wrap=True)


def progress_bar() -> progress.Progress:
    """A bar that tells what is done, how much of it and the time left; gone when finished.

    Shown on a terminal only: a log file gets the lines between.
    """
    screen = console()
    return progress.Progress(
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        progress.TextColumn("left"),
        progress.TimeRemainingColumn(),
        console=screen,
        transient=True,
        disable=not (screen.is_terminal and is_main()),
    )


def reporter(bar: progress.Progress) -> Callable[[str, int, int], None]:
    """A callback (what, done, in all) that gives each thing a bar of its own."""
    tasks: dict[str, progress.TaskID] = {}

    def report(what: str, done: int, total: int) -> None:
        if what not in tasks:
            tasks[what] = bar.add_task(what)
        bar.update(tasks[what], completed=done, total=total or None)

    return report


def say(text: str, bar: progress.Progress | None = None) -> None:
    """A line on standard output, above the bar if one is shown; from the main process alone.

    If whoever read the output has gone, the work goes on in silence.
    """
    if not is_main():
        return
    if bar is not None and not bar.disable:
        bar.console.print(text, markup=False)
        return
    try:
        print(text, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def remark_on_paper(picture: Tensor) -> str | None:
    """What to say of a picture [C, H, W] in [0, 1] if it looks like ink on paper.

    >>> remark_on_paper(torch.zeros(1, 28, 28)) is None
    True
    """
    if picture.mean() < 0.6:
        return None
    return "mostly white, but the model's digits are white on black: invert it"
