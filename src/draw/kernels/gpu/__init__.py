"""The engine for NVIDIA GPUs, in Triton; each kernel is compiled when it is first used."""

import functools
import importlib
import logging
from typing import Any

import torch
from torch import Tensor

from draw.kernels.layout import Recorded, Results, Shape, Weights

LARGEST_PATCH = 64  # N; the tiles of larger ones would not fit into the registers by far
OLDEST = (8, 0)  # compute capability, from which on there is TF32

log = logging.getLogger("draw")


@functools.cache
def available() -> bool:
    """Whether Triton is installed; says in the log if it is not."""
    try:
        importlib.import_module("triton")
    except ImportError as error:
        log.warning("the fused engine is not available, the plain one runs instead: %s", error)
        return False
    return True


def hindrance(shape: Shape, device: torch.device) -> str | None:
    """Why the engine cannot run this; None if it can."""
    if not available():
        return "it is not available here"
    if max(shape.n_read, shape.n_write) > LARGEST_PATCH:
        return f"on a GPU its patches are at most {LARGEST_PATCH} x {LARGEST_PATCH}"
    layout = importlib.import_module("draw.kernels.gpu.layout").Layout.of(shape)
    if max(shape.B, 4 * shape.hidden) * max(layout.row, layout.out, 4 * shape.hidden) >= 2**31:
        return "its batch is too large to be numbered in 32 bits"
    if device.type == "cuda" and torch.version.cuda is None:
        return "it is written for NVIDIA's GPUs"
    if device.type == "cuda" and torch.cuda.get_device_capability(device) < OLDEST:
        return "it takes GPUs of compute capability 8.0 or later"
    return None


def run(
    shape: Shape, weights: Weights, x: Tensor | None, noise: Tensor, *, record: bool
) -> tuple[Results, Recorded | None]:
    """See `recurrence.run`; imported late, because it imports Triton."""
    done: tuple[Results, Recorded | None] = _recurrence().run(
        shape, weights, x, noise, record=record
    )
    return done


def run_with_gradients(shape: Shape, weights: Weights, x: Tensor, eps: Tensor) -> Results:
    """See `recurrence.run_with_gradients`."""
    results: Results = _recurrence().run_with_gradients(shape, weights, x, eps)
    return results


def _recurrence() -> Any:
    return importlib.import_module("draw.kernels.gpu.recurrence")
