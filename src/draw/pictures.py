"""Runs a model for its pictures and puts them into a folder."""

import math
from pathlib import Path

import torch
from torch import Generator, Tensor

from draw import figures
from draw.model import DRAW, Trace


@torch.no_grad()
def sample(
    model: DRAW, out: Path, *, count: int = 64, seed: int = 0, training: Tensor | None = None
) -> list[Path]:
    """`samples.png`, beside the nearest of the `training` images, and `drawing.gif`.

    Args:
        training: images [n, C, H, W], uint8, among which to look; none are shown without.

    Returns:
        The files written.
    """
    noise = Generator(model.device).manual_seed(seed)
    trace = model.generate(count, generator=noise, record=True)
    samples, columns, scale = trace.mean[-1].cpu(), _columns(count), _scale(model)
    parts = {"samples": figures.grid(samples, columns, scale)}
    if training is not None:
        neighbours = figures.nearest(samples, training)
        parts["nearest training images"] = figures.grid(neighbours, columns, scale)
    figures.save_picture(out / "samples.png", figures.panels(parts))
    _save_drawing(out / "drawing.gif", model, trace, scale)
    return [out / "samples.png", out / "drawing.gif"]


@torch.no_grad()
def sample_grid(model: DRAW, path: Path, *, count: int = 64, seed: int = 0) -> None:
    """The samples alone, as a training shows them on its way."""
    noise = Generator(model.device).manual_seed(seed)
    means = model.generate(count, generator=noise).mean[-1]
    figures.save_picture(path, figures.grid(means, _columns(count), _scale(model)))


@torch.no_grad()
def reconstruct(model: DRAW, out: Path, images: Tensor, *, seed: int = 0) -> list[Path]:
    """`reconstructions.png`, beside the images, and `reconstructing.gif` with both windows.

    Args:
        images: [n, C, H, W] in [0, 1].

    Returns:
        The files written.
    """
    device = model.device
    noise = Generator(device).manual_seed(seed)
    trace = model(images.to(device), generator=noise, record=True)
    columns, scale = _columns(len(images)), _scale(model)
    parts = {
        "images": figures.grid(images, columns, scale),
        "reconstructions": figures.grid(trace.mean[-1], columns, scale),
    }
    figures.save_picture(out / "reconstructions.png", figures.panels(parts))
    _save_drawing(out / "reconstructing.gif", model, trace, scale)
    return [out / "reconstructions.png", out / "reconstructing.gif"]


def _save_drawing(path: Path, model: DRAW, trace: Trace, scale: int) -> None:
    """All steps with their windows, and the finished pictures without."""
    columns = _columns(trace.z.shape[1])
    film = figures.frames(
        trace,
        columns,
        scale=scale,
        read_size=model.config.read_size,
        write_size=model.config.write_size,
    )
    figures.save_film(path, [*film, figures.grid(trace.mean[-1], columns, scale)])


def _columns(count: int) -> int:
    """A grid about as wide as high, and of eight columns from 32 to 64 pictures."""
    return 8 if 32 <= count <= 64 else math.ceil(math.sqrt(count))


def _scale(model: DRAW) -> int:
    """Enlarges small images to tiles of about 84 pixels."""
    return max(1, 84 // max(model.config.height, model.config.width))
