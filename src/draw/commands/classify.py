"""draw classify: classify images."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import torch
import tyro

from draw import figures
from draw.classifier import GlimpseClassifier
from draw.commands import console, options, render
from draw.commands.output import Style
from draw.data import load_picture
from draw.data.picture_files import printable


@dataclass(frozen=True, kw_only=True)
class Options:
    """Classify images, and draw the read window of every glimpse."""

    model: options.Model
    images: Annotated[tyro.conf.Positional[tuple[Path, ...]], options.arg("IMAGES...")] = ()
    """image files; smaller ones are centred on black, larger ones resized and cropped"""
    out: options.OutDir = Path("out")
    picture: Annotated[Path | None, options.arg("FILE", default="glimpses.png in --out")] = None
    """picture file (.png, .pdf or .svg)"""
    film: options.File = None
    """also save a film of the glimpses (.gif, .webp or .mp4)"""
    style: Annotated[Style, tyro.conf.arg(name="")] = field(default_factory=Style)
    device: options.Device = "auto"

    def __post_init__(self) -> None:
        options.check_image_files(self.images, "draw classify MODEL IMAGES...")
        if self.picture is not None:
            figures.check_picture(self.picture)
        if self.film is not None:
            figures.check_film(self.film)


def main(arguments: list[str]) -> int:
    """Run the command and return the exit status."""
    args = console.parse(Options, "draw classify", arguments)
    model, _ = options.load_trained(args.model, args.device, "auto", GlimpseClassifier)
    shape = model.config.image_shape
    decoded = [load_picture(path, shape, enlarge=False) for path in args.images]
    pixels, conversions = zip(*decoded, strict=True)
    x = torch.stack(pixels).float() / 255
    picture = args.picture or args.out / "glimpses.png"
    probabilities = render.glimpses(
        model, picture, x, film=args.film, style=args.style, name=args.model
    )
    for path, conversion, image, row in zip(
        args.images, conversions, x, probabilities, strict=True
    ):
        label = int(row.argmax())
        warning = options.background_warning(image) if len(image) == 1 else None
        remarks = "   ".join(filter(None, (conversion, warning)))
        console.say(f"{printable(path)}: {label} ({row[label]:.1%})   {remarks}".rstrip())
    console.say("\n".join(str(path) for path in (picture, args.film) if path is not None))
    return 0
