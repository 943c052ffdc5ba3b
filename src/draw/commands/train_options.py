"""The options of `draw train`: which run to start or resume, and with which settings."""

import math
import shlex
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import tyro

from draw.classifier import ClassifierConfig
from draw.commands import console, loggers, options
from draw.data.survey import survey
from draw.errors import ConfigError, require
from draw.model import DRAW
from draw.storage.files import expand_user
from draw.storage.run_folder import RunFolder
from draw.training.config import TrainConfig
from draw.training.loop import starting_model
from draw.training.presets import PRESETS, TYPICAL_FOLDER, folder
from draw.training.state import check_same_config, read_config
from draw.zoo import Network, load

# Settings that the preset `folder` chooses, in the order in which they are printed.
CHOSEN_FOR_MODEL = "height width channels likelihood glimpses read_size write_size".split()
CHOSEN = "steps", "batch_size", "mirror", "shift"
HELP = """Train a model from a preset.

The run folder (--out) holds the configuration, the log, the last two
checkpoints, sample images and the model with the best validation result (for
classifiers, the lowest error). Press Ctrl-C to save a checkpoint and stop, and
use --resume to continue.

Presets:
{presets}

The defaults below are those of {preset}; run `draw train PRESET --help` for another preset.
"""
SIDE = TYPICAL_FOLDER.side
ADAPTED = f"""
Some defaults adapt to your images: --steps, --shift, --eval-every, --checkpoint-every and, of
--model, height, width, channels, likelihood, read-size and write-size. The values below are those
for {TYPICAL_FOLDER.images:,} colour photographs of {SIDE} x {SIDE} pixels.
"""


@dataclass(frozen=True, kw_only=True)
class Options:
    """The options that are not part of `TrainConfig`."""

    out: Annotated[Path | None, options.arg("DIR", default="runs/PRESET")] = None
    """run folder"""
    resume: options.Flag = False
    """resume the run in --out from its last checkpoint; with a PRESET, start it if it does not
    exist yet"""
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


def read_arguments(arguments: list[str]) -> tuple[Options, TrainConfig, RunFolder]:
    """Parse a command line and check that the run can be started or resumed."""
    named, preset = None, "quick"
    if arguments and not arguments[0].startswith("-"):
        named, *arguments = arguments
        preset = named
    if preset not in PRESETS:
        hint = f"the presets are {', '.join(PRESETS)}"
        if expand_user(preset).is_dir():
            hint = f"to train on its images, use draw train folder --data-dir {shlex.quote(preset)}"
        raise ConfigError(f"there is no preset {preset!r}; {hint}")
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
        trained = load(config.start_from)
        network = trained.config  # train the network of that model
        if isinstance(network, ClassifierConfig) and isinstance(defaults.model, ClassifierConfig):
            network = replace(network, glimpses=defaults.model.glimpses)
        args, config = _parse(preset, arguments, replace(defaults, model=network))
        starting_model(config)  # reject contradictory options before loading the data
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
    if preset == "folder":
        command.__doc__ += ADAPTED
    args, config = console.parse(command, f"draw train {preset}", arguments, "draw train [PRESET]")
    if args.image_size is not None:
        size = args.image_size
        config = replace(config, model=replace(config.model, height=size, width=size))
    return args, config
