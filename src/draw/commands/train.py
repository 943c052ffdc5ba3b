"""draw train: train a model from a preset, then draw its figures."""

import math
import os
import shlex
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from rich.progress import Progress

from draw import figures
from draw.commands import console, loggers, render, report
from draw.commands.output import Output
from draw.commands.train_options import read_arguments
from draw.data import Images
from draw.distributed import is_main, process_group
from draw.model import DRAW
from draw.storage.run_folder import RunFolder
from draw.training.config import TrainConfig
from draw.training.estimate import estimate_seconds
from draw.training.loop import Validation, train
from draw.training.step import StepResult
from draw.zoo import Network, load

GLIMPSE_ROWS = 8  # images on which a classifier's glimpses are shown


def main(arguments: list[str]) -> int:
    """Run the command and return the exit status."""
    started = time.monotonic()
    args, config, run = read_arguments(arguments)
    device = console.prepare_device(args.device)
    with process_group(device) as world:
        with world.local_main_first(), console.progress_bar() as bar:
            images = config.load_images(config.train_on, console.reporter(bar))
            validation = config.load_images("valid", console.reporter(bar))
            if config.data == "folder":  # report damaged images now, not in a later evaluation
                config.load_images("test", console.reporter(bar))
        plan = _describe_plan(config, images)
        step = run.last_step()
        if step < config.steps and config.data == "folder" and world.size == 1:
            left = 1 - step / config.steps
            seconds = left * estimate_seconds(config, images, validation, device, args.engine)
            rest = " left" if step else ""
            plan += f", about {_describe_duration(seconds)}{rest} on this machine"
        stop = _Stop(started + 60 * (args.max_minutes or math.inf))
        with console.progress_bar() as bar, console.handle_stop_signals(stop.handle):
            console.say(f"{plan}; saving to {run.path}", bar)
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
            step = _watch(events, config, run, bar, validation)
    if step < config.steps or stop.signal:
        _say_stopped(step, config, run)
        return 128 + stop.signal if stop.signal else 0
    if is_main():
        _save_figures(config, run, images, validation)
    return 0


def _watch(
    events: Iterator[StepResult | Validation],
    config: TrainConfig,
    run: RunFolder,
    bar: Progress,
    validation: Images,
) -> int:
    """Report progress and validations; return the last step."""
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
            bar.update(task, completed=event.step, description=text)
        else:
            console.say(_describe(event, config), bar)
            if is_main():
                path = run.path / "samples" / f"{event.step:09d}.png"
                _save_samples(event.ema, path, validation, config.seed)
    return config.steps if event is None else event.step  # resuming a finished run has no events


def _say_stopped(step: int, config: TrainConfig, run: RunFolder) -> None:
    """Say which checkpoint was saved, how to resume, and when there will be a model."""
    first = min(config.eval_every, config.steps)
    if step < first:
        console.say(f"the first validation, at step {first:,}, will save a model and samples")
    console.say(
        f"checkpoint of step {step:,} of {config.steps:,} saved; resume with: "
        f"draw train --resume --out {shlex.quote(str(run.path))}"
    )


def _describe_plan(config: TrainConfig, images: Images) -> str:
    return (
        f"training on {len(images):,} image{'s' if len(images) > 1 else ''} of {config.data}: "
        f"{config.steps:,} steps, "
        f"batch size {config.batch_size}, {config.model.glimpses} glimpses"
    )


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
    if "error" in event.result.extra:
        text += f", error {event.result.extra['error']:.2%}"
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
        count, output = render.max_recorded(model.config, 64), Output(out=run.path)
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
