"""Pictures of a Trace: frames, grids, films and curves. Draws what it is given, runs no model."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from draw.attention import Window, box
from draw.errors import TraceError
from draw.files import atomic_path
from draw.model import Trace

RED = (235, 50, 40)  # the write window, as in the paper's figure 1
GREEN = (40, 200, 90)  # the read window, as in figure 5
PAPER = (255, 255, 255)
INK = (90, 90, 90)
GAP = 2  # pixels between tiles
MARGIN = 12  # pixels around a figure and between its panels


def grid(images: Float[Tensor, "n C H W"], columns: int, scale: int = 3) -> Image.Image:
    """Images in [0, 1] as tiles, row by row, each pixel a crisp square of `scale` pixels.

    >>> grid(torch.rand(6, 1, 8, 8), columns=3, scale=2).size
    (52, 34)
    """
    return _tile([_tile_image(image, scale) for image in images], columns)


def panels(parts: dict[str, Image.Image]) -> Image.Image:
    """Pictures side by side, each below its title."""
    font = ImageFont.load_default(size=13)
    top = MARGIN + 20
    width = sum(part.width for part in parts.values()) + MARGIN * (len(parts) + 1)
    height = max(part.height for part in parts.values()) + top + MARGIN
    sheet = Image.new("RGB", (width, height), PAPER)
    pen = ImageDraw.Draw(sheet)
    x = MARGIN
    for title, part in parts.items():
        pen.text((x, MARGIN - 2), title, fill=INK, font=font)
        sheet.paste(part, (x, top))
        x += part.width + MARGIN
    return sheet


def frames(
    trace: Trace,
    columns: int,
    *,
    scale: int = 3,
    read_size: int | None = None,
    write_size: int | None = None,
) -> list[Image.Image]:
    """The grid of canvases after each step of a recorded trace (figures 1 and 5).

    Args:
        read_size, write_size: the patch size N of each window that is to be drawn: read in
            green, write in red. A border encloses the patch; its line is sigma wide.

    Raises:
        TraceError: the trace was not recorded.
    """
    if len(trace.canvas) != len(trace.z):
        raise TraceError("only the last canvas was kept; run the model with record=True")
    windows = [
        (window, size, colour)
        for window, size, colour in (
            (trace.read, read_size, GREEN),
            (trace.write, write_size, RED),
        )
        if window is not None and size is not None
    ]
    result = []
    for t, canvases in enumerate(trace.mean):
        tiles = [_tile_image(canvas, scale) for canvas in canvases]
        for window, size, colour in windows:
            for b, tile in enumerate(tiles):
                outline(tile, Window(*(f[t, b] for f in window)), size, scale, colour)
        result.append(_tile(tiles, columns))
    return result


def outline(
    picture: Image.Image, window: Window, n: int, scale: int, colour: tuple[int, int, int]
) -> None:
    """Draw one window's border into a picture: the patch's extent, a line sigma wide.

    Args:
        picture: an image enlarged `scale` times; drawn into.
        window: its fields are single numbers.
    """
    limit = 4 * max(picture.size)  # keeps a window far outside within what can be drawn
    edges = [(float(e) - 0.5) * scale for e in box(window, n)]  # pixel 1 starts at 0.5
    left, top, right, bottom = (min(limit, max(-limit, e)) for e in edges)
    line = round(min(limit, max(1.0, float(window.sigma2.sqrt()) * scale)))
    reach = line / 2  # the line's middle lies on the extent
    frame = (
        *(math.floor(e - reach) for e in (left, top)),
        *(math.ceil(e + reach) - 1 for e in (right, bottom)),  # the last pixel counts
    )
    ImageDraw.Draw(picture).rectangle(frame, outline=colour, width=line)


def nearest(
    images: Float[Tensor, "n C H W"], candidates: UInt8[Tensor, "m C H W"]
) -> Float[Tensor, "n C H W"]:
    """For each image in [0, 1] the candidate, of bytes, at the least pixelwise L2 distance.

    The training images beside the samples of figures 6, 9 and 12.
    """
    best = torch.full((len(images),), math.inf)
    found = torch.zeros_like(images)
    for chunk in torch.split(candidates, 4096):  # a large set need not fit into memory as floats
        near = chunk.float() / 255
        distance, index = torch.cdist(images.flatten(1), near.flatten(1)).min(1)
        closer = distance < best
        best[closer], found[closer] = distance[closer], near[index[closer]]
    return found


def save_film(path: Path, pictures: list[Image.Image], seconds: float = 4.0) -> None:
    """An animated GIF that lasts so long, holds its last frame for 1.5 s and starts again."""
    each = max(20, round(1000 * seconds / len(pictures) / 10) * 10)  # GIF counts in 10 ms
    palette = _palette(pictures[-1])
    indexed = [p.quantize(palette=palette, dither=Image.Dither.NONE) for p in pictures]
    times = [each] * (len(indexed) - 1) + [1500]
    with atomic_path(path) as partial:
        indexed[0].save(
            *(partial, "GIF"), save_all=True, append_images=indexed[1:], duration=times, loop=0
        )


def save_picture(path: Path, picture: Image.Image) -> None:
    """A PNG, written whole or not at all."""
    with atomic_path(path) as partial:
        picture.save(partial, "PNG", optimize=True)


def save_curves(path: Path, records: list[dict[str, Any]]) -> None:
    """The learning curve of a run from the records of its metrics.jsonl, as PNG."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot()
    train = [(r["step"], r["train_elbo_nats"]) for r in records if "train_elbo_nats" in r]
    valid = [(r["step"], r["valid_elbo_nats"]) for r in records if "valid_elbo_nats" in r]
    valid = [point for point in valid if math.isfinite(point[1])]
    if train:
        axes.plot(*zip(*train, strict=True), color="#b0b0b0", linewidth=1, label="training")
    if valid:
        axes.plot(*zip(*valid, strict=True), color="#c0392b", marker="o", ms=3, label="validation")
        best = max(nats for _, nats in valid)
        axes.set_title(f"best validation ELBO {best:.2f} nats", fontsize=10)
        low = min(nats for _, nats in valid)
        axes.set_ylim(low - 0.1 * (best - low) - 5, best + 0.1 * (best - low) + 5)
    axes.set_xlabel("minibatches")
    axes.set_ylabel("ELBO, nats an image")
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    if train or valid:
        axes.legend(frameon=False)
    with atomic_path(path) as partial:
        figure.savefig(partial, format="png", dpi=150)


def _tile_image(image: Tensor, scale: int) -> Image.Image:
    """One [C, H, W] image in [0, 1] as an enlarged RGB picture."""
    bytes_ = (image.clamp(0, 1) * 255).round().to(torch.uint8).cpu()
    if len(bytes_) == 1:
        bytes_ = bytes_.expand(3, -1, -1)
    picture = Image.fromarray(np.ascontiguousarray(bytes_.permute(1, 2, 0).numpy()))
    size = (picture.width * scale, picture.height * scale)
    return picture.resize(size, Image.Resampling.NEAREST)


def _tile(tiles: list[Image.Image], columns: int) -> Image.Image:
    columns = min(columns, len(tiles))
    rows = -(-len(tiles) // columns)
    width, height = tiles[0].width + GAP, tiles[0].height + GAP
    sheet = Image.new("RGB", (columns * width - GAP, rows * height - GAP), PAPER)
    for index, tile in enumerate(tiles):
        sheet.paste(tile, (index % columns * width, index // columns * height))
    return sheet


def _palette(picture: Image.Image) -> Image.Image:
    """One palette for all frames of a film: the last frame's colours, and those of the windows.

    Greys alone when the last frame is grey but for the windows, as an even scale serves every
    frame best.
    """
    pixels = np.asarray(picture).reshape(-1, 3).astype(int)
    marked = (pixels[:, None] == np.array([RED, GREEN])).all(-1).any(-1)
    if (np.ptp(pixels, axis=1)[~marked] == 0).all():
        levels = [*range(0, 249, 4), 255]  # Pillow finds colours in steps of 4
        values = [level for level in levels for _ in range(3)]
    else:
        values = (picture.quantize(254).getpalette() or [])[: 3 * 254]
    palette = Image.new("P", (1, 1))
    palette.putpalette([*values, *RED, *GREEN])
    return palette
