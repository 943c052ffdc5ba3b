"""Runs a model for its pictures and puts them into a folder."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from torch import Generator, Tensor

from draw import figures
from draw.classifier import GlimpseClassifier
from draw.errors import check_limits
from draw.model import DRAW, DRAWConfig
from draw.page import write_trace_file
from draw.trace import Trace

FILM_MS = 4_000  # how long a film takes, but for its end
RECORDED = 2**27  # values of recorded canvases: half a gigabyte, twice that by the plain path


@dataclass(frozen=True, kw_only=True)
class Style:
    """How pictures and films look.

    Raises:
        ConfigError: a value is outside its range.
    """

    columns: int | None = None
    """Pictures a row; about a square unless given."""
    scale: int | None = None
    """Pixels on the screen for one of the picture; they make tiles of about 84 unless given."""
    frame_ms: int | None = None
    """How long the film shows each step, ms; all steps together take 4 s unless given."""
    hold_ms: int = 1_500
    """How long it shows the finished pictures, ms."""

    def __post_init__(self) -> None:
        check_limits(
            "",
            self,
            columns=(1, 1_024),
            scale=(1, 64),
            frame_ms=(10, 10_000),
            hold_ms=(10, 60_000),
        )

    def columns_for(self, count: int, grids: int = 1) -> int:
        """Columns of each of several grids side by side that are about as wide as high together.

        >>> Style().columns_for(64), Style().columns_for(32), Style().columns_for(32, grids=2)
        (8, 8, 4)
        """
        if self.columns is not None:
            return self.columns
        tiles = grids * count
        columns = 8 if 32 <= tiles <= 64 else math.ceil(math.sqrt(tiles))
        return math.ceil(columns / grids)

    def scale_for(self, model: DRAW | GlimpseClassifier) -> int:
        """Enlarges small images to tiles of about 84 pixels."""
        return self.scale or max(1, 84 // max(model.config.height, model.config.width))


@dataclass(frozen=True, kw_only=True)
class PaintingStyle(Style):
    """How paintings look, and whether one sees where the model reads and writes.

    Raises:
        ConfigError: a value is outside its range.
    """

    windows: bool = True
    """Show where the model reads (green) and writes (red)."""


def at_once(config: DRAWConfig, count: int) -> int:
    """How many of `count` paintings, step by step, leave room in the memory; one at least.

    >>> at_once(DRAWConfig(), 64), at_once(DRAWConfig(channels=3, height=512, width=512), 64)
    (64, 2)
    """
    values = config.glimpses * math.prod(config.canvas_shape)
    return max(1, min(count, RECORDED // values))


@torch.no_grad()
def sample(
    model: DRAW,
    out: Path,
    *,
    count: int = 64,
    seed: int = 0,
    training: Tensor | None = None,
    film: Path | None = None,
    style: PaintingStyle = PaintingStyle(),
    trace_file: Path | None = None,
    name: str = "",
) -> list[Path]:
    """`samples.png`, beside the nearest of the `training` images, and `drawing.gif`.

    Args:
        training: images [n, C, H, W], uint8, among which to look; none are shown without.
        film: where the film goes instead.
        trace_file: where to write what a web page reads, if anywhere.
        name: how that calls the model.

    Returns:
        The files written.
    """
    noise = Generator(model.device).manual_seed(seed)
    trace = model.generate(count, generator=noise, record=True)
    shown = _film(model, trace, style)  # first, as it may be too large
    samples = model.likelihood.mean(trace.canvas).cpu()
    columns, scale = style.columns_for(count), style.scale_for(model)
    parts = {"samples": figures.grid(samples, columns, scale)}
    if training is not None:
        neighbours = figures.nearest(samples, training)
        title = f"nearest of {len(training):,} training images"
        parts[title] = figures.grid(neighbours, columns, scale)
    labels = [f"seed {seed}, number {number}" for number in range(count)]
    picture, film = out / "samples.png", film or out / "drawing.gif"
    if trace_file is not None:
        write_trace_file(trace_file, trace, model, name=name, labels=labels)
    figures.save_picture(picture, figures.panels(parts))
    _save_film(film, shown, style, len(trace.z))
    return [path for path in (picture, film, trace_file) if path is not None]


@torch.no_grad()
def sample_grid(model: DRAW, path: Path, *, count: int = 64, seed: int = 0) -> None:
    """The samples alone, as a training shows them on its way."""
    noise, style = Generator(model.device).manual_seed(seed), PaintingStyle()
    means = model.generate(count, generator=noise).mean
    columns, scale = style.columns_for(count), style.scale_for(model)
    figures.save_picture(path, figures.grid(means, columns, scale))


@torch.no_grad()
def reconstruct(
    model: DRAW,
    out: Path,
    images: Tensor,
    *,
    seed: int = 0,
    film: Path | None = None,
    style: PaintingStyle = PaintingStyle(),
    trace_file: Path | None = None,
    name: str = "",
    labels: list[str] | None = None,
) -> list[Path]:
    """`reconstructions.png`, beside the images, and `reconstructing.gif` with both windows.

    Args:
        images: [n, C, H, W] in [0, 1].
        film, trace_file, name: as for `sample`.
        labels: how the images are called in the trace file; they are numbered unless given.

    Returns:
        The files written.
    """
    images = images.to(model.device)
    noise = Generator(model.device).manual_seed(seed)
    trace = model(images, generator=noise, record=True)
    shown = _film(model, trace, style, images)  # first, as it may be too large
    means = model.likelihood.mean(trace.canvas)
    columns, scale = style.columns_for(len(images), grids=2), style.scale_for(model)
    parts = {
        "images": figures.grid(images, columns, scale),
        "reconstructions": figures.grid(means, columns, scale),
    }
    labels = labels or [f"number {number}" for number in range(len(images))]
    picture, film = out / "reconstructions.png", film or out / "reconstructing.gif"
    if trace_file is not None:
        write_trace_file(trace_file, trace, model, name=name, labels=labels, images=images)
    figures.save_picture(picture, figures.panels(parts))
    _save_film(film, shown, style, len(trace.z))
    return [path for path in (picture, film, trace_file) if path is not None]


@torch.no_grad()
def stages(model: DRAW, path: Path, *, count: int = 10, seed: int = 0) -> None:
    """Figures 1 and 7: samples at several of their steps."""
    noise = Generator(model.device).manual_seed(seed)
    trace = model.generate(count, generator=noise, record=True)
    scale, size = Style().scale_for(model), model.config.write_size
    figures.save_picture(path, figures.stages(trace, scale=scale, write_size=size))


@torch.no_grad()
def neighbours(model: DRAW, path: Path, training: Tensor, *, rows: int = 10, seed: int = 0) -> None:
    """Figure 6: samples, and the training images nearest to the last of each row.

    Args:
        training: images [n, C, H, W], uint8, among which to look.
        rows: of ten samples each.
    """
    noise = Generator(model.device).manual_seed(seed)
    samples = model.generate(10 * rows, generator=noise).mean.cpu()
    found = figures.nearest(samples[9::10], training)
    scale = Style().scale_for(model)
    figures.save_picture(path, figures.beside_nearest(samples, found, scale=scale))


@torch.no_grad()
def glimpses(
    model: GlimpseClassifier,
    path: Path,
    images: Tensor,
    *,
    labels: Tensor | None = None,
    film: Path | None = None,
    style: Style = Style(),
) -> Tensor:
    """Figure 5: where a classifier looks on images, and what it says.

    Args:
        images: [B, C, H, W] in [0, 1].
        labels: what they show in turn, where it is known; a wrong answer is then red.
        film: where a film of it goes, if anywhere.

    Returns:
        Its probabilities [B, classes].
    """
    seen = model(images.to(model.device))
    probabilities: Tensor = seen.logits[-1].softmax(-1).cpu()
    answers = probabilities.argmax(-1).tolist()
    truths = answers if labels is None else labels[: len(images)].tolist()
    size, scale = model.config.read_size, style.scale_for(model)
    if film is not None:
        columns = style.columns_for(len(images))
        shown = figures.looking(
            images, seen.read_window, read_size=size, columns=columns, scale=scale
        )
        _save_film(film, shown, style, len(shown))
    sheet = figures.glimpses(images, seen.read_window, answers, truths, read_size=size, scale=scale)
    figures.save_picture(path, sheet)
    return probabilities


def _film(
    model: DRAW, trace: Trace, style: PaintingStyle, images: Tensor | None = None
) -> figures.Film:
    return figures.Film(
        trace=trace,
        columns=style.columns_for(trace.z.shape[1], grids=1 if images is None else 2),
        scale=style.scale_for(model),
        read_size=model.config.read_size if style.windows else None,
        write_size=model.config.write_size if style.windows else None,
        images=images,
    )


def _save_film(path: Path, film: Sequence[Image.Image], style: Style, steps: int) -> None:
    frame_ms = style.frame_ms or max(20, FILM_MS // steps)
    figures.save_film(path, film, frame_ms=frame_ms, hold_ms=style.hold_ms)
