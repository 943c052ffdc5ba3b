"""Run a model and save the resulting images, films and trace files."""

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

import torch
from torch import Generator, Tensor

from draw import figures
from draw.classifier import GlimpseClassifier
from draw.commands.output import Output, Style
from draw.figures.tiles import Kind, checkered
from draw.inference import complete_rounds
from draw.model import DRAW, DRAWConfig
from draw.page import write_trace_file
from draw.trace import Trace

MAX_RECORDED_VALUES = 2**27  # recorded canvas values: 0.5 GB, twice that on the plain engine


def max_recorded(config: DRAWConfig, count: int) -> int:
    """Reduce `count`, but not below 1, so that the canvases of all glimpses fit in memory.

    >>> big = DRAWConfig(channels=3, height=512, width=512)
    >>> max_recorded(DRAWConfig(), 64), max_recorded(big, 64)
    (64, 2)
    """
    values = config.glimpses * math.prod(config.canvas_shape)
    return max(1, min(count, MAX_RECORDED_VALUES // values))


@torch.no_grad()
def sample(
    model: DRAW,
    output: Output,
    *,
    count: int = 64,
    seed: int = 0,
    training: Tensor | None = None,
    name: str = "",
) -> list[Path]:
    """Generate images, save samples.png and drawing.gif, and return all paths.

    Args:
        training: training images [n, C, H, W], uint8; shows the nearest ones beside the samples.
        name: the name of the model in the film's caption and the trace file.
    """
    trace = _generate(model, count, seed, record=True)
    pictures = {"samples": trace.mean.cpu()}
    if training is not None:
        title = f"nearest of {len(training):,} training images"
        pictures[title] = figures.nearest(pictures["samples"], training)
    labels = [f"seed {seed}, number {number}" for number in range(count)]
    names = "samples.png", "drawing.gif"
    return _save(output, model, trace, names, pictures, seed, name, labels)


@torch.no_grad()
def reconstruct(
    model: DRAW,
    output: Output,
    images: Tensor,
    *,
    seed: int = 0,
    name: str = "",
    labels: Sequence[str] = (),
) -> list[Path]:
    """Reconstruct images, save reconstructions.png and reconstructing.gif, and return all paths.

    Args:
        images: [n, C, H, W] in [0, 1].
        name: the name of the model in the film's caption and the trace file.
        labels: the names of the images in the trace file.
    """
    images = images.to(model.device)
    trace = model(images, generator=Generator(model.device).manual_seed(seed), record=True)
    pictures = {"images": images, "reconstructions": trace.mean}
    names = "reconstructions.png", "reconstructing.gif"
    return _save(output, model, trace, names, pictures, seed, name, labels, images=images)


@torch.no_grad()
def complete(
    model: DRAW,
    output: Output,
    images: Tensor,
    mask: Tensor,
    *,
    completions: int,
    rounds: int,
    seed: int = 0,
    name: str = "",
    labels: Sequence[str] = (),
    originals: bool = False,
) -> list[Path]:
    """Complete images, save completions.png and completing.gif, and return all paths.

    If there are several images, each has its own row. The film shows the last round.

    Args:
        images: [n, C, H, W] in [0, 1].
        mask: True where a pixel is known; it broadcasts to the images.
        completions, rounds: per image.
        name: the name of the model in the film's caption and the trace file.
        labels: the names of the images in the trace file.
        originals: whether to show the images as well.
    """
    images, mask = images.to(model.device), mask.to(model.device).expand(images.shape)
    x, known = (each.repeat_interleave(completions, 0) for each in (images, mask))
    noise = Generator(model.device).manual_seed(seed)
    all_rounds = complete_rounds(model, x, known, generator=noise, record=True)
    _, trace = deque(islice(all_rounds, rounds), maxlen=1).pop()  # keep only the last round
    if len(images) > 1 and output.columns is None:
        output = replace(output, columns=completions)
    pictures = {
        "known": torch.where(mask, images, checkered(images)),
        "completions": torch.where(known, x, trace.mean),
    }
    if originals:
        pictures["originals"] = images
    names = "completions.png", "completing.gif"
    every_label = [label for label in labels for _ in range(completions)]
    known_pixels = x.where(known, math.nan)
    return _save(output, model, trace, names, pictures, seed, name, every_label, known=known_pixels)


@torch.no_grad()
def sample_grid(model: DRAW, path: Path, *, count: int = 64, seed: int = 0) -> None:
    """Save a grid of samples, as training does after each validation."""
    columns, scale = Style().columns_for(count), Style().scale_for(model)
    samples = _generate(model, count, seed).mean
    figures.save_picture(path, figures.grid(samples, columns, scale))


@torch.no_grad()
def stages(model: DRAW, path: Path, *, count: int = 10, seed: int = 0) -> None:
    """Draw figure 1 or 7: samples after several of their glimpses."""
    trace = _generate(model, count, seed, record=True)
    figures.save_picture(path, figures.stages(trace, scale=Style().scale_for(model)))


@torch.no_grad()
def neighbours(model: DRAW, path: Path, training: Tensor, *, rows: int = 10, seed: int = 0) -> None:
    """Draw figure 6: rows of ten samples, and the training image nearest to the last of each row.

    The training images are uint8, [n, C, H, W].
    """
    samples = _generate(model, 10 * rows, seed).mean.cpu()
    nearest = figures.nearest(samples[9::10], training)
    scale = Style().scale_for(model)
    figures.save_picture(path, figures.beside_nearest(samples, nearest, scale=scale))


@torch.no_grad()
def glimpses(
    model: GlimpseClassifier,
    path: Path,
    images: Tensor,
    *,
    labels: Tensor | None = None,
    film: Path | None = None,
    style: Style | None = None,
    name: str = "",
) -> Tensor:
    """Draw figure 5: the glimpses of a classifier; return its probabilities [B, classes].

    Args:
        images: [B, C, H, W] in [0, 1].
        labels: the correct labels, if known; wrong predictions are then red.
        film: also save a film of the glimpses to this file.
        name: the name of the model in the film's caption.
    """
    style = style or Style()
    output = model(images.to(model.device))
    probabilities: Tensor = output.logits[-1].softmax(-1).cpu()
    predictions = probabilities.argmax(-1).tolist()
    truths = predictions if labels is None else labels[: len(images)].tolist()
    size, scale = model.config.read_size, style.scale_for(model)
    if film is not None:
        columns = style.columns_for(len(images))
        frames = figures.looking(
            images, output.read_window, read_size=size, columns=columns, scale=scale
        )
        style.save_film(film, frames, len(frames), ("read",), name)
    sheet = figures.glimpses(
        images, output.read_window, predictions, truths, read_size=size, scale=scale
    )
    figures.save_picture(path, sheet)
    return probabilities


def _generate(model: DRAW, count: int, seed: int, *, record: bool = False) -> Trace:
    noise = Generator(model.device).manual_seed(seed)
    return model.generate(count, generator=noise, record=record)


def _save(
    output: Output,
    model: DRAW,
    trace: Trace,
    names: tuple[str, str],
    pictures: dict[str, Tensor],
    seed: int,
    name: str,
    labels: Sequence[str],
    *,
    images: Tensor | None = None,
    known: Tensor | None = None,
) -> list[Path]:
    """Save pictures by title, a film and a trace file; return the paths.

    A set with fewer pictures than the film is arranged in one column.
    """
    count = trace.z.shape[1]
    columns = output.columns_for(count, grids=1 if images is None else 2)
    scale = output.scale_for(model)
    frames = figures.Film(  # raises before any file is written if it is too large
        trace=trace,
        columns=columns,
        scale=scale,
        windows=output.windows,
        images=images,
        known=known,
    )
    picture = output.picture or output.out / names[0]
    film = output.film or output.out / names[1]
    if output.trace is not None:
        write_trace_file(output.trace, trace, model, name=name, labels=list(labels), images=images)
    grids = {
        title: figures.grid(part, columns if len(part) == count else 1, scale)
        for title, part in pictures.items()
    }
    figures.save_picture(picture, figures.panels(grids))
    kinds: dict[Kind, bool] = {
        "read": trace.read_window is not None and images is not None,
        "write": trace.write_window is not None,
    }
    shown = tuple(kind for kind, is_drawn in kinds.items() if is_drawn and output.windows)
    source = f"{name}, seed {seed}" if name else f"seed {seed}"
    output.save_film(film, frames, len(trace.z), shown, source)
    return [path for path in (picture, film, output.trace) if path is not None]
