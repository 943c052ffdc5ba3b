"""Captions of films: their source, the number of the glimpse, and a legend of the windows."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from draw.figures.sheet import FONT_SIZE, INK, PAPER, text_width
from draw.figures.tiles import COLOURS, MARGIN, Kind

LINE_HEIGHT = 24  # pixels
BOX = 20, 15  # width and height of a window in the legend, pixels; multiples of 5
INDENT = 4.0  # pixels to the left of each line


@dataclass(frozen=True, eq=False)
class Captioned(Sequence[Image.Image]):
    """A film with a caption below each frame.

    The legend shows read windows as solid boxes with the letter R, and write windows as dashed
    boxes with W.

    Args:
        film: the frames, the first of them after glimpse 1.
        glimpses: the number of glimpses; later frames repeat the last one.
        kinds: the windows in the legend.
        source: how the film was made, such as the model and the seed.

    >>> frames = [Image.new("RGB", (300, 100))] * 4
    >>> Captioned(frames, glimpses=3, kinds=("read",))[0].size
    (300, 124)
    """

    film: Sequence[Image.Image]
    glimpses: int
    kinds: tuple[Kind, ...]
    source: str = ""

    def __len__(self) -> int:
        return len(self.film)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[t] for t in range(len(self))[index]]
        t = range(len(self))[index]
        frame = self.film[t]
        counter = f"glimpse {min(t + 1, self.glimpses)} of {self.glimpses}"
        widest = f"glimpse {self.glimpses} of {self.glimpses}"  # so that the legend does not move
        items: list[tuple[float, str, Kind | None]] = [
            (text_width(widest, FONT_SIZE), counter, None)
        ]
        if self.source:
            items.insert(0, (text_width(self.source, FONT_SIZE), self.source, None))
        items += [(BOX[0] + 4 + text_width(kind, FONT_SIZE), kind, kind) for kind in self.kinds]
        places = _flow([width for width, _, _ in items], frame.width)
        lines = places[-1][1] + 1
        ends = (int(x + item[0]) + 1 for (x, _), item in zip(places, items, strict=True))
        width = max(frame.width, *ends)
        sheet = Image.new("RGB", (width, frame.height + lines * LINE_HEIGHT), PAPER)
        sheet.paste(frame, (0, 0))
        pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=FONT_SIZE)
        for (x, line), (_, text, kind) in zip(places, items, strict=True):
            middle = frame.height + line * LINE_HEIGHT + LINE_HEIGHT // 2
            if kind is not None:
                _box(sheet, int(x), middle - BOX[1] // 2, kind)
                letter = kind[0].upper()
                pen.text((x + BOX[0] / 2, middle), letter, fill=INK, font=font, anchor="mm")
                x += BOX[0] + 4
            pen.text((x, middle), text, fill=INK, font=font, anchor="lm")
        return sheet


def _flow(widths: list[float], available: int) -> list[tuple[float, int]]:
    """Place items from left to right in lines; return the left side and the line of each."""
    x, line, places = INDENT, 0, []
    for width in widths:
        if x > INDENT and x + width > available:
            x, line = INDENT, line + 1
        places.append((x, line))
        x += width + MARGIN
    return places


def _box(sheet: Image.Image, left: int, top: int, kind: Kind) -> None:
    """Draw the border of a window: solid for read, dashed for write."""
    width, height = BOX
    mark = Image.new("RGB", BOX, COLOURS[kind])
    pen = ImageDraw.Draw(mark)
    if kind == "write":  # three dashes per side
        for gap in (1, 3):
            x, y = gap * width // 5, gap * height // 5
            pen.rectangle((x, 0, x + width // 5 - 1, height), fill=PAPER)
            pen.rectangle((0, y, width, y + height // 5 - 1), fill=PAPER)
    pen.rectangle((2, 2, width - 3, height - 3), fill=PAPER)
    sheet.paste(mark, (left, top))
