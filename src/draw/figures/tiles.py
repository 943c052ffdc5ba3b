"""Arrange images, with window borders, in grids and in panels with titles."""

import math
from functools import partial
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

from draw.attention import Window, box
from draw.figures.sheet import Layout, Sheet, Text, text_width

# WebP films keep these colours exactly, because all components are multiples of 3.
READ = (30, 111, 219)  # read windows: blue
WRITE = (219, 99, 0)  # write windows: orange, which colour-blind readers can tell from blue
WRONG = (234, 51, 39)  # wrong predictions
Kind = Literal["read", "write"]
COLOURS: dict[Kind, tuple[int, int, int]] = {"read": READ, "write": WRITE}
TINT = 0.3  # opacity of the band around a window, through which the picture remains visible
LINE = 2  # widths of a window's line per image pixel
GAP = 2  # pixels between tiles
MARGIN = 12  # pixels around a figure and between its panels
UNKNOWN = 0.4, 0.6  # shades of the checkered pattern of unknown pixels
MAX_SQUARES = 16  # squares of this pattern per side


def grid(images: Float[Tensor, "n C H W"], columns: int, scale: int = 3) -> Image.Image:
    """Arrange images in [0, 1] in a grid; each pixel becomes a sharp square of `scale` pixels.

    >>> grid(torch.rand(6, 1, 8, 8), columns=3, scale=2).size
    (52, 34)
    """
    return arrange(enlarge(images, scale), columns)


def checkered(images: Float[Tensor, "n C H W"]) -> Float[Tensor, "H W"]:
    """Return a checkered pattern of the images' size, easily distinguished from a photograph."""
    sides = images.shape[-2:]
    square = math.ceil(max(sides) / MAX_SQUARES)
    rows, columns = (torch.arange(side, device=images.device) // square for side in sides)
    dark, light = UNKNOWN
    return torch.where((rows[:, None] + columns) % 2 == 0, dark, light)


def enlarge(images: Float[Tensor, "n C H W"], scale: int) -> UInt8[np.ndarray, "n h w 3"]:
    """Convert images in [0, 1] to RGB tiles; each pixel becomes a sharp square."""
    shades = (images.clamp(0, 1) * 255).round().to(torch.uint8).movedim(1, -1).cpu().numpy()
    tiles = shades.repeat(scale, axis=1).repeat(scale, axis=2)
    return tiles.repeat(3 // tiles.shape[-1], axis=-1)


def arrange(tiles: UInt8[np.ndarray, "n h w 3"], columns: int) -> Image.Image:
    """Arrange tiles row by row on a white background."""
    n, h, w, _ = tiles.shape
    columns = min(columns, n)
    rows = -(-n // columns)
    sheet = np.full((rows * columns, h + GAP, w + GAP, 3), 255, dtype=np.uint8)
    sheet[:n, :h, :w] = tiles
    sheet = sheet.reshape(rows, columns, h + GAP, w + GAP, 3).swapaxes(1, 2)
    whole = sheet.reshape(rows * (h + GAP), columns * (w + GAP), 3)
    return Image.fromarray(np.ascontiguousarray(whole[:-GAP, :-GAP]))


def window_at(windows: Window | None, t: int) -> Window | None:
    """Select the windows of glimpse t, fields [n], from fields [T, n]."""
    return None if windows is None else Window(*(field[t] for field in windows))


def windowed(
    images: Float[Tensor, "n C H W"],
    scale: int,
    window: Window | None,
    size: int | None,
    kind: Kind,
) -> UInt8[np.ndarray, "n h w 3"]:
    """Convert images to tiles, and draw the borders of their windows, fields [n].

    A thin line surrounds the patch of size N = `size`, in a tinted band that is sigma wide. The
    lines of write windows are dashed, so that the two kinds differ in more than their colour.
    """
    tiles = enlarge(images, scale)
    if window is None or size is None:
        return tiles
    window = Window(*(field.detach().cpu().double() for field in window))
    left, top, right, bottom = ((edge - 0.5) * scale for edge in box(window, size))
    _, height, width, _ = tiles.shape

    def bands(margin: Tensor) -> tuple[Tensor, Tensor]:  # [n, h, 1], [n, 1, w]
        rows = _between(top - margin, bottom + margin, height)
        columns = _between(left - margin, right + margin, width)
        return rows[:, :, None], columns[:, None]

    def ring(line: Tensor, is_dashed: bool) -> np.ndarray:  # [n, h, w]
        (rows, columns), (inner_rows, inner_columns) = bands(line / 2), bands(-line / 2)
        beside, above = ~inner_columns, ~inner_rows  # the vertical and horizontal sides
        if is_dashed:
            beside = beside & _dashes(top, bottom, height)[:, :, None]
            above = above & _dashes(left, right, width)[:, None]
        return (rows & columns & (beside | above)).numpy()

    band = ring(window.sigma2.sqrt() * scale, False)
    tiles[band] = tinted(tiles[band], COLOURS[kind])
    thin = torch.full_like(left, max(1, round(scale / LINE)))
    tiles[ring(thin, kind == "write")] = COLOURS[kind]
    return tiles


def tinted(shades: np.ndarray, colour: tuple[int, int, int]) -> UInt8[np.ndarray, "n 3"]:
    """Mix RGB shades with the colour of a window."""
    return ((1 - TINT) * shades + TINT * np.array(colour)).round().astype(np.uint8)


def _dashes(low: Tensor, high: Tensor, pixels: int) -> Tensor:
    """Return which pixels of an axis are in one of three dashes between low and high, [n, pixels].

    The first and the last dash extend beyond the ends.
    """
    centre = torch.arange(pixels) + 0.5
    fifth = (centre - low[:, None]) / (high - low)[:, None] * 5
    return fifth.clamp(0, 4).floor() % 2 == 0


def _between(low: Tensor, high: Tensor, pixels: int) -> Tensor:
    """Return which pixels of an axis have their centre in [low, high), [n, pixels]."""
    centre = torch.arange(pixels) + 0.5
    return (low[:, None] <= centre) & (centre < high[:, None])


def panels(parts: dict[str, Image.Image]) -> Sheet:
    """Arrange pictures side by side, each below its title."""
    return Sheet(partial(_panels, parts))


def _panels(parts: dict[str, Image.Image], size: float) -> Layout:
    top = MARGIN + title_height(size)
    widths = [max(part.width, math.ceil(text_width(title, size))) for title, part in parts.items()]
    lefts = [MARGIN + sum(widths[:i]) + i * MARGIN for i in range(len(parts))]
    return Layout(
        width=MARGIN + sum(width + MARGIN for width in widths),
        height=top + max(part.height for part in parts.values()) + MARGIN,
        pictures=[(x, top, part) for x, part in zip(lefts, parts.values(), strict=True)],
        texts=[Text(x, MARGIN - 2, t, size) for x, t in zip(lefts, parts, strict=True)],
    )


def title_height(size: float) -> int:
    """Return the height of a line of text above a picture, in pixels."""
    return math.ceil(size * 1.5)


def nearest(
    images: Float[Tensor, "n C H W"], candidates: UInt8[Tensor, "m C H W"]
) -> Float[Tensor, "n C H W"]:
    """Find the candidate with the smallest L2 distance to each image (figures 6, 9 and 12).

    The candidates are uint8, the images and the result in [0, 1].
    """
    best = torch.full((len(images),), math.inf)
    found = torch.zeros_like(images)
    for chunk in torch.split(candidates, 4096):  # a large set may not fit in memory as floats
        near = chunk.float() / 255
        distance, index = torch.cdist(images.flatten(1), near.flatten(1)).min(1)
        closer = distance < best
        best[closer], found[closer] = distance[closer], near[index[closer]]
    return found
