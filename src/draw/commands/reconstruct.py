"""draw reconstruct: pictures as a model sees and repaints them."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import torch
import tyro
from torch import Tensor

from draw import figures, zoo
from draw.commands import console, render
from draw.commands.render import PaintingStyle
from draw.data import load_picture
from draw.data.picture_files import printable
from draw.errors import ConfigError
from draw.evaluation import check_images_fit
from draw.model import DRAW
from draw.storage.run_folder import RunFolder
from draw.training.config import TrainConfig


@dataclass(frozen=True, kw_only=True)
class Options:
    """Repaint pictures: reconstructions.png and reconstructing.gif, a film of it."""

    model: console.Model
    images: tyro.conf.Positional[tuple[Path, ...]] = ()
    """Picture files, resized and cropped to the model's size; the first validation images unless
    given."""
    count: int | None = None
    """How many validation images; 32 unless given, or as many as leave room in the memory."""
    data: str | None = None
    """The data set of the validation images; the model's own unless given."""
    data_dir: Path | None = None
    """Where to look for it first."""
    out: Path = Path("out")
    """The folder for the pictures."""
    film: Path | None = None
    """The film's file, .gif, .webp or .mp4; OUT/reconstructing.gif unless given."""
    style: Annotated[PaintingStyle, tyro.conf.arg(name="")] = field(default_factory=PaintingStyle)
    trace: Path | None = None
    """Also write what a web page reads into this file, see docs/trace.md."""
    binarise: bool = False
    """Round the pixels to 0 or 1, as a model of binary images wants them; a run folder knows."""
    seed: int = 0
    """Decides the noise."""
    device: console.Device = "auto"
    engine: console.EngineChoice = "auto"

    def __post_init__(self) -> None:
        of_data = (self.count, self.data, self.data_dir)
        if self.images:
            console.check_pictures(self.images, "draw reconstruct MODEL IMAGES...")
            if any(option is not None for option in of_data):
                raise ConfigError(
                    "--count, --data and --data-dir are of validation images, which "
                    "are taken where no pictures are named"
                )
        elif self.binarise:
            raise ConfigError("--binarise is of pictures that are named; a data set knows its own")
        console.check_range(1, 1_024, count=self.count)
        console.check_range(0, 2**63 - 1, seed=self.seed)
        if self.film is not None:
            figures.check_film(self.film)


def main(arguments: list[str]) -> int:
    """Run the command; the exit status."""
    options = console.parse(Options, "draw reconstruct", arguments)
    model, config = console.load_trained(options.model, options.device, options.engine, DRAW)
    if options.images:
        x, labels = _pictures(options, model, config), [path.stem for path in options.images]
    else:
        _, images = console.load_images(model, config, options.data, options.data_dir, "valid")
        check_images_fit(model.config, images)
        x = images.first(options.count or render.at_once(model.config, 32))
        labels = [f"validation image {number}" for number in range(len(x))]
    written = render.reconstruct(
        model,
        options.out,
        x,
        seed=options.seed,
        film=options.film,
        style=options.style,
        trace_file=options.trace,
        name=options.model,
        labels=labels,
    )
    console.say("\n".join(map(str, written)))
    return 0


def _pictures(options: Options, model: DRAW, config: TrainConfig | None) -> Tensor:
    """The files as the model wants them, [n, C, H, W]; what was done to them is told."""
    loaded = []
    for path in options.images:
        picture, note = load_picture(path, model.config.image_shape)
        loaded.append(picture)
        if note:
            console.say(f"{printable(path)}: {note}")
    x = torch.stack(loaded).float() / 255
    run = RunFolder(zoo.find(options.model))
    learned_binary = config is not None and run.read()["data"].get("binarisation") != "none"
    if options.binarise or learned_binary:
        x = x.round()
        console.say("pixels rounded to 0 or 1, as the model learned from binary images")
        for path, pixels in zip(options.images, x, strict=True):
            if remark := console.remark_on_paper(pixels):
                console.say(f"{printable(path)}: {remark}")
    elif config is None:
        console.say("pixels taken as intensities; if the model is of binary images: --binarise")
    return x
