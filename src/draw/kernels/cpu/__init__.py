"""The engine for the CPU, in C++; built at first use, see `draw.kernels.cpu.build`."""

import torch
from torch import Tensor

from draw.kernels.cpu import build, recurrence
from draw.kernels.layout import Recorded, Results, Shape, Weights


def available() -> bool:
    """Whether the engine could be built and loaded; says in the log why not."""
    return build.library() is not None


def hindrance(shape: Shape, device: torch.device) -> str | None:
    """Why the engine cannot run this; None if it can."""
    return None if available() else "it is not available here"


def run(
    shape: Shape, weights: Weights, x: Tensor | None, noise: Tensor, *, record: bool
) -> tuple[Results, Recorded | None]:
    """The recurrence without gradients: nothing is kept from step to step unless recorded."""
    recording = None
    if record:
        params = noise.new_empty(2, shape.T, shape.B, 5)
        recording = Recorded(
            canvases=noise.new_empty(shape.T, shape.B, shape.K, shape.H, shape.W),
            reads=params[0] if x is not None and shape.n_read else None,
            writes=params[1] if shape.n_write else None,
        )
    results, _ = recurrence.run(shape, weights, x, noise, recording=recording)
    return results, recording


def run_with_gradients(shape: Shape, weights: Weights, x: Tensor, eps: Tensor) -> Results:
    """The recurrence, differentiable with respect to the weights."""
    results = recurrence.Recurrence.apply(shape, x, eps, *weights)  # type: ignore[no-untyped-call]
    return Results(*results)
