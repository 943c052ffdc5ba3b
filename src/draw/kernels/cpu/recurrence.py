"""The whole recurrence as one differentiable function, T steps forward and T back in C++.

Python lays out the weights and owns all memory; `Job` tells the engine where everything is.
"""

import ctypes
import weakref
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from draw.kernels.cpu import build
from draw.kernels.layout import Recorded, Results, Shape, Weights

_SIZES = "T B C K H W hidden Z n_read n_write clamped".split()  # what a Shape tells
_RESULTS = "canvas z mu log_sigma kl".split()


class _Pointers(ctypes.Structure):
    _fields_ = [(name, ctypes.c_void_p) for name in Weights._fields]


class Job(ctypes.Structure):
    """`struct Job` of layout.h, field by field."""

    _fields_ = [
        *((name, ctypes.c_int64) for name in (*_SIZES, "threads", "keep")),
        *((name, ctypes.c_void_p) for name in ("sgemm", "set_threads", "parallel")),
        *((name, _Pointers) for name in ("weights", "transposed")),
        *((name, ctypes.c_void_p) for name in ("x", "eps", "workspace", *_RESULTS)),
        *((name, ctypes.c_void_p) for name in ("canvases", "reads", "writes")),
        *((f"d_{name}", ctypes.c_void_p) for name in _RESULTS),
        ("gradients", _Pointers),
        ("gradient_stride", ctypes.c_int64),
    ]

    def __init__(self, shape: Shape, threads: int, *, keep: bool) -> None:
        sizes = (getattr(shape, name) for name in _SIZES)
        super().__init__(*sizes, threads, keep, *build.borrowed())

    def point(self, **tensors: Tensor | None) -> None:
        """Name the places of tensors, all contiguous float32, that outlive the job."""
        for name, tensor in tensors.items():
            setattr(self, name, _address(tensor))

    def point_weights(self, field: str, tensors: Sequence[Tensor | None]) -> None:
        setattr(self, field, _Pointers(*map(_address, tensors)))

    def call(self, function: str, result: type | None = None) -> Any:
        call = getattr(_library(), function)
        call.restype = result
        return call(ctypes.byref(self))


def _address(tensor: Tensor | None) -> int | None:
    return None if tensor is None else tensor.data_ptr()


def _library() -> ctypes.CDLL:
    library = build.library()
    if library is None:
        raise RuntimeError("the fused engine is not available")
    return library


def run(
    shape: Shape,
    weights: Weights,
    x: Tensor | None,
    noise: Tensor,
    *,
    recording: Recorded | None = None,
    keep: bool = False,
) -> tuple[Results, Tensor]:
    """The recurrence forward; also its workspace, from which `backward` can start if kept.

    Args:
        x: the images; None generates, and `noise` is z itself.
    """
    job = _job(shape, weights, keep=keep)
    canvas = noise.new_empty(shape.B, shape.K, shape.H, shape.W)
    if x is None:
        results = Results(canvas, noise, None, None, None)
    else:
        z, mu, log_sigma = (torch.empty_like(noise) for _ in range(3))
        results = Results(canvas, z, mu, log_sigma, noise.new_empty(shape.T, shape.B))
    transposed = [
        _transposed(w) if w is not None and name.startswith("W") else None
        for name, w in weights._asdict().items()
    ]
    job.point_weights("transposed", transposed)
    workspace = _memory(job.call("workspace_floats", ctypes.c_int64))
    job.point(x=x, eps=noise, workspace=workspace, **results._asdict())
    if recording is not None:
        job.point(**recording._asdict())
    job.call("run_forward")
    return results, workspace


def _transposed(weight: Tensor) -> Tensor:
    """With a gap after each row, the `GAP` of layout.h."""
    rows, columns = weight.shape
    return weight.new_empty(columns, rows + 16)[:, :rows].copy_(weight.t())


_spare: list[Tensor] = []  # the memory of the last run that is done with, if any


def _memory(floats: int) -> Tensor:
    """Uninitialised memory that comes back when nothing refers to it any more.

    To the system, fresh pages cost a tenth of a training step.
    """
    try:
        memory = _spare.pop()
    except IndexError:
        memory = None
    with torch.inference_mode(False):  # the next run may be one that needs gradients
        if memory is None or memory.numel() != floats:
            memory = torch.empty(floats, dtype=torch.float32, device="cpu")
        lent = memory.view(-1)
    weakref.finalize(lent, _give_back, memory).atexit = False
    return lent


def _give_back(memory: Tensor) -> None:
    _spare[:] = [memory]


def _job(shape: Shape, weights: Sequence[Tensor | None], *, keep: bool) -> Job:
    job = Job(shape, min(torch.get_num_threads(), shape.B), keep=keep)
    job.point_weights("weights", weights)
    return job


class Recurrence(torch.autograd.Function):
    """`run` with gradients for all weights; each call keeps its own workspace until then."""

    @staticmethod
    def forward(ctx: Any, shape: Shape, x: Tensor, eps: Tensor, *weights: Tensor) -> Results:
        results, workspace = run(shape, Weights(*weights), x, eps, keep=True)
        ctx.shape, ctx.threads = shape, torch.get_num_threads()
        ctx.set_materialize_grads(False)
        _, _, mu, log_sigma, _ = results
        ctx.save_for_backward(workspace, mu, log_sigma, *weights)
        return results

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *d_results: Tensor | None) -> tuple[Tensor | None, ...]:
        workspace, mu, log_sigma, *weights = ctx.saved_tensors
        job = _job(ctx.shape, weights, keep=True)
        job.threads = min(ctx.threads, ctx.shape.B)  # the workspace is laid out for as many
        d_kept = [None if d is None else d.contiguous() for d in d_results]
        job.point(**{f"d_{name}": d for name, d in zip(_RESULTS, d_kept, strict=True)})
        sizes = [-(-w.numel() // 16) * 16 for w in weights]
        shares = workspace.new_empty(job.threads, sum(sizes))
        gradients = [
            part[: w.numel()].view_as(w)
            for part, w in zip(shares[0].split(sizes), weights, strict=True)
        ]
        job.point_weights("gradients", gradients)
        job.gradient_stride = sum(sizes)
        job.point(workspace=workspace, mu=mu, log_sigma=log_sigma)
        job.call("run_backward")
        return None, None, None, *gradients
