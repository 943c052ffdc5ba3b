"""Options that commands share for the images and films that they save."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from PIL import Image

from draw import figures
from draw.classifier import GlimpseClassifier
from draw.commands.options import File, Flag, OutDir, arg
from draw.errors import check_limits
from draw.figures.tiles import Kind
from draw.model import DRAW

FILM_SECONDS = 4  # default duration of a film without the final pause
MAX_FPS = 50.0  # browsers show faster GIFs more slowly
TILE_PIXELS = 84  # approximate size of an image on the screen


@dataclass(frozen=True, kw_only=True)
class Style:
    """Appearance of images and films."""

    columns: Annotated[
        int | None, arg("INT", default="chosen so that the picture is roughly square")
    ] = None
    """images per row of a grid or film"""
    scale: Annotated[
        int | None,
        arg("INT", default=f"chosen so that images are about {TILE_PIXELS} pixels wide"),
    ] = None
    """screen pixels per image pixel"""
    fps: Annotated[
        float | None, arg("FLOAT", default=f"chosen so that the film lasts {FILM_SECONDS} s")
    ] = None
    """frames per second of the film, which has one frame per glimpse"""
    hold_ms: int = 1_500
    """milliseconds for which the film shows the finished images"""
    caption: Flag = False
    """show the model, the seed, the glimpse number and a legend below the film"""

    def __post_init__(self) -> None:
        check_limits("--", self, columns=(1, 1_024), scale=(1, 64))
        check_limits("--", self, fps=(0.1, MAX_FPS), hold_ms=(10, 60_000))

    def columns_for(self, count: int, grids: int = 1) -> int:
        """Return the columns of each of several grids that together are about square.

        >>> Style().columns_for(64), Style().columns_for(32), Style().columns_for(32, grids=2)
        (8, 8, 4)
        """
        if self.columns is not None:
            return self.columns
        tiles = grids * count
        columns = 8 if 32 <= tiles <= 64 else math.ceil(math.sqrt(tiles))
        return math.ceil(columns / grids)

    def scale_for(self, model: DRAW | GlimpseClassifier) -> int:
        """Return the scale, which by default makes tiles of about 84 pixels."""
        return self.scale or max(1, TILE_PIXELS // max(model.config.height, model.config.width))

    def save_film(
        self,
        path: Path,
        film: Sequence[Image.Image],
        glimpses: int,
        kinds: tuple[Kind, ...],
        source: str,
    ) -> None:
        """Save a film; by default, its speed depends on the number of glimpses.

        Args:
            kinds: the windows in the legend of a caption.
            source: how the film was made, for the caption.
        """
        if self.caption:
            film = figures.Captioned(film, glimpses, kinds, source)
        fps = self.fps or min(MAX_FPS, glimpses / FILM_SECONDS)
        figures.save_film(path, film, fps=fps, hold_ms=self.hold_ms)


@dataclass(frozen=True, kw_only=True)
class Output(Style):
    """Where to save the images of a DRAW model, and their appearance."""

    out: OutDir = Path("out")
    picture: Annotated[Path | None, arg("FILE", default="a PNG in --out")] = None
    """picture file (.png, .pdf or .svg)"""
    film: Annotated[Path | None, arg("FILE", default="a GIF in --out")] = None
    """film file (.gif, .webp or .mp4)"""
    trace: File = None
    """also save a JSON file with every canvas and window, for web pages"""
    windows: Annotated[bool, arg(default="--windows")] = True
    """draw the read window (blue) and the write window (orange) in the film"""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.picture is not None:
            figures.check_picture(self.picture)
        if self.film is not None:
            figures.check_film(self.film)
