"""The glimpse classifier in Triton; see `draw.kernels.classifier`.

A glimpse is three kernels forward and three backward, without synchronisation. The LSTM is the
encoder of `draw.kernels.gpu.products`, with X_t = [r_t | h_{t-1}].
"""

from collections.abc import Sequence
from typing import no_type_check

import torch
import triton
import triton.language as tl
from torch import Tensor

from draw.kernels.classifier import Shape, Weights
from draw.kernels.gpu import products
from draw.kernels.gpu.canvas import glimpse_backward, read_glimpse
from draw.kernels.gpu.layout import (
    BLOCK_GATES,
    CANVAS_OPTIONS,
    PRODUCT_OPTIONS,
    ClassifierLayout,
    grid,
)


def run_forward(
    shape: Shape, weights: Weights, x: Tensor, *, keep: bool
) -> tuple[Tensor, Tensor, list[Tensor]]:
    """Run T glimpses; return h_t [T, B, hidden], the window parameters and the activations."""
    at, w, T, B = ClassifierLayout.of(shape), weights, shape.T, shape.B
    X, c = x.new_empty(T + 1, B, at.row), x.new_empty(T + 1, B, at.hidden)
    params, gates = x.new_empty(T, B, 5), x.new_empty(T if keep else 0, B, 4 * at.hidden)
    h = X[:, :, at.h : at.enc_inputs]
    h[0], c[0] = w.h_0, w.c_0
    with torch.cuda.device_of(x):  # type: ignore[no-untyped-call]
        for t in range(T):
            products.emit[grid(B, 5)](
                *(h[t], w.W_window, w.b_window, params[t], B, at), **PRODUCT_OPTIONS
            )  # eq. 21
            read[(B,)](x, params[t], X[t], at, **CANVAS_OPTIONS)  # eqs. 22-27
            products.lstm_forward[grid(B, 4 * at.hidden, BLOCK_GATES)](
                *(X[t], w.W, w.b, c[t], c[t + 1], h[t + 1], gates[t] if keep else None),
                *(B, at, True),
                **PRODUCT_OPTIONS,
            )
    return h[1:], params, [x, X, c, gates]


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
    at, w, T, B = ClassifierLayout.of(shape), weights, shape.T, shape.B
    x, X, c, gates = activations
    dX, d_out = torch.zeros_like(X), x.new_zeros(T + 1, B, 5)  # d_out[T]: no window reads h_T
    d_gates, d_c = torch.empty_like(gates), x.new_zeros(B, at.hidden)
    dh = dX[:, :, at.h : at.enc_inputs]
    if d_h is not None:
        dh[1:] = d_h.view(T, B, -1)
    for t in reversed(range(T)):
        products.lstm_backward[grid(B, at.hidden)](
            *(d_out[t + 1], w.W_window, dh[t + 1], c[t], c[t + 1], gates[t], d_c, d_gates[t]),
            *(B, at, 5),
            **PRODUCT_OPTIONS,
        )
        products.encoder_inputs_backward[grid(B, at.enc_inputs)](
            *(d_gates[t], w.W, dX[t], B, at, at.enc_inputs), **PRODUCT_OPTIONS
        )
        given = None if d_params is None else d_params[t]
        read_backward[(B,)](*(x, dX[t], params[t], given, max_norm, d_out[t], at), **CANVAS_OPTIONS)
    rows, d_gates, d_out = X[:-1].flatten(0, 1), d_gates.flatten(0, 1), d_out[:-1].flatten(0, 1)
    return [
        d_gates.t() @ rows[:, : at.enc_inputs],
        d_gates.sum(0),
        d_out.t() @ rows[:, at.h : at.enc_inputs],
        d_out.sum(0),
        dh[0].sum(0) + d_out[:B].sum(0) @ w.W_window,
        d_c.sum(0),
    ]


@triton.jit
@no_type_check
def read(image, out, r, layout: tl.constexpr):
    """Read the glimpse of one image (eqs. 22-27); r is in rows of X_t."""
    b = tl.program_id(0).to(tl.int64)
    x, o = image + b * layout.image, out + b * layout.out
    read_glimpse(x, None, o, r + b * layout.row, layout)


@triton.jit
@no_type_check
def read_backward(image, dr, out, given, max_norm, d_out, layout: tl.constexpr):
    """Compute the gradients of the window of one image, and limit their norm to max_norm [B].

    `given` [B, out] is added before the limit; both can be None. `dr` is in rows of dX_t.
    """
    b = tl.program_id(0).to(tl.int64)
    x, o, d_o = image + b * layout.image, out + b * layout.out, d_out + b * layout.out
    glimpse_backward(x, None, dr + b * layout.row, o, None, None, d_o, True, layout)
    tl.debug_barrier()
    k = tl.arange(0, 8)
    d = tl.load(d_o + k, mask=k < layout.out, other=0.0)
    if given is not None:
        d += tl.load(given + b * layout.out + k, mask=k < layout.out, other=0.0)
    if max_norm is not None:
        norm, limit = tl.sqrt(tl.sum(d * d)), tl.load(max_norm + b)
        if norm > limit:
            d *= limit / norm
    tl.debug_barrier()
    tl.store(d_o + k, d, mask=k < layout.out)
