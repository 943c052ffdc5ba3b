"""The figures of the paper.

`stages` draws figures 1, 7, 8 and 10; `patches` 3; `zoom` 4; `glimpses` 5; `beside_nearest` 6, 9
and 12; `curves` 11.
"""

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle
from torch import Tensor

from draw import attention
from draw.attention import Window
from draw.figures.sheet import COLUMN, FONT_SIZE, INK, POINTS, Layout, Sheet, Text, text_width
from draw.figures.tiles import (
    COLOURS,
    GAP,
    MARGIN,
    WRONG,
    arrange,
    enlarge,
    grid,
    panels,
    title_height,
    window_at,
    windowed,
)
from draw.storage.run_folder import METRICS, saved_validation
from draw.trace import Trace

STAGES = 12  # columns of figures 1 and 7
PATCH = 12  # patch size N in figures 3 and 4
SCALE = 8  # screen pixels per image pixel in figures 3 and 4


def stages(trace: Trace, *, scale: int = 3) -> Sheet:
    """Show each image after up to twelve of its glimpses, one row per image (figures 1 and 7).

    Args:
        trace: the recorded trace, whose write windows are drawn in orange.
        scale: screen pixels per image pixel.

    Raises:
        TraceError: if the trace was not recorded.
    """
    means = trace.means
    shown = sorted({round(float(t)) for t in np.linspace(0, len(means) - 1, STAGES)})
    windows, size = trace.write_window, trace.write_size
    columns = [windowed(means[t], scale, window_at(windows, t), size, "write") for t in shown]
    return _columns(columns, _glimpse_headings(shown))


def glimpses(
    images: Float[Tensor, "B C H W"],
    windows: Window,
    predictions: list[int],
    labels: list[int],
    *,
    read_size: int,
    scale: int = 1,
) -> Sheet:
    """Show the glimpses of a classifier and its prediction, one row per image (figure 5).

    A wrong prediction is red, with the correct label in brackets.

    Args:
        images: the classified images.
        windows: the read windows, fields [T, B], drawn in blue.
        predictions, labels: the predicted and the correct class of each image.
        read_size: the patch size N of the windows.
        scale: screen pixels per image pixel.

    >>> windows = Window(*torch.ones(5, 3, 2))
    >>> glimpses(torch.rand(2, 1, 20, 20), windows, [7, 4], [7, 9], read_size=5, scale=3).image.size
    (270, 166)
    """
    T = len(windows.g_x)
    columns = [windowed(images, scale, window_at(windows, t), read_size, "read") for t in range(T)]
    blank = np.full_like(columns[0], 255)
    headings = [*_glimpse_headings(list(range(T))), ("prediction", "class")]
    _, height, width, _ = blank.shape
    x = T * (width + GAP) + width / 2
    texts = []
    for row, (predicted, label) in enumerate(zip(predictions, labels, strict=True)):
        y = row * (height + GAP) + height / 2
        is_correct = predicted == label
        text = f"{predicted}" if is_correct else f"{predicted} ({label})"
        colour = INK if is_correct else WRONG
        texts.append(Text(x, y, text, 2 * FONT_SIZE, colour, is_centred=True))
    return _columns([*columns, blank], headings, texts)


def _columns(
    columns: list[np.ndarray], headings: list[tuple[str, ...]], labels: Sequence[Text] = ()
) -> Sheet:
    """Arrange columns of tiles [B, h, w, 3] below their headings.

    Each heading is the longest of several that fits. Labels have positions relative to the tiles.
    """
    rows = np.stack(columns, axis=1)  # [B, columns, h, w, 3]
    body = arrange(rows.reshape(-1, *rows.shape[2:]), len(columns))
    step = rows.shape[3] + GAP

    def layout(size: float) -> Layout:
        top = MARGIN + title_height(size)
        texts = [
            Text(MARGIN + column * step, MARGIN - 2, _fitting(choices, size, step), size)
            for column, choices in enumerate(headings)
        ]
        for label in labels:
            x, y = MARGIN + label.x, top + label.y
            texts.append(label._replace(x=x, y=y, size=max(size, label.size)))
        width, height = body.width + 2 * MARGIN, body.height + top + MARGIN
        return Layout(width, height, [(MARGIN, top, body)], texts)

    return Sheet(layout)


def _fitting(choices: tuple[str, ...], size: float, width: int) -> str:
    """Return the first of several texts that fits with some space, otherwise the last one."""
    fitting = (text for text in choices if 1.3 * text_width(text, size) <= width)
    return next(fitting, choices[-1])


def _glimpse_headings(glimpses: list[int]) -> list[tuple[str, ...]]:
    """Return the headings of columns that show these glimpses, counted from 0."""
    first, *others = (str(t + 1) for t in glimpses)
    return [(f"glimpse {first}", f"t = {first}", first), *((t,) for t in others)]


def beside_nearest(
    samples: Float[Tensor, "n C H W"],
    neighbours: Float[Tensor, "rows C H W"],
    *,
    scale: int = 3,
) -> Sheet:
    """Show rows of samples, and the training image nearest to the last of each row (figure 6).

    >>> beside_nearest(torch.rand(6, 1, 8, 8), torch.rand(2, 1, 8, 8)).image.size
    (156, 94)
    """
    columns = len(samples) // len(neighbours)
    return panels({"samples": grid(samples, columns, scale), "nearest": grid(neighbours, 1, scale)})


def patches(image: Float[Tensor, "C H W"]) -> Figure:
    """Show how stride and variance determine the patch that is read (figure 3).

    The left half shows the grid of filters on an image, with its centre and stride. The right half
    shows three windows of 12 x 12 filters, with borders sigma wide, and the patches that they read.
    """
    _, H, W = image.shape
    size = max(H, W)
    centre = (W + 1) / 2, (H + 1) / 2
    figure = Figure(figsize=(COLUMN, 0.62 * COLUMN), layout="constrained")
    [[left, right]] = figure.subfigures(1, 2, squeeze=False, width_ratios=(4.6, 3.4))
    _filters(left.subplots(), image)
    rows = (
        ("small $\\delta$\nlarge $\\sigma$", 0.035 * size, 0.04 * size),
        ("large $\\delta$\nsmall $\\sigma$", size / PATCH, 0.015 * size),
        ("large $\\delta$\nlarge $\\sigma$", size / PATCH, 0.08 * size),
    )
    for axes, (title, delta, sigma) in zip(right.subplots(3, 2), rows, strict=True):
        window = _window(*centre, delta, sigma)
        _show(axes[0], image, window)
        axes[0].set_ylabel(title, fontsize=POINTS)
        _show(axes[1], attention.read(image[None], window, PATCH)[0])
    return figure


def zoom(image: Float[Tensor, "C H W"]) -> Figure:
    """Read a patch from an image and write it back (figure 4).

    The window is half as high as the image and in its upper middle, where the face of a portrait
    is. The top row shows the image, the patch and the patch written back; the bottom row shows the
    first and the last of the 144 filters.
    """
    _, H, W = image.shape
    delta = H / 2 / PATCH
    window = _window((W + 1) / 2, H / 3, delta, delta / 2)
    patch = attention.read(image[None], window, PATCH)
    ones = attention.write(torch.ones_like(patch), window, H, W)
    # choose gamma so that a patch of ones is written as ones
    written = attention.write(patch, window, H, W) / ones.max()
    F_x, F_y = (F[0] for F in attention.filterbanks(window, H, W, PATCH))
    first, last = (torch.outer(F_y[i], F_x[i])[None] for i in (0, -1))
    row = COLUMN * H / (2 * W + H)  # height of the top row in inches
    figure = Figure(figsize=(COLUMN, 2.6 * row + 0.4), layout="constrained")
    [[top], [bottom]] = figure.subfigures(2, 1, squeeze=False)
    parts = {
        f"image, {W} x {H}": (image, window),
        f"patch, {PATCH} x {PATCH}": (patch[0], None),
        "written back": (written[0], None),
    }
    axes_row = top.subplots(1, 3, width_ratios=(W, H, W))
    for axes, (title, (picture, border)) in zip(axes_row, parts.items(), strict=True):
        _show(axes, picture, border)
        axes.set_title(title, fontsize=POINTS)
    titles = ("first filter (top left)", "last filter (bottom right)")
    for axes, title, F in zip(bottom.subplots(1, 2), titles, (first, last), strict=True):
        _show(axes, 0.3 * image + 0.7 * F / F.max())
        axes.set_title(title, fontsize=POINTS)
    return figure


def curves(records: list[dict[str, Any]], metric: str = "elbo", *, held_out: bool = True) -> Figure:
    """Plot the learning curve of a run (figure 11).

    Args:
        records: the lines of metrics.jsonl.
        metric: "elbo" or "log_likelihood".
        held_out: whether the run did not train on the validation images.

    The title is the result of the saved model: the best one, or the last one if the run trained on
    the validation images.
    """
    figure = Figure(figsize=(COLUMN, 0.62 * COLUMN), layout="constrained")
    axes = figure.add_subplot()
    train, valid = (
        [(r["step"], r[key]) for r in records if r.get(key) is not None]
        for key in (f"train_{metric}_nats", f"valid_{metric}_nats")
    )
    valid = [point for point in valid if math.isfinite(point[1])]
    if train:
        steps, nats = zip(*train, strict=True)
        axes.plot(steps, nats, color="#b0b0b0", linewidth=0.6, label="training")
    if valid:
        steps, nats = zip(*valid, strict=True)
        label = "validation" if held_out else "EMA on training images"
        axes.plot(steps, nats, color="#c0392b", marker="o", ms=2, linewidth=0.8, label=label)
        record = saved_validation(records, metric, held_out=held_out) or {}
        best, stderr = record[f"valid_{metric}_nats"], record.get(f"valid_{metric}_stderr")
        value = f"{best:.2f}" if stderr is None else f"{best:.2f} ± {stderr:.2f}"
        result = f"{METRICS[metric]} {value} nats"
        if "valid_error" in record:
            result = f"error {record['valid_error']:.2%}"
        what = "best validation" if held_out else "last training"
        images = f" ({record['valid_images']:,} images)" if "valid_images" in record else ""
        figure.suptitle(f"{what} {result}{images}", fontsize=POINTS)  # wider than the axes
        low, high = min(nats), max(nats)
        margin = 0.1 * (high - low) + min(5, abs(high) / 10)
        axes.set_ylim(low - margin, high + margin)
    axes.set_xlabel("step", fontsize=POINTS)
    axes.set_ylabel(f"{METRICS[metric]}, nats per image", fontsize=POINTS)
    axes.tick_params(labelsize=POINTS)
    axes.locator_params(axis="x", nbins=5)  # so that the labels do not overlap
    axes.grid(alpha=0.3, linewidth=0.5)
    axes.spines[["top", "right"]].set_visible(False)
    if train or valid:
        axes.legend(frameon=False, fontsize=POINTS)
    return figure


def _window(g_x: float, g_y: float, delta: float, sigma: float) -> Window:
    return Window(*(torch.tensor([value]) for value in (g_x, g_y, delta, sigma**2, 1.0)))


def _show(axes: Axes, image: Tensor, window: Window | None = None) -> None:
    """Show an image with sharp pixels, and the border of a read window."""
    axes.imshow(windowed(image[None], SCALE, window, PATCH, "read")[0], interpolation="nearest")
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)


def _filters(axes: Axes, image: Tensor) -> None:
    """Show the positions of 3 x 3 filters on an image, and label their centre and stride."""
    colour = np.divide(COLOURS["read"], 255)
    _, H, W = image.shape
    g_x, g_y, delta = (W + 1) / 2, (H + 1) / 2, 0.24 * max(H, W)
    pale = enlarge(image[None], 1)[0] // 2
    axes.imshow(pale, extent=(0.5, W + 0.5, H + 0.5, 0.5), interpolation="nearest")
    offsets = [-delta, 0, delta]  # eq. 19 with N = 3
    for dx, dy in itertools.product(offsets, offsets):
        axes.add_patch(Circle((g_x + dx, g_y + dy), delta / 3, fill=False, color=colour, lw=0.8))
        axes.plot(g_x + dx, g_y + dy, ".", color=colour, ms=3)
    axes.plot([g_x, g_x, 0.5], [H + 0.5, g_y, g_y], ":", color=colour, lw=1)
    axes.set_xticks([1, g_x, W], ["1", r"$g_X$", "A"], fontsize=POINTS)
    axes.set_yticks([1, g_y, H], ["1", r"$g_Y$", "B"], fontsize=POINTS)
    y = g_y - delta
    arrow = {"arrowstyle": "<->", "color": "white", "lw": 0.8, "mutation_scale": 6}
    axes.annotate("", (g_x - delta, y), (g_x, y), arrowprops=arrow)
    label = g_x - delta / 2, y - 0.01 * H
    axes.text(*label, r"$\delta$", color="white", ha="center", va="bottom", fontsize=POINTS)
