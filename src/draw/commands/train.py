"""draw train: train a model from a preset, watch it learn, keep its pictures."""

import contextlib
import math
import shlex
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import tyro
from rich.progress import Progress

from draw import figures
from draw.commands import console, render, tensorboard
from draw.data import Images
from draw.distributed import World, is_main, process_group
from draw.errors import ConfigError
from draw.model import DRAW, DRAWConfig
from draw.storage.run_folder import RunFolder
from draw.training.config import TrainConfig
from draw.training.loop import Validation, starting_model, train
from draw.training.presets import PRESETS
from draw.training.state import check_same_config, read_config
from draw.training.step import Step
from draw.zoo import Network, load

SHOWN = 8  # images on which a classifier's glimpses are shown


@dataclass(frozen=True, kw_only=True)
class Options:
    """What concerns this call and not the training itself."""

    out: Path | None = None
    """The run folder; runs/PRESET unless given."""
    resume: bool = False
    """Continue the run in --out exactly from its last checkpoint; start it if PRESET is named and
    there is none yet."""
    max_minutes: float | None = None
    """Save and stop after so long, as if by Ctrl-C; for machines that are lent by the hour."""
    image_size: int | None = None
    """Height and width of the images, pixels."""
    device: str = "auto"
    """cpu, cuda, cuda:1, ...; auto takes a GPU if there is one. There, products are in TF32."""
    engine: console.EngineChoice = "auto"
    tensorboard: bool = False
    """Also write the measurements for TensorBoard, into RUN/tensorboard."""

    def __post_init__(self) -> None:
        if self.max_minutes is not None and not 0 < self.max_minutes < math.inf:
            raise ConfigError(f"--max-minutes is {self.max_minutes}; it must be above 0 and finite")


def main(arguments: list[str]) -> int:
    """Run the command; the exit status."""
    started = time.monotonic()
    options, config, run = _chosen(arguments)
    device = console.prepare_device(options.device, tf32=True)
    with process_group(device) as world:
        with world.local_main_first(), console.progress_bar() as bar:
            images = config.load_images("train", console.reporter(bar))
            validation = config.load_images("valid", console.reporter(bar))
        status = _train(options, config, run, images, validation, device, started, world)
    if status is None and is_main():
        _finish(config, run, images, validation)
    return status or 0


def _train(
    options: Options,
    config: TrainConfig,
    run: RunFolder,
    images: Images,
    validation: Images,
    device: str,
    started: float,
    world: World,
) -> int | None:
    """Train to the end: None; or until it is stopped: the exit status."""
    with console.progress_bar() as bar, _stop_on_signal() as stop:
        if options.max_minutes is not None:
            stop.deadline = started + 60 * options.max_minutes
        console.say(
            f"training on {len(images):,} images of {config.data}: {config.steps:,} minibatches "
            f"of {config.batch_size}, {config.model.glimpses} glimpses, into {run.path}",
            bar,
        )
        events = train(
            config,
            run,
            images,
            validation,
            device=device,
            engine=options.engine,
            stop=stop.is_asked,
            world=world,
        )
        if options.tensorboard and world.is_main:
            events = tensorboard.written(events, run, config.model.metric)
        finished = _watch(events, config, run, bar, validation)
    if finished and not stop.signal:
        return None
    folder = shlex.quote(str(run.path))
    console.say(f"stopped and saved; continue with: draw train --resume --out {folder}")
    return 128 + stop.signal if stop.signal else 0


def _chosen(arguments: list[str]) -> tuple[Options, TrainConfig, RunFolder]:
    """What a command line asks for, once it is clear that it can be started or resumed."""
    named, preset = None, "quick"
    if arguments and not arguments[0].startswith("-"):
        named, *arguments = arguments
        preset = named
    if preset not in PRESETS:
        raise ConfigError(f"there is no preset {preset!r}; there are {', '.join(PRESETS)}")
    defaults = PRESETS[preset]()
    options, config = _parse(preset, arguments, defaults)
    if options.tensorboard:
        tensorboard.check_installed()
    run = RunFolder(options.out or Path("runs") / preset)
    if options.resume and (named is None or run.config_file.exists()):
        begun = read_config(RunFolder.open(run.path))
        if named is None:
            defaults = begun
        elif config.start_from is not None:
            defaults = replace(defaults, model=begun.model)
        _, config = _parse(preset, arguments, defaults)
        check_same_config(run, config)
        return options, config, run
    if config.start_from is not None:  # whose network is then the one to be trained
        trained = load(config.start_from)
        options, config = _parse(preset, arguments, replace(defaults, model=trained.config))
        starting_model(config)  # refused now if options ask for another, not after the data
    if config.data == "folder" and config.data_dir is None:
        raise ConfigError("training on your own pictures needs --data-dir, the folder they are in")
    run.check_vacant()
    return options, config, run


def _parse(preset: str, arguments: list[str], defaults: TrainConfig) -> tuple[Options, TrainConfig]:
    nameless = tyro.conf.arg(name="")

    def command(
        config: Annotated[TrainConfig, nameless, tyro.conf.AvoidSubcommands] = defaults,
        options: Annotated[Options, nameless] = Options(),
    ) -> tuple[Options, TrainConfig]:
        return options, config

    command.__doc__ = (
        f"Train a model. Presets: {', '.join(PRESETS)}; these are the options of {preset}."
    )
    options, config = console.parse(command, f"draw train {preset}", arguments)
    if options.image_size is not None:
        size = options.image_size
        config = replace(config, model=replace(config.model, height=size, width=size))
    return options, config


def _watch(
    events: Iterator[Step | Validation],
    config: TrainConfig,
    run: RunFolder,
    bar: Progress,
    validation: Images,
) -> bool:
    """Show what happens in the training as it happens; whether it came to its end."""
    task = bar.add_task("training", total=config.steps)
    nats = seconds = None  # running means
    event = None
    for event in events:
        if isinstance(event, Step):
            if event.is_finite:
                nats = _smooth(nats, -event.train_nats)
            seconds = _smooth(seconds, event.seconds)
            words = "loss not finite" if nats is None else f"loss {nats:.1f} nats"
            words += f"  {config.batch_size / seconds:.0f} images/s"
            if event.skipped:
                words += f"  {event.skipped} skipped"
            bar.update(task, completed=event.step, description=words)
        else:
            loss, stderr = -event.result.nats, event.result.stderr
            words = f"step {event.step:>6,}   validation loss {loss:.2f}"
            words += " nats" if stderr is None else f" +- {stderr:.2f} nats"
            if "error" in event.result.also:
                words += f", error {event.result.also['error']:.2%}"
            console.say(words + ("   best so far" if event.is_best else ""), bar)
            if is_main():
                path = run.path / "samples" / f"{event.step:09d}.png"
                _save_samples(event.state.ema, path, validation, config.seed)
    return event is None or event.step == config.steps  # a finished run has no events left


def _save_samples(model: Network, path: Path, validation: Images, seed: int) -> None:
    if isinstance(model, DRAW):
        render.sample_grid(model, path, seed=seed)
    else:
        render.glimpses(model, path, validation.first(SHOWN), labels=validation.labels)


def _smooth(mean: float | None, value: float) -> float:
    return value if mean is None else 0.95 * mean + 0.05 * value


def _finish(config: TrainConfig, run: RunFolder, images: Images, validation: Images) -> None:
    """The pictures of the finished model."""
    model = load(run.path)
    if isinstance(model, DRAW):
        count = render.at_once(model.config, 64)
        training, shown = images.reference_pixels(), validation.first(min(count, 32))
        render.sample(model, run.path, count=count, seed=config.seed, training=training)
        render.reconstruct(model, run.path, shown, seed=config.seed)
        made = _painted(model.config)
    else:
        _save_samples(model, run.path / "glimpses.png", validation, config.seed)
        made = {"glimpses.png": "validation images, where it looks (green), its errors (red)"}
    curves = figures.curves(run.records(), config.model.metric)
    figures.save_plot(run.path / "curves.png", curves)
    console.say(f"done; the model that did best on validation is in {run.model}. Its pictures:")
    for name, what in (made | {"curves.png": "the learning curve"}).items():
        console.say(f"  {run.path / name!s:<40} {what}")


def _painted(config: DRAWConfig) -> dict[str, str]:
    """What is on the pictures of a model; it has no windows to show without attention."""
    green, red = (" (green)" if config.read_size else ""), (" (red)" if config.write_size else "")
    return {
        "samples.png": "new images, beside the nearest training images",
        "drawing.gif": "the same being painted" + (", the write window in red" if red else ""),
        "reconstructions.png": "validation images, and what the model makes of them",
        "reconstructing.gif": f"the same being looked at{green} and painted{red}",
    }


@dataclass
class _Stop:
    signal: int = 0  # the one that asked for the end; 0 while none did
    deadline: float = math.inf  # of time.monotonic()

    def is_asked(self) -> bool:
        return self.signal != 0 or time.monotonic() >= self.deadline


@contextlib.contextmanager
def _stop_on_signal() -> Iterator[_Stop]:
    """Turn the first Ctrl-C or SIGTERM into a request; a second Ctrl-C interrupts at once."""
    stop = _Stop()

    def ask(number: int, frame: object) -> None:
        stop.signal = number
        signal.signal(signal.SIGINT, signal.default_int_handler)

    previous = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
