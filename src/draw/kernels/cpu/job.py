"""Calls of the C++ functions: addresses, memory and the layout of weights, for both networks."""

import ctypes
import weakref
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from draw.kernels.cpu import build


def pointers(weights: Any) -> type[ctypes.Structure]:
    """Create the C structure that holds the addresses of the tensors of a NamedTuple."""
    fields = [(name, ctypes.c_void_p) for name in weights._fields]
    return type("Pointers", (ctypes.Structure,), {"_fields_": fields})


class Job(ctypes.Structure):
    """A `struct Job` of the C++ code; a subclass lists its fields."""

    def set_tensors(self, **tensors: Tensor | None) -> None:
        """Store the addresses of contiguous float32 tensors, which must outlive the job."""
        for name, tensor in tensors.items():
            setattr(self, name, _address(tensor))

    def set_weights(self, field: str, tensors: Sequence[Tensor | None]) -> None:
        """Store the addresses of the weights in one of the fields that hold structures."""
        structure: Any = dict(self._fields_)[field]  # type: ignore[arg-type]
        setattr(self, field, structure(*map(_address, tensors)))

    def set_panels(self, size_function: str) -> None:
        """Ask for products in bfloat16 if PyTorch's settings allow them on this processor.

        `torch.set_float32_matmul_precision("medium")` is the usual way to allow them.
        """
        if build.uses_bfloat16():
            words = self.call(size_function, ctypes.c_int64)
            self.panels_memory = torch.empty(words, dtype=torch.int32)
            self.panels = self.panels_memory.data_ptr()

    def set_gradients(self, weights: Sequence[Tensor]) -> list[Tensor]:
        """Allocate the gradients of the weights for each thread; return the first, their sum."""
        sizes = [-(-w.numel() // 16) * 16 for w in weights]
        per_thread = weights[0].new_empty(self.threads, sum(sizes))
        parts = torch.split(per_thread[0], sizes)
        gradients = [p[: w.numel()].view_as(w) for p, w in zip(parts, weights, strict=True)]
        self.set_weights("gradients", gradients)
        self.gradient_stride = sum(sizes)
        self.per_thread = per_thread  # keeps the memory
        return gradients

    def call(self, function: str, result: type | None = None) -> Any:
        """Call a function of the engine with this job.

        Raises:
            RuntimeError: if the engine is not available.
        """
        functions, reason = build.load()
        if functions is None:
            raise RuntimeError(f"the fused engine cannot run: {reason}")
        call = getattr(functions, function)
        call.restype = result
        return call(ctypes.byref(self))


def _address(tensor: Tensor | None) -> int | None:
    return None if tensor is None else tensor.data_ptr()


def transposed(weight: Tensor) -> Tensor:
    """Transpose a weight, with the gap after each row that `GAP` in runtime.h defines."""
    rows, columns = weight.shape
    return weight.new_empty(columns, rows + 16)[:, :rows].copy_(weight.t())


_spare: list[Tensor] = []  # at most one workspace that is no longer in use


def allocate(floats: int) -> Tensor:
    """Return uninitialised memory that is reused when the last reference to it is gone.

    Page faults of fresh memory would take a tenth of a training step.
    """
    try:
        memory = _spare.pop()
    except IndexError:
        memory = None
    with torch.inference_mode(False):  # a later call that needs gradients may reuse the memory
        if memory is None or memory.numel() != floats:
            memory = torch.empty(floats, dtype=torch.float32, device="cpu")
        view = memory.view(-1)
    weakref.finalize(view, _recycle, memory).atexit = False
    return view


def _recycle(memory: Tensor) -> None:
    _spare[:] = [memory]
