"""Sheets: pictures and texts, as PNG for the screen, or as PDF or SVG for print."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from draw.errors import ConfigError
from draw.storage.files import atomic_path, expand_user

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FONT_SIZE = 13.0  # pixels, on the screen
COLUMN = 3.25  # width of a column of text in inches, and of printed sheets
POINTS = 7  # font size in a column; one inch has 72
FORMATS = ("png", "pdf", "svg")
PAPER = (255, 255, 255)
INK = (90, 90, 90)


class Text(NamedTuple):
    """A line of text at a position in pixels."""

    x: float
    y: float
    text: str
    size: float  # height of the font in pixels
    colour: tuple[int, int, int] = INK
    is_centred: bool = False  # at (x, y), which is otherwise the upper left corner


class Layout(NamedTuple):
    """The positions of pictures and texts, in pixels."""

    width: int
    height: int
    pictures: list[tuple[int, int, Image.Image]]  # left, top
    texts: list[Text]


@dataclass(frozen=True, eq=False)
class Sheet:
    """A figure of pictures and texts.

    Args:
        layout: returns the layout for a font of this height in pixels. In print, the font has 7
            points when the sheet is as wide as a column of text.
    """

    layout: Callable[[float], Layout]

    @property
    def image(self) -> Image.Image:
        """The sheet for the screen."""
        width, height, pictures, texts = self.layout(FONT_SIZE)
        sheet = Image.new("RGB", (width, height), PAPER)
        pen = ImageDraw.Draw(sheet)
        for x, y, picture in pictures:
            sheet.paste(picture, (x, y))
        for text in texts:
            font = ImageFont.load_default(size=text.size)
            anchor = "mm" if text.is_centred else "la"
            pen.text((text.x, text.y), text.text, fill=text.colour, font=font, anchor=anchor)
        return sheet

    def figure(self) -> "Figure":
        """Return the sheet for print, with texts that can be searched."""
        from matplotlib.figure import Figure

        size = FONT_SIZE
        for _ in range(5):  # the width depends on the font, and the font on the width
            size = self.layout(size).width * POINTS / (COLUMN * 72)
        width, height, pictures, texts = self.layout(size)
        figure = Figure(figsize=(COLUMN, COLUMN * height / width))
        axes = figure.add_axes((0, 0, 1, 1))
        for x, y, picture in pictures:
            extent = (x, x + picture.width, y + picture.height, y)
            axes.imshow(np.asarray(picture.convert("RGB")), extent=extent, interpolation="none")
        for text in texts:
            axes.text(
                *(text.x, text.y, text.text),
                fontsize=text.size / size * POINTS,
                color=np.divide(text.colour, 255),
                ha="center" if text.is_centred else "left",
                va="center" if text.is_centred else "top",
            )
        axes.set(xlim=(0, width), ylim=(height, 0), aspect="auto")
        axes.set_axis_off()
        return figure

    def _repr_png_(self) -> bytes | None:  # in notebooks
        return self.image._repr_png_()


def text_width(text: str, size: float) -> float:
    """Return the width of a text in pixels."""
    return ImageFont.load_default(size=size).getlength(text)


def check_picture(path: Path) -> str:
    """Return the format of a picture file, from its suffix.

    Raises:
        ConfigError: if the suffix is not .png, .pdf or .svg.
    """
    kind = path.suffix.lower().removeprefix(".")
    if kind not in FORMATS:
        raise ConfigError(f"{path} is not a picture; its name must end in .png, .pdf or .svg")
    return kind


def save_picture(path: str | Path, picture: "Image.Image | Sheet | Figure") -> None:
    """Save a picture as PNG, PDF or SVG, depending on the suffix of the file.

    PNG is for the screen. PDF and SVG are as wide as a column of text, 3.25 inches, with texts of 7
    points that can be searched.

    Raises:
        ConfigError: if the suffix is not .png, .pdf or .svg.
    """
    file = expand_user(path)
    kind = check_picture(file)
    if isinstance(picture, Image.Image):
        picture = _alone(picture)
    with atomic_path(file) as partial:
        if isinstance(picture, Sheet) and kind == "png":
            picture.image.save(partial, "PNG", optimize=True)
        else:
            _save_figure(partial, picture.figure() if isinstance(picture, Sheet) else picture, kind)


def _alone(picture: Image.Image) -> Sheet:
    """Return a sheet with a single picture, which covers it."""
    return Sheet(lambda size: Layout(*picture.size, [(0, 0, picture)], []))


def _save_figure(path: Path, figure: "Figure", kind: str) -> None:
    import matplotlib

    dates = {"pdf": {"CreationDate": None}, "svg": {"Date": None}}  # for equal files
    fonts: Any = {"pdf.fonttype": 42, "svg.fonttype": "none", "svg.hashsalt": "draw"}
    with matplotlib.rc_context(fonts):
        figure.savefig(path, format=kind, dpi=300, metadata=dates.get(kind))
