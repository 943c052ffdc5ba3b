"""The recurrence as one differentiable function: T glimpses forward and T backward, in C++.

Python arranges the weights and owns all memory; `DrawJob` holds the addresses.
"""

import ctypes
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from draw.kernels.cpu import build
from draw.kernels.cpu.job import Job, allocate, pointers, transposed
from draw.kernels.layout import RecordedGlimpses, Results, Shape, Weights

SIZES = "T B C K H W hidden Z n_read n_write clamped error_scale".split()  # attributes of a Shape
POINTERS = pointers(Weights)


class DrawJob(Job):
    """`struct Job` of layout.h, field by field."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in (*SIZES, "threads", "keep")),
        *((name, ctypes.c_void_p) for name in ("sgemm", "set_threads", "parallel")),
        *((name, POINTERS) for name in ("weights", "transposed")),
        ("panels", ctypes.c_void_p),
        *((name, ctypes.c_void_p) for name in ("x", "eps", "workspace", *Results._fields)),
        *((name, ctypes.c_void_p) for name in RecordedGlimpses._fields),
        *((f"d_{name}", ctypes.c_void_p) for name in Results._fields),
        ("gradients", POINTERS),
        ("gradient_stride", ctypes.c_int64),
    )

    def __init__(self, shape: Shape, *, threads: int, keep: bool) -> None:
        sizes = (getattr(shape, name) for name in SIZES)
        super().__init__(*sizes, min(threads, shape.B), keep, *build.torch_functions())


def run_forward(
    shape: Shape,
    weights: Weights,
    *,
    x: Tensor | None,
    noise: Tensor,
    recorded: RecordedGlimpses | None = None,
    keep: bool = False,
) -> tuple[Results, Tensor]:
    """Run the recurrence; return the results and the workspace.

    Args:
        x: the images; None to generate, in which case `noise` is z.
        recorded: tensors to record into.
        keep: whether the workspace keeps the activations for the gradients.
    """
    job = DrawJob(shape, threads=torch.get_num_threads(), keep=keep)
    job.set_weights("weights", weights)
    canvas = noise.new_empty(shape.B, shape.K, shape.H, shape.W)
    if x is None:
        results = Results(canvas, noise, None, None, None)
    else:
        z, mu, log_sigma = (torch.empty_like(noise) for _ in range(3))
        results = Results(canvas, z, mu, log_sigma, noise.new_empty(shape.T, shape.B))
    columns = [
        transposed(w) if w is not None and name.startswith("W") else None
        for name, w in weights._asdict().items()
    ]
    job.set_weights("transposed", columns)
    job.set_panels("panels_words")
    workspace = allocate(job.call("workspace_floats", ctypes.c_int64))
    job.set_tensors(x=x, eps=noise, workspace=workspace, **results._asdict())
    if recorded is not None:
        job.set_tensors(**recorded._asdict())
    job.call("run_forward")
    return results, workspace


class Recurrence(torch.autograd.Function):
    """The recurrence with gradients for all weights; each call has its own workspace."""

    @staticmethod
    def forward(ctx: Any, shape: Shape, x: Tensor, eps: Tensor, *weights: Tensor) -> Results:
        results, workspace = run_forward(shape, Weights(*weights), x=x, noise=eps, keep=True)
        ctx.shape, ctx.threads = shape, torch.get_num_threads()
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(workspace, results.mu, results.log_sigma, *weights)
        return results

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *d_results: Tensor | None) -> tuple[Tensor | None, ...]:
        workspace, mu, log_sigma, *weights = ctx.saved_tensors
        job = DrawJob(ctx.shape, threads=ctx.threads, keep=True)
        job.set_weights("weights", weights)
        job.set_panels("panels_words")
        job.set_tensors(workspace=workspace, mu=mu, log_sigma=log_sigma)
        d_results = tuple(None if d is None else d.contiguous() for d in d_results)
        for name, d in zip(Results._fields, d_results, strict=True):
            job.set_tensors(**{f"d_{name}": d})
        gradients = job.set_gradients(weights)
        job.call("run_backward")
        return None, None, None, *gradients
