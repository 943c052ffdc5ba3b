"""draw train: train a model from a preset, then draw its figures."""

import math
import os
import shlex
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import tyro
from rich.progress import Progress

from draw import figures
from draw.commands import console, loggers, options, render, report
from draw.data import Images
from draw.data.survey import survey
from draw.distributed import is_main, process_group
from draw.errors import ConfigError, require
from draw.model import DRAW
from draw.storage.run_folder import RunFolder
from draw.training.config import TrainConfig
from draw.training.estimate import estimate_seconds
from draw.training.loop import Validation, starting_model, train
from draw.training.presets import PRESETS, folder
from draw.training.state import check_same_config, read_config
from draw.training.step import StepResult
from draw.zoo import Network, load

# Settings that the preset `folder` chooses, in the order in which they are printed.
CHOSEN_FOR_MODEL = "height width channels likelihood glimpses read_size write_size".split()
CHOSEN = "steps", "batch_size", "mirror"
GLIMPSE_ROWS = 8  # images on which a classifier's glimpses are shown
HELP = """Train a model from a preset.

The run folder (--out) holds the configuration, the log, the last two
checkpoints, sample images and the model with the best validation loss. Press
Ctrl-C to save a checkpoint and stop, and use --resume to continue.

Presets:
{presets}

The defaults below are those of {preset}; run `draw train PRESET --help` for another preset.
"""


@dataclass(frozen=True, kw_only=True)
class Options:
    """The options that are not part of `TrainConfig`."""

    out: Annotated[Path | None, options.arg("DIR", default="runs/PRESET")] = None
    """run folder"""
    resume: options.Flag = False
    """resume the run in --out from its last checkpoint; with a PRESET, start it if it is new"""
    max_minutes: Annotated[float | None, options.arg("FLOAT")] = None
    """save a checkpoint and stop after this many minutes"""
    image_size: Annotated[int | None, options.arg("INT")] = None
    """height and width of the images in pixels; sets --model.height and --model.width"""
    device: options.Device = "auto"
    engine: options.EngineChoice = "auto"
    tensorboard: options.Flag = False
    """also write a TensorBoard log to the folder tensorboard in --out"""
    log: Annotated[str | None, options.arg("MODULE:FUNCTION")] = None
    """also call this Python function with the result of each step and validation"""

    def __post_init__(self) -> None:
        if self.max_minutes is not None and not 0 < self.max_minutes < math.inf:
            raise ConfigError(
                f"--max-minutes is {self.max_minutes}; it must be positive and finite"
            )


def main(arguments: list[str]) -> int:
    """Run the command and return the exit status."""
    started = time.monotonic()
    args, config, run = _read_arguments(arguments)
    is_new = not run.config_file.exists()
    device = console.prepare_device(args.device)
    with process_group(device) as world:
        with world.local_main_first(), console.progress_bar() as bar:
            images = config.load_images(config.train_on, console.reporter(bar))
            validation = config.load_images("valid", console.reporter(bar))
            if config.data == "folder":  # report damaged images now, not in a later evaluation
                config.load_images("test", console.reporter(bar))
        plan = (
            f"{config.steps:,} steps, batch size {config.batch_size}, {_glimpses(config)} glimpses"
        )
        if is_new and config.data == "folder" and world.size == 1:
            seconds = estimate_seconds(config, images, validation, device, args.engine)
            plan += f", about {_describe_duration(seconds)} on this machine"
        stop = _Stop(started + 60 * (args.max_minutes or math.inf))
        with console.progress_bar() as bar, console.handle_stop_signals(stop.handle):
            console.say(
                f"training on {len(images):,} images of {config.data}: {plan}; "
                f"saving to {run.path}",
                bar,
            )
            events = train(
                *(config, run, images, validation),
                device=device,
                engine=args.engine,
                stop=stop.is_requested,
                world=world,
            )
            if args.tensorboard and world.is_main:
                events = loggers.write_tensorboard(events, run)
            if args.log is not None and world.is_main:
                events = loggers.call_with_each(events, loggers.find_function(args.log))
            finished = _watch(events, config, run, bar, validation)
    if not finished or stop.signal:
        quoted = shlex.quote(str(run.path))
        console.say(f"checkpoint saved; resume with: draw train --resume --out {quoted}")
        return 128 + stop.signal if stop.signal else 0
    if is_main():
        _save_figures(config, run, images, validation)
    return 0


def _read_arguments(arguments: list[str]) -> tuple[Options, TrainConfig, RunFolder]:
    """Parse a command line and check that the run can be started or resumed."""
    named, preset = None, "quick"
    if arguments and not arguments[0].startswith("-"):
        named, *arguments = arguments
        preset = named
    if preset not in PRESETS:
        raise ConfigError(f"there is no preset {preset!r}; the presets are {', '.join(PRESETS)}")
    defaults = PRESETS[preset]()
    args, config = _parse(preset, arguments, defaults)
    if args.tensorboard:
        require("torch.utils.tensorboard", "tensorboard", "--tensorboard")
    if args.log is not None:
        loggers.find_function(args.log)  # report mistakes before loading the data
    run = RunFolder(args.out or Path("runs") / preset)
    if args.resume and (named is None or run.config_file.exists()):
        original = read_config(RunFolder.open(run.path))
        if named is None or original.data == named == "folder":
            defaults = original
        elif config.start_from is not None:
            defaults = replace(defaults, model=original.model)
        _, config = _parse(preset, arguments, defaults)
        check_same_config(run, config)
        return args, config, run
    if config.data == "folder" and config.data_dir is None:
        raise ConfigError("the data set 'folder' needs --data-dir, the folder of your images")
    if config.start_from is None:
        trained = None
    else:
        trained = load(config.start_from)  # train the network of that model
        args, config = _parse(preset, arguments, replace(defaults, model=trained.config))
        starting_model(config)  # refuse contradicting options before loading the data
    run.check_vacant()
    if preset == config.data == "folder":
        args, config = _adapt(arguments, config, trained)
    return args, config, run


def _adapt(
    arguments: list[str], config: TrainConfig, trained: Network | None
) -> tuple[Options, TrainConfig]:
    """Choose the settings of the preset `folder` for the user's images; options take precedence.

    Args:
        config: the configuration with the default settings of the preset.
        trained: the model to start from, whose network is used.
    """
    assert config.data_dir is not None
    if trained is not None and not isinstance(trained, DRAW):
        raise ConfigError("a classifier needs labels, which folders lack; start from a DRAW model")
    images = survey(config.data_dir)
    shape = None if trained is None else trained.config.image_shape
    for _ in range(2):  # the second time, adapt the other settings to the user's image size
        defaults = folder(images, shape)
        if trained is not None:
            defaults = replace(defaults, model=trained.config)
        args, config = _parse("folder", arguments, defaults)
        shape = config.model.image_shape
    console.say(f"{images}; settings (options override them):")
    values = [f"--model.{name} {getattr(config.model, name)}" for name in CHOSEN_FOR_MODEL]
    values += [f"--{name} {getattr(config, name)}" for name in CHOSEN]
    console.say(f"  {' '.join(values).replace('_', '-')}")
    return args, config


def _parse(preset: str, arguments: list[str], defaults: TrainConfig) -> tuple[Options, TrainConfig]:
    flat = tyro.conf.arg(name="")

    def command(
        args: Annotated[Options, flat] = Options(),
        config: Annotated[TrainConfig, flat, tyro.conf.AvoidSubcommands] = defaults,
    ) -> tuple[Options, TrainConfig]:
        return args, config

    presets = [
        f"  {name:<20}{(function.__doc__ or '').splitlines()[0]}"
        for name, function in PRESETS.items()
    ]
    command.__doc__ = HELP.format(presets="\n".join(presets), preset=preset)
    args, config = console.parse(command, f"draw train {preset}", arguments, "draw train [PRESET]")
    if args.image_size is not None:
        size = args.image_size
        config = replace(config, model=replace(config.model, height=size, width=size))
    return args, config


def _watch(
    events: Iterator[StepResult | Validation],
    config: TrainConfig,
    run: RunFolder,
    bar: Progress,
    validation: Images,
) -> bool:
    """Report progress and validations; return whether training reached its last step."""
    task = bar.add_task("training", total=config.steps)
    nats = seconds = None  # running means
    event = None
    for event in events:
        if isinstance(event, StepResult):
            if event.is_finite:
                nats = _smooth(nats, -event.train_nats)
            seconds = _smooth(seconds, event.seconds)
            text = f"step {event.step:,}/{config.steps:,}  "
            text += "loss not finite" if nats is None else f"loss {nats:.1f} nats"
            text += f"  {config.batch_size / seconds:.0f} images/s"
            if event.skipped:
                text += f"  {event.skipped} skipped"
            bar.update(task, completed=config.elapsed(event.step), description=text)
        else:
            console.say(_describe(event, config), bar)
            if is_main():
                path = run.path / "samples" / f"{event.step:09d}.png"
                _save_samples(event.ema, path, validation, config.seed)
    return event is None or event.step == config.steps  # resuming a finished run has no events


def _glimpses(config: TrainConfig) -> str:
    """Return the numbers of glimpses of all stages, such as "16, then 32, then 64"."""
    return ", then ".join(str(stage.glimpses) for stage in config.stages)


def _describe_duration(seconds: float) -> str:
    """Return a duration in words.

    >>> [_describe_duration(seconds) for seconds in (20.0, 100.0, 3_600.0, 21_600.0)]
    ['1 minute', '2 minutes', '60 minutes', '6.0 hours']
    """
    minutes = max(1, round(seconds / 60))
    if minutes > 90:
        return f"{minutes / 60:.1f} hours"
    return f"{minutes} minute{'s' if minutes > 1 else ''}"


def _describe(event: Validation, config: TrainConfig) -> str:
    loss = report.plus_minus(-event.result.nats, event.result.stderr, digits=2)
    text = f"step {event.step:>6,}   validation loss {loss} nats"
    if "error" in event.result.also:
        text += f", error {event.result.also['error']:.2%}"
    if not config.has_validation:
        return f"{text} (on training images)"
    return text + ("   best so far" if event.is_saved else "")


def _save_samples(model: Network, path: Path, validation: Images, seed: int) -> None:
    if isinstance(model, DRAW):
        render.sample_grid(model, path, seed=seed)
    else:
        render.glimpses(model, path, validation.first(GLIMPSE_ROWS), labels=validation.labels)


def _smooth(mean: float | None, value: float) -> float:
    return value if mean is None else 0.95 * mean + 0.05 * value


def _save_figures(config: TrainConfig, run: RunFolder, images: Images, validation: Images) -> None:
    """Save the images, films and learning curve of a finished run."""
    model = load(run.path)
    if isinstance(model, DRAW):
        count, output = render.max_recorded(model.config, 64), render.Output(out=run.path)
        training, shown = images.reference_pixels(), validation.first(min(count, 32))
        render.sample(model, output, count=count, seed=config.seed, training=training)
        render.reconstruct(model, output, shown, seed=config.seed)
        read = ", with the read window in blue" if model.config.read_size else ""
        write = ", with the write window in orange" if model.config.write_size else ""
        saved = {
            "samples.png": "samples, and the nearest training images",
            "drawing.gif": f"the samples being drawn{write}",
            "reconstructions.png": "validation images and their reconstructions",
            "reconstructing.gif": f"the reconstructions being drawn{read or write}",
        }
    else:
        _save_samples(model, run.path / "glimpses.png", validation, config.seed)
        saved = {"glimpses.png": "glimpses (blue) on validation images, wrong predictions in red"}
    curves = figures.curves(run.records(), config.model.metric, held_out=config.has_validation)
    figures.save_picture(run.path / "curves.png", curves)
    which = "best" if config.has_validation else "last"
    console.say(f"done; the {which} model is in {run.model}. Also saved:")
    for name, caption in (saved | {"curves.png": "learning curve"}).items():
        console.say(f"  {run.path / name!s:<40} {caption}")


class _Stop:
    """A request to stop, made by a signal or a deadline (a value of `time.monotonic`).

    A closing terminal sends SIGHUP; Slurm can send SIGUSR1 before the time limit. After the first
    signal, Ctrl-C interrupts at once.
    """

    def __init__(self, deadline: float) -> None:
        self.signal, self.deadline = 0, deadline
        self.terminals = [s.fileno() for s in (sys.stdout, sys.stderr) if s.isatty()]

    def is_requested(self) -> bool:
        return self.signal != 0 or time.monotonic() >= self.deadline

    def handle(self, number: int, frame: object) -> None:
        self.signal = number
        if signal.Signals(number).name == "SIGHUP":  # writing to a closed terminal fails
            for terminal in self.terminals:
                os.dup2(os.open(os.devnull, os.O_WRONLY), terminal)
        signal.signal(signal.SIGINT, signal.default_int_handler)
