"""The glimpse classifier as one differentiable function: its engines read and run the LSTM."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from draw.attention import Window
from draw.kernels import loops


class Weights(NamedTuple):
    """The parameters in the layout of the engines; gradients have the same shapes and order."""

    W: Tensor  # [4 hidden, r + hidden]: columns of r, h
    b: Tensor  # [4 hidden]
    W_window: Tensor  # [5, hidden]
    b_window: Tensor
    h_0: Tensor  # [hidden]
    c_0: Tensor

    @classmethod
    def of(cls, model: Any) -> "Weights":
        """Arrange a model's parameters with differentiable operations, for autograd."""
        cell, window = model.cell, model.read_window
        W = torch.cat([cell.weight_ih, cell.weight_hh], 1)
        weights = (W, cell.bias_ih + cell.bias_hh, window.weight, window.bias, model.h_0, model.c_0)
        return cls._make(w.contiguous() for w in weights)


@dataclass(frozen=True)
class Shape:
    """The sizes of one call."""

    T: int
    B: int
    C: int
    H: int
    W: int
    hidden: int
    n: int  # patch size

    @classmethod
    def of(cls, config: Any, x: Tensor) -> "Shape":
        B, C, H, W = x.shape
        return cls(config.glimpses, B, C, H, W, config.hidden_size, config.read_size)


def classify(model: Any, x: Tensor, limit: Any = None) -> tuple[Tensor, Window]:
    """Read images and classify them as `GlimpseClassifier.forward` does.

    Args:
        limit: a `draw.classifier.GradientLimit` or None.

    Returns:
        The logits [T, B, classes] and the windows, with fields [T, B].
    """
    head, weights = (model.head.weight, model.head.bias), Weights.of(model)
    shape, x = Shape.of(model.config, x), x.contiguous()
    if torch.is_grad_enabled() and any(p.requires_grad for p in model.parameters()):
        logits, params = ClassifierRecurrence.apply(shape, limit, x, *head, *weights)  # type: ignore
    else:
        h, params, _ = loops.engine_for(x.device.type, ".classifier").run_forward(
            shape, weights, x, keep=False
        )
        logits = _logits(h, *head)
    return logits, Window.from_params(params, shape.H, shape.W, shape.n)


class ClassifierRecurrence(torch.autograd.Function):
    """The logits and window parameters of T glimpses, with gradients for all weights."""

    @staticmethod
    def forward(
        ctx: Any,
        shape: Shape,
        limit: Any,
        x: Tensor,
        W_head: Tensor,
        b_head: Tensor,
        *weights: Tensor,
    ) -> tuple[Tensor, Tensor]:
        engine = loops.engine_for(x.device.type, ".classifier")
        h, params, activations = engine.run_forward(shape, Weights(*weights), x, keep=True)
        ctx.shape, ctx.limit, ctx.threads = shape, limit, torch.get_num_threads()
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(h, params, W_head, *weights, *activations)
        return _logits(h, W_head, b_head), params

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, d_logits: Tensor | None, d_params: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        h, params, W_head, *rest = ctx.saved_tensors
        weights, activations = Weights(*rest[:6]), rest[6:]
        d_h = d_W_head = d_b_head = None
        max_norms = None if ctx.limit is None else ctx.limit.max_norms
        if d_logits is not None:
            rows = d_logits.flatten(0, 1)
            d_h, d_W_head, d_b_head = rows @ W_head, rows.t() @ h.flatten(0, 1), rows.sum(0)
        gradients = loops.engine_for(h.device.type, ".classifier").run_backward(
            ctx.shape,
            weights,
            params,
            activations,
            d_h=d_h,
            d_params=None if d_params is None else d_params.contiguous(),
            max_norm=None if max_norms is None else max_norms.contiguous(),
            threads=ctx.threads,
        )
        return None, None, None, d_W_head, d_b_head, *gradients


def _logits(h: Tensor, W_head: Tensor, b_head: Tensor) -> Tensor:
    return torch.addmm(b_head, h.flatten(0, 1), W_head.t()).view(*h.shape[:2], -1)
