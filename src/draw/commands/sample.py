"""draw sample: new images."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro
from torch import Tensor

from draw import figures
from draw.commands import console, render
from draw.commands.render import PaintingStyle
from draw.errors import DataError
from draw.model import DRAW
from draw.training.config import TrainConfig


@dataclass(frozen=True, kw_only=True)
class Options:
    """Paint new images: samples.png and drawing.gif, a film of how they are painted."""

    model: console.Model
    count: int = 64
    """How many."""
    seed: int = 0
    """Decides which."""
    out: Path = Path("out")
    """The folder for the pictures."""
    film: Path | None = None
    """The film's file, .gif, .webp or .mp4; OUT/drawing.gif unless given."""
    style: Annotated[PaintingStyle, tyro.conf.arg(name="")] = field(default_factory=PaintingStyle)
    trace: Path | None = None
    """Also write what a web page reads into this file, see docs/trace.md."""
    data: str | None = None
    """The data set whose nearest images are shown beside; the model's own if it is at hand."""
    data_dir: Path | None = None
    """Where to look for it first."""
    device: console.Device = "auto"
    engine: console.EngineChoice = "auto"

    def __post_init__(self) -> None:
        console.check_range(1, 1_024, count=self.count)
        console.check_range(0, 2**63 - 1, seed=self.seed)
        if self.film is not None:
            figures.check_film(self.film)


def main(arguments: list[str]) -> int:
    """Run the command; the exit status."""
    options = console.parse(Options, "draw sample", arguments)
    model, config = console.load_trained(options.model, options.device, options.engine, DRAW)
    written = render.sample(
        model,
        options.out,
        count=options.count,
        seed=options.seed,
        training=_training_pixels(options, model, config),
        film=options.film,
        style=options.style,
        trace_file=options.trace,
        name=options.model,
    )
    console.say("\n".join(map(str, written)))
    return 0


def _training_pixels(options: Options, model: DRAW, config: TrainConfig | None) -> Tensor | None:
    """The images among which to look for the nearest.

    Samples can do without them: unless they are named, nothing is downloaded for their sake.
    """
    if options.data is None and config is None:
        console.say(
            "without the nearest training images, as a saved model does not know its data; "
            "name it with --data to see them"
        )
        return None
    try:
        _, images = console.load_images(
            model,
            config,
            options.data,
            options.data_dir,
            "train",
            fetch=options.data is not None,
        )
    except DataError as error:
        if options.data is not None:
            raise
        console.say(f"without the nearest training images: {error}")
        return None
    return images.reference_pixels()
