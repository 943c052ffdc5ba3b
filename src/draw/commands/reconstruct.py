"""draw reconstruct: reconstruct images."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import torch
import tyro
from torch import Tensor

from draw import zoo
from draw.commands import console, options, render
from draw.commands.render import Output
from draw.data import load_picture
from draw.data.picture_files import printable
from draw.errors import ConfigError, check_limits
from draw.evaluation import check_images_fit
from draw.model import DRAW
from draw.storage.run_folder import RunFolder
from draw.training.config import TrainConfig


@dataclass(frozen=True, kw_only=True)
class Options:
    """Reconstruct images.

    Saves reconstructions.png and reconstructing.gif, a film of the reconstructions being drawn.
    """

    model: options.Model
    images: Annotated[
        tyro.conf.Positional[tuple[Path, ...]],
        options.arg("[IMAGES...]", default="the first validation images"),
    ] = ()
    """image files, which are resized and cropped to the model's image size"""
    count: Annotated[
        int | None, options.arg("INT", default="32, or fewer if they need too much memory")
    ] = None
    """number of validation images"""
    data: options.Data = None
    """data set of the validation images"""
    data_dir: options.DataDir = None
    output: Annotated[Output, tyro.conf.arg(name="")] = field(default_factory=Output)
    binarise: options.Flag = False
    """round pixels to 0 or 1; on by default for runs and bundled models trained on binary images"""
    seed: int = 0
    """random seed for the latent noise"""
    device: options.Device = "auto"
    engine: options.EngineChoice = "auto"

    def __post_init__(self) -> None:
        if self.images:
            options.check_image_files(self.images, "draw reconstruct MODEL IMAGES...")
            if (self.count, self.data, self.data_dir) != (None, None, None):
                raise ConfigError(
                    "--count, --data and --data-dir select validation images; leave them out to "
                    "reconstruct image files"
                )
        elif self.binarise:
            raise ConfigError("--binarise applies to image files; name at least one")
        check_limits("--", self, count=(1, options.MAX_IMAGES), seed=options.SEEDS)


def main(arguments: list[str]) -> int:
    """Run the command and return the exit status."""
    args = console.parse(Options, "draw reconstruct", arguments)
    model, config = options.load_trained(args.model, args.device, args.engine, DRAW)
    if args.images:
        x, labels = _read_files(args, model, config), [path.stem for path in args.images]
    else:
        _, images = options.load_images(model, config, args.data, args.data_dir, "valid")
        check_images_fit(model.config, images)
        x = images.first(args.count or render.max_recorded(model.config, 32))
        labels = [f"validation image {number}" for number in range(len(x))]
    written = render.reconstruct(
        model, args.output, x, seed=args.seed, name=args.model, labels=labels
    )
    console.say("\n".join(map(str, written)))
    return 0


def _read_files(args: Options, model: DRAW, config: TrainConfig | None) -> Tensor:
    """Read image files as the model expects them, [n, C, H, W], and report every conversion."""
    decoded = [load_picture(path, model.config.image_shape) for path in args.images]
    for path, (_, conversion) in zip(args.images, decoded, strict=True):
        if conversion:
            console.say(f"{printable(path)}: {conversion}")
    x = torch.stack([pixels for pixels, _ in decoded]).float() / 255
    run = RunFolder(zoo.find(args.model))
    is_binary = config is not None and run.read()["data"].get("binarisation") != "none"
    if args.binarise or is_binary:
        x = x.round()
        console.say("rounded the pixels to 0 or 1, as the model expects binary images")
        for path, image in zip(args.images, x, strict=True):
            if warning := options.background_warning(image):
                console.say(f"{printable(path)}: {warning}")
    elif config is None:
        console.say("kept grey levels; add --binarise if the model was trained on binary images")
    return x
