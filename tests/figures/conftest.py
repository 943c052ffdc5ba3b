"""Helpers for pixels and windows, and a small recorded trace."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from draw.attention import Window
from draw.figures import Sheet
from draw.likelihoods import LIKELIHOODS
from draw.trace import Trace


def pixels(picture: Image.Image | Sheet) -> np.ndarray:
    picture = picture.image if isinstance(picture, Sheet) else picture
    return np.asarray(picture.convert("RGB")).astype(int)


def is_colour(picture: Image.Image | np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    return (np.asarray(picture) == colour).all(-1)


def window(g_x=4.5, g_y=4.5, delta=2.0, sigma=1.0, shape=()) -> Window:
    fields = (g_x, g_y, delta, sigma**2, 1.0)
    return Window(*(torch.full(shape, value, dtype=torch.float64) for value in fields))


@pytest.fixture
def trace() -> Trace:
    """Create a trace of three glimpses of two 8 x 8 images: black, then grey, then white."""
    logits = torch.tensor([-1000.0, 0.0, 1000.0]).view(3, 1, 1, 1, 1)
    canvases = logits.expand(3, 2, 1, 8, 8)
    return Trace(
        canvas=canvases[-1],
        canvases=canvases,
        z=torch.zeros(3, 2, 5),
        likelihood=LIKELIHOODS["bernoulli"],
        read_window=window(g_x=2.5, g_y=2.5, delta=1.0, sigma=0.25, shape=(3, 2)),
        write_window=window(g_x=6.5, g_y=6.5, delta=1.0, sigma=0.25, shape=(3, 2)),
        read_size=2,
        write_size=2,
    )


@pytest.fixture
def unrecorded(trace) -> Trace:
    return replace(trace, canvases=None, read_window=None, write_window=None)
