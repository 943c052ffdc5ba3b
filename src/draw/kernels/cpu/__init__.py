"""The engine for CPUs, in C++; compiled on first use (see `draw.kernels.cpu.build`)."""

from typing import Any

import torch
from torch import Tensor

from draw.kernels.cpu import build, recurrence
from draw.kernels.layout import RecordedGlimpses, Results, Shape, Weights


def unavailable_reason() -> str | None:
    """Return why the engine cannot be built or loaded, or None."""
    return build.load().reason


def unsupported_reason(shape: Any, device: torch.device) -> str | None:
    """Return None: the CPU engine supports every size."""
    return None


def precision() -> str:
    """Return the precision of the factors of large products: "ieee" or "bf16"."""
    return "bf16" if build.uses_bfloat16() else "ieee"


def run(
    *, shape: Shape, weights: Weights, x: Tensor | None, noise: Tensor, record: bool
) -> tuple[Results, RecordedGlimpses | None]:
    """Run the recurrence without gradients, keeping intermediate values only if recorded."""
    recorded = None
    if record:
        params = noise.new_empty(2, shape.T, shape.B, 5)
        recorded = RecordedGlimpses(
            canvases=noise.new_empty(shape.T, shape.B, shape.K, shape.H, shape.W),
            read_params=params[0] if x is not None and shape.n_read else None,
            write_params=params[1] if shape.n_write else None,
        )
    results, _ = recurrence.run_forward(shape, weights, x=x, noise=noise, recorded=recorded)
    return results, recorded


def run_with_gradients(*, shape: Shape, weights: Weights, x: Tensor, eps: Tensor) -> Results:
    """Run the recurrence, differentiable with respect to the weights."""
    results = recurrence.Recurrence.apply(shape, x, eps, *weights)  # type: ignore[no-untyped-call]
    return Results(*results)
