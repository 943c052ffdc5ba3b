"""The engine for NVIDIA GPUs, in Triton; each kernel is compiled on first use."""

import functools
import importlib
from typing import Any

import torch

from draw.kernels.classifier import Shape as ClassifierShape
from draw.kernels.layout import RecordedGlimpses, Results, Shape

MAX_PATCH = 64  # larger tiles would not fit into the registers
MIN_CAPABILITY = (8, 0)  # the first with TF32


@functools.cache
def unavailable_reason() -> str | None:
    """Return why Triton cannot be imported, or None."""
    try:
        importlib.import_module("triton")
    except ImportError as error:
        return f"the fused engine is not available ({error})"
    return None


def unsupported_reason(shape: Shape | ClassifierShape, device: torch.device) -> str | None:
    """Return why the engine does not support this size or GPU, or None."""
    layouts = importlib.import_module("draw.kernels.gpu.layout")
    if isinstance(shape, Shape):
        layout, patch = layouts.Layout.of(shape), max(shape.n_read, shape.n_write)
    else:
        layout, patch = layouts.ClassifierLayout.of(shape), shape.n
    if patch > MAX_PATCH:
        return f"on a GPU the fused engine supports patches up to {MAX_PATCH} x {MAX_PATCH}"
    if max(shape.B, 4 * shape.hidden) * max(layout.row, layout.out, 4 * shape.hidden) >= 2**31:
        return "the batch is too large for the 32-bit indices of the fused engine"
    if device.type == "cuda" and torch.version.cuda is None:
        return "the fused engine only supports NVIDIA GPUs"
    if device.type == "cuda" and torch.cuda.get_device_capability(device) < MIN_CAPABILITY:
        return "the fused engine needs a GPU of compute capability 8.0 or later"
    return None


def precision() -> str:
    """Return the precision of the factors of products: "ieee" (float32) or "tf32"."""
    return "tf32" if torch.backends.cuda.matmul.fp32_precision == "tf32" else "ieee"


def run(**inputs: Any) -> tuple[Results, RecordedGlimpses | None]:
    """See `recurrence.run`, which is imported late because it imports Triton."""
    results: tuple[Results, RecordedGlimpses | None] = _recurrence().run(**inputs)
    return results


def run_with_gradients(**inputs: Any) -> Results:
    """See `recurrence.run_with_gradients`."""
    results: Results = _recurrence().run_with_gradients(**inputs)
    return results


def _recurrence() -> Any:
    return importlib.import_module("draw.kernels.gpu.recurrence")
