"""draw sample: generate images."""

from dataclasses import dataclass, field
from typing import Annotated

import tyro
from torch import Tensor

from draw.commands import console, options, render
from draw.commands.output import Output
from draw.errors import DataError, check_limits
from draw.model import DRAW
from draw.training.config import TrainConfig


@dataclass(frozen=True, kw_only=True)
class Options:
    """Generate images.

    Saves samples.png, which also shows the nearest training images if the data are on this machine,
    and drawing.gif, a film of the samples being drawn.
    """

    model: options.Model
    count: int = 64
    """number of images"""
    seed: int = 0
    """random seed for the latent noise"""
    output: Annotated[Output, tyro.conf.arg(name="")] = field(default_factory=Output)
    data: options.Data = None
    """data set to search for the nearest training images; downloaded if you name one"""
    data_dir: options.DataDir = None
    device: options.Device = "auto"
    engine: options.EngineChoice = "auto"

    def __post_init__(self) -> None:
        check_limits("--", self, count=(1, options.MAX_IMAGES), seed=options.SEEDS)


def main(arguments: list[str]) -> int:
    """Run the command and return the exit status."""
    args = console.parse(Options, "draw sample", arguments)
    model, config = options.load_trained(args.model, args.device, args.engine, DRAW)
    written = render.sample(
        model,
        args.output,
        count=args.count,
        seed=args.seed,
        training=_training_images(args, model, config),
        name=args.model,
    )
    console.say("\n".join(map(str, written)))
    return 0


def _training_images(args: Options, model: DRAW, config: TrainConfig | None) -> Tensor | None:
    """Load the images among which to search for nearest neighbours, if they are available.

    Unless --data names a data set, nothing is downloaded for this optional part of the picture.
    """
    if args.data is None and config is None:
        console.say(
            "not showing the nearest training images: this model does not record its training "
            "data; name the data set with --data to show them"
        )
        return None
    fetch = args.data is not None
    try:
        _, images = options.load_images(model, config, args.data, args.data_dir, "train", fetch)
    except DataError as error:
        if args.data is not None:
            raise
        console.say(f"not showing the nearest training images: {error}")
        return None
    return images.reference_pixels()
