"""draw classify: what is on pictures, and where a classifier looks to find out."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import torch
import tyro

from draw import figures
from draw.classifier import GlimpseClassifier
from draw.commands import console, render
from draw.commands.render import Style
from draw.data import load_picture
from draw.data.picture_files import printable


@dataclass(frozen=True, kw_only=True)
class Options:
    """Say what is on pictures of yours, and how surely; glimpses.png shows where it looked."""

    model: console.Model
    images: tyro.conf.Positional[tuple[Path, ...]] = ()
    """Picture files; laid on black if smaller than what the model looks at, else resized to it."""
    out: Path = Path("out")
    """The folder for the picture."""
    film: Path | None = None
    """Also make a film of the glimpses, .gif, .webp or .mp4."""
    style: Annotated[Style, tyro.conf.arg(name="")] = field(default_factory=Style)
    device: console.Device = "auto"

    def __post_init__(self) -> None:
        console.check_pictures(self.images, "draw classify MODEL IMAGES...")
        if self.film is not None:
            figures.check_film(self.film)


def main(arguments: list[str]) -> int:
    """Run the command; the exit status."""
    options = console.parse(Options, "draw classify", arguments)
    model, _ = console.load_trained(options.model, options.device, "auto", GlimpseClassifier)
    shape = model.config.image_shape
    read = [load_picture(path, shape, enlarge=False) for path in options.images]
    loaded, notes = zip(*read, strict=True)
    picture = options.out / "glimpses.png"
    x = torch.stack(loaded).float() / 255
    probabilities = render.glimpses(model, picture, x, film=options.film, style=options.style)
    for path, note, pixels, row in zip(options.images, notes, x, probabilities, strict=True):
        answer = int(row.argmax())
        ink = console.remark_on_paper(pixels) if len(pixels) == 1 else None
        remarks = "   ".join(filter(None, (note, ink)))
        console.say(f"{printable(path)}: {answer} ({row[answer]:.1%})   {remarks}".rstrip())
    console.say("\n".join(str(path) for path in (picture, options.film) if path is not None))
    return 0
