"""The paper's figures: stages (1, 7, 8, 10), patches (3), zoom (4), glimpses (5), neighbours (6, 9,
12), curves (11).
"""

import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from draw import attention
from draw.attention import Window
from draw.errors import ConfigError
from draw.figures.grid import (
    FONT_SIZE,
    GAP,
    GREEN,
    INK,
    MARGIN,
    PAPER,
    RED,
    TITLE,
    arrange,
    enlarge,
    grid,
    means_by_step,
    outline,
    panels,
    windowed,
)
from draw.storage.files import atomic_path
from draw.trace import Trace

STAGES = 12  # columns of figures 1 and 7
PATCH = 12  # the patch size N of figures 3 and 4
NAMES = {"elbo": "ELBO", "log_likelihood": "log likelihood of the labels"}  # in figure 11
SCREEN = 8  # screen pixels a pixel in figures 3 and 4


def stages(trace: Trace, *, scale: int = 3, write_size: int | None = None) -> Image.Image:
    """A row for each picture: what it is after twelve of the steps (figures 1 and 7).

    Args:
        write_size: the patch size N of the write windows, drawn in red; None draws none.

    Raises:
        TraceError: the trace was not recorded.
    """
    means = means_by_step(trace)
    steps = sorted({round(float(t)) for t in np.linspace(0, len(means) - 1, STAGES)})
    columns = [windowed(means[t], scale, trace.write_window, t, write_size, RED) for t in steps]
    return _columns(columns, ["step 1", *(f"{t + 1}" for t in steps[1:])])


def glimpses(
    images: Float[Tensor, "B C H W"],
    windows: Window,
    answers: list[int],
    truths: list[int],
    *,
    read_size: int,
    scale: int = 1,
) -> Image.Image:
    """A row for each image: where a classifier looks in turn, in green, and its answer (figure 5).

    Args:
        windows: fields [T, B].
        truths: what it should have said; where it did not, that stands in brackets, all in red.
        read_size: the patch size N of the windows.

    >>> windows = Window(*torch.ones(5, 3, 2))
    >>> glimpses(torch.rand(2, 1, 20, 20), windows, [7, 4], [7, 9], read_size=5, scale=3).size
    (270, 166)
    """
    steps = range(len(windows.g_x))
    columns = [windowed(images, scale, windows, t, read_size, GREEN) for t in steps]
    paper = np.full_like(columns[0], 255)
    sheet = _columns([*columns, paper], ["look 1", *(f"{t + 1}" for t in steps[1:]), "answer"])
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=2 * FONT_SIZE)
    _, height, width, _ = paper.shape
    x = MARGIN + len(columns) * (width + GAP) + width / 2
    for row, (answer, truth) in enumerate(zip(answers, truths, strict=True)):
        y = MARGIN + TITLE + row * (height + GAP) + height / 2
        words, ink = (f"{answer}", INK) if answer == truth else (f"{answer} ({truth})", RED)
        pen.text((x, y), words, fill=ink, font=font, anchor="mm")
    return sheet


def _columns(columns: list[np.ndarray], headings: list[str]) -> Image.Image:
    """Columns of tiles [B, h, w, 3], each below its heading."""
    rows = np.stack(columns, axis=1)  # [B, columns, h, w, 3]
    body = arrange(rows.reshape(-1, *rows.shape[2:]), len(columns))
    sheet = Image.new("RGB", (body.width + 2 * MARGIN, body.height + TITLE + 2 * MARGIN), PAPER)
    sheet.paste(body, (MARGIN, MARGIN + TITLE))
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=FONT_SIZE)
    for column, heading in enumerate(headings):
        x = MARGIN + column * (rows.shape[3] + GAP)
        pen.text((x, MARGIN - 2), heading, fill=INK, font=font)
    return sheet


def beside_nearest(
    samples: Float[Tensor, "n C H W"],
    neighbours: Float[Tensor, "rows C H W"],
    *,
    scale: int = 3,
) -> Image.Image:
    """Samples in rows, and at the end of each row what is nearest to its last (figure 6).

    Args:
        neighbours: the training image nearest to the last sample of each row.

    >>> beside_nearest(torch.rand(6, 1, 8, 8), torch.rand(2, 1, 8, 8)).size
    (156, 94)
    """
    columns = len(samples) // len(neighbours)
    return panels({"samples": grid(samples, columns, scale), "nearest": grid(neighbours, 1, scale)})


def patches(image: Float[Tensor, "C H W"]) -> Figure:
    """How stride and variance choose what is read (figure 3).

    Left the grid of filters over an image, with its centre and stride; right three windows of
    12 x 12 filters, their borders sigma wide, and the patches that they read.
    """
    _, H, W = image.shape
    size = max(H, W)
    centre = (W + 1) / 2, (H + 1) / 2
    figure = Figure(figsize=(8.0, 4.8), layout="constrained")
    [[left, right]] = figure.subfigures(1, 2, squeeze=False, width_ratios=(4.6, 3.4))
    _filters(left.subplots(), image)
    rows = (
        (r"small $\delta$, large $\sigma$", 0.035 * size, 0.04 * size),
        (r"large $\delta$, small $\sigma$", size / PATCH, 0.015 * size),
        (r"large $\delta$, large $\sigma$", size / PATCH, 0.08 * size),
    )
    for axes, (title, delta, sigma) in zip(right.subplots(3, 2), rows, strict=True):
        window = _window(*centre, delta, sigma)
        _show(axes[0], image, window)
        axes[0].set_ylabel(title, fontsize=9)
        _show(axes[1], attention.read(image[None], window, PATCH)[0])
    return figure


def zoom(image: Float[Tensor, "C H W"]) -> Figure:
    """A patch read out of an image and painted back where it was (figure 4).

    The window is half as high as the image and lies in its upper middle, where portraits have
    the face. Above the image, the patch and the patch painted back; below the first and the last
    of its 144 filters.
    """
    _, H, W = image.shape
    delta = H / 2 / PATCH
    window = _window((W + 1) / 2, H / 3, delta, delta / 2)
    patch = attention.read(image[None], window, PATCH)
    ones = attention.write(torch.ones_like(patch), window, H, W)
    painted = attention.write(patch, window, H, W) / ones.max()  # gamma such that ones paint ones
    F_x, F_y = (F[0] for F in attention.filterbanks(window, H, W, PATCH))
    first, last = (torch.outer(F_y[i], F_x[i])[None] for i in (0, -1))
    row = 8.4 * H / (2 * W + H)  # inches that the three pictures above are high
    figure = Figure(figsize=(8.4, 2 * row + 0.8), layout="constrained")
    [[top], [bottom]] = figure.subfigures(2, 1, squeeze=False)
    parts = {
        f"image, {W} x {H}": (image, window),
        f"patch, {PATCH} x {PATCH}": (patch[0], None),
        "painted back": (painted[0], None),
    }
    above = top.subplots(1, 3, width_ratios=(W, H, W))
    for axes, (title, (picture, border)) in zip(above, parts.items(), strict=True):
        _show(axes, picture, border)
        axes.set_title(title, fontsize=9)
    titles = ("first filter: the patch's top left", "last filter: its bottom right")
    for axes, title, one in zip(bottom.subplots(1, 2), titles, (first, last), strict=True):
        _show(axes, 0.3 * image + 0.7 * one / one.max())
        axes.set_title(title, fontsize=9)
    return figure


def curves(records: list[dict[str, Any]], goal: str = "elbo") -> Figure:
    """The learning curve of a run from the records of its metrics.jsonl (figure 11).

    Args:
        goal: what was learned to be raised, by its name in the records.
    """
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot()
    train, valid = (
        [(r["step"], r[key], r) for r in records if r.get(key) is not None]
        for key in (f"train_{goal}_nats", f"valid_{goal}_nats")
    )
    valid = [point for point in valid if math.isfinite(point[1])]
    if train:
        steps, nats, _ = zip(*train, strict=True)
        axes.plot(steps, nats, color="#b0b0b0", linewidth=1, label="training")
    if valid:
        steps, nats, _ = zip(*valid, strict=True)
        axes.plot(steps, nats, color="#c0392b", marker="o", ms=3, label="validation")
        _, best, record = max(valid, key=lambda point: point[1])
        stderr = record.get(f"valid_{goal}_stderr")
        measured = f"{best:.2f}" if stderr is None else f"{best:.2f} +- {stderr:.2f}"
        images = f" ({record['valid_images']:,} images)" if "valid_images" in record else ""
        axes.set_title(f"best validation {NAMES[goal]} {measured} nats{images}", fontsize=10)
        low = min(nats)
        margin = 0.1 * (best - low) + min(5, abs(best) / 10)
        axes.set_ylim(low - margin, best + margin)
    axes.set_xlabel("minibatches")
    axes.set_ylabel(f"{NAMES[goal]}, nats an image")
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    if train or valid:
        axes.legend(frameon=False)
    return figure


def save_plot(path: Path, figure: Figure) -> None:
    """A plot as PNG or PDF, by the suffix.

    Raises:
        ConfigError: another suffix.
    """
    kind = path.suffix.lower().removeprefix(".")
    if kind not in ("png", "pdf"):
        raise ConfigError(f"{path} is no plot; its name must end in .png or .pdf")
    with atomic_path(path) as partial:
        figure.savefig(partial, format=kind, dpi=150)


def _window(g_x: float, g_y: float, delta: float, sigma: float) -> Window:
    return Window(*(torch.tensor([value]) for value in (g_x, g_y, delta, sigma**2, 1.0)))


def _show(axes: Axes, image: Tensor, window: Window | None = None) -> None:
    """An image in crisp pixels, with the border of a window in green."""
    tiles = enlarge(image[None], SCREEN)
    if window is not None:
        outline(tiles, window, PATCH, SCREEN, GREEN)
    axes.imshow(tiles[0], interpolation="nearest")
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)


def _filters(axes: Axes, image: Tensor, n: int = 3) -> None:
    """Where n x n filters stand on an image, with names for their centre and stride."""
    colour = np.divide(GREEN, 255)
    _, H, W = image.shape
    g_x, g_y, delta = (W + 1) / 2, (H + 1) / 2, 0.24 * max(H, W)
    pale = enlarge(image[None], 1)[0] // 2
    axes.imshow(pale, extent=(0.5, W + 0.5, H + 0.5, 0.5), interpolation="nearest")
    offsets = [delta * (i - n / 2 - 0.5) for i in range(1, n + 1)]  # eq. 19
    for dx, dy in itertools.product(offsets, offsets):
        axes.add_patch(Circle((g_x + dx, g_y + dy), delta / 3, fill=False, color=colour))
        axes.plot(g_x + dx, g_y + dy, ".", color=colour)
    axes.plot([g_x, g_x, 0.5], [H + 0.5, g_y, g_y], ":", color=colour)
    axes.set_xticks([1, g_x, W], ["1", r"$g_X$", "A"])
    axes.set_yticks([1, g_y, H], ["1", r"$g_Y$", "B"])
    y = g_y + offsets[0]
    first, second = (g_x + offsets[0], y), (g_x + offsets[1], y)
    axes.annotate("", first, second, arrowprops={"arrowstyle": "<->", "color": "white"})
    middle = g_x + (offsets[0] + offsets[1]) / 2
    axes.text(middle, y - 0.01 * H, r"$\delta$", color="white", ha="center", va="bottom")
