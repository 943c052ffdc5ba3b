"""The glimpse classifier in C++; see `draw.kernels.classifier`."""

import ctypes
from collections.abc import Sequence
from dataclasses import astuple

import torch
from torch import Tensor

from draw.kernels.classifier import Shape, Weights
from draw.kernels.cpu import build
from draw.kernels.cpu.job import Job, allocate, pointers, transposed

POINTERS = pointers(Weights)


class ClassifierJob(Job):
    """`struct Job` of classifier.h, field by field."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in (*Shape.__annotations__, "threads", "keep")),
        *((name, ctypes.c_void_p) for name in ("sgemm", "set_threads", "parallel")),
        *((name, POINTERS) for name in ("weights", "transposed")),
        ("panels", ctypes.c_void_p),
        *((name, ctypes.c_void_p) for name in ("x", "workspace", "h", "params")),
        *((name, ctypes.c_void_p) for name in ("d_h", "d_params", "max_norm")),
        ("gradients", POINTERS),
        ("gradient_stride", ctypes.c_int64),
    )

    def __init__(self, shape: Shape, *, threads: int, keep: bool) -> None:
        sizes = *astuple(shape), min(threads, shape.B), keep
        super().__init__(*sizes, *build.torch_functions())


def run_forward(
    shape: Shape, weights: Weights, x: Tensor, *, keep: bool
) -> tuple[Tensor, Tensor, list[Tensor]]:
    """Run T glimpses; return h_t [T, B, hidden], the window parameters and the workspace."""
    job = ClassifierJob(shape, threads=torch.get_num_threads(), keep=keep)
    job.set_weights("weights", weights)
    W = transposed(weights.W)
    job.set_weights("transposed", [W, *[None] * 5])
    job.set_panels("classifier_panels_words")
    h, params = x.new_empty(shape.T, shape.B, shape.hidden), x.new_empty(shape.T, shape.B, 5)
    workspace = allocate(job.call("classifier_workspace_floats", ctypes.c_int64))
    job.set_tensors(x=x, workspace=workspace, h=h, params=params)
    job.call("run_classifier_forward")
    return h, params, [workspace]


def run_backward(
    shape: Shape,
    weights: Weights,
    params: Tensor,
    activations: Sequence[Tensor],
    *,
    d_h: Tensor | None,
    d_params: Tensor | None,
    max_norm: Tensor | None,
    threads: int,
) -> list[Tensor]:
    """Run T glimpses backward; return the gradients of the weights."""
    (workspace,) = activations
    job = ClassifierJob(shape, threads=threads, keep=True)
    job.set_weights("weights", weights)
    job.set_panels("classifier_panels_words")
    job.set_tensors(workspace=workspace, params=params)
    job.set_tensors(d_h=d_h, d_params=d_params, max_norm=max_norm)
    gradients = job.set_gradients(weights)
    job.call("run_classifier_backward")
    return gradients
