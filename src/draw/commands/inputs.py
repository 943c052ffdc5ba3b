"""The images that a command reads: image files, or validation images of a data set."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
import tyro
from torch import Tensor

from draw import zoo
from draw.commands import console, options
from draw.data import load_picture
from draw.data.picture_files import printable
from draw.errors import ConfigError, check_limits
from draw.evaluation import check_images_fit
from draw.model import DRAW
from draw.storage.run_folder import RunFolder
from draw.training.config import TrainConfig


@dataclass(frozen=True, kw_only=True)
class InputOptions:
    """The options that select a model and the images that it reads."""

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
    binarise: options.Flag = False
    """round pixels to 0 or 1; on by default for runs and bundled models trained on binary images"""

    def __post_init__(self) -> None:
        check_limits("--", self, count=(1, options.MAX_IMAGES))
        if self.images:
            options.check_image_files(self.images, "draw COMMAND MODEL [IMAGES...]")
            if (self.count, self.data, self.data_dir) != (None, None, None):
                raise ConfigError(
                    "--count, --data and --data-dir select validation images; leave them out to "
                    "use image files"
                )
        elif self.binarise:
            raise ConfigError("--binarise applies to image files; name at least one")

    def load_images(
        self, model: DRAW, config: TrainConfig | None, default_count: int
    ) -> tuple[Tensor, list[str]]:
        """Load the images as the model expects them, [n, C, H, W], and a label for each."""
        if self.images:
            return self._read_files(model, config), [path.stem for path in self.images]
        if config is None and self.data is None:
            raise ConfigError(
                "this model does not record its training data; name image files, or a data set "
                "with --data (for 'folder', also your images with --data-dir)"
            )
        _, images = options.load_images(model, config, self.data, self.data_dir, "valid")
        check_images_fit(model.config, images)
        x = images.first(self.count or default_count)
        return x, [f"validation image {number}" for number in range(len(x))]

    def _read_files(self, model: DRAW, config: TrainConfig | None) -> Tensor:
        """Read image files, and report every conversion."""
        decoded = [load_picture(path, model.config.image_shape) for path in self.images]
        for path, (_, conversion) in zip(self.images, decoded, strict=True):
            if conversion:
                console.say(f"{printable(path)}: {conversion}")
        x = torch.stack([pixels for pixels, _ in decoded]).float() / 255
        run = RunFolder(zoo.find(self.model))
        is_binary = config is not None and run.read()["data"].get("binarisation") != "none"
        if self.binarise or is_binary:
            x = x.round()
            console.say("rounded the pixels to 0 or 1, as the model expects binary images")
            for path, image in zip(self.images, x, strict=True):
                if warning := options.background_warning(image):
                    console.say(f"{printable(path)}: {warning}")
        elif config is None and model.config.likelihood == "bernoulli":
            console.say(
                "kept grey levels; add --binarise if the model was trained on binary images"
            )
        return x
