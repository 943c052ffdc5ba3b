"""The LSTMs, the posterior and the outputs of the decoder: matrix products and what follows them.

A program computes some of the B rows of the batch and some units. One row holds the inputs of both
LSTMs, X_t = [z_t | h_dec_{t-1} | r_t | h_enc_{t-1}], so that each LSTM is one product over a part
of it. Weights have PyTorch's layout, [outputs, inputs]. Sums and state are float32.

The gradients are fused differently: `lstm_backward` includes the linear layer that reads h, that
is `emit` for the decoder and `sample` for the encoder, and separate kernels compute the
gradients of an LSTM's inputs.
"""

from typing import no_type_check

import triton
import triton.language as tl

from draw.kernels.gpu.layout import BLOCK_COLUMNS, BLOCK_GATES, BLOCK_ROWS, BLOCK_TERMS
from draw.kernels.gpu.numbers import hyperbolic_tangent, sigmoid, to_tf32


@triton.jit
@no_type_check
def places(axis: tl.constexpr, SIZE, BLOCK: tl.constexpr):
    """Compute the rows or columns of this program and a mask of those that exist."""
    place = tl.program_id(axis) * BLOCK + tl.arange(0, BLOCK)
    return place, place < SIZE


@triton.jit
@no_type_check
def product(
    a, W, rows, has_row, columns, has_column, K: tl.constexpr, N: tl.constexpr, layout: tl.constexpr
):
    """Compute a W for a [B, K] and W [K, N]; if N is None, a W^T for rows a of X and W [., K]."""
    A_STRIDE: tl.constexpr = layout.row if N is None else K
    total = tl.zeros([rows.shape[0], columns.shape[0]], tl.float32)
    for first in range(0, K, BLOCK_TERMS):
        k = first + tl.arange(0, BLOCK_TERMS)
        a_place = a + rows[:, None] * A_STRIDE + k[None, :]
        a_tile = tl.load(a_place, mask=has_row[:, None] & (k < K)[None, :], other=0.0)
        if N is None:
            place = columns[None, :] * K + k[:, None]
        else:
            place = k[:, None] * N + columns[None, :]
        w_tile = tl.load(W + place, mask=(k < K)[:, None] & has_column[None, :], other=0.0)
        if layout.precision == "tf32":
            a_tile, w_tile = to_tf32(a_tile), to_tf32(w_tile)
        total = tl.dot(a_tile, w_tile, total, input_precision=layout.precision)
    return total


@triton.jit
@no_type_check
def lstm_forward(
    inputs, weight, bias, c_last, c, h, gates, B, layout: tl.constexpr, ENCODER: tl.constexpr
):
    """Compute an LSTM cell (eqs. 5, 7). The four gates of a unit are adjacent in the product.

    `inputs` and `h` are in rows of X_t and X_{t+1}, cells are [B, hidden], and the weight has its
    gates in the order i, f, g, o. `gates` [B, 4 hidden] receives them after activation, unless it
    is None. The bias of an encoder without read attention is [B, 4 hidden].
    """
    hidden: tl.constexpr = layout.hidden
    K: tl.constexpr = layout.enc_inputs if ENCODER else layout.dec_inputs
    UNITS: tl.constexpr = BLOCK_GATES // 4
    rows, has_row = places(1, B, BLOCK_ROWS)
    n = tl.arange(0, BLOCK_GATES)
    unit = tl.program_id(0) * UNITS + n // 4
    columns, has_column = (n % 4) * hidden + unit, unit < hidden
    total = product(inputs, weight, rows, has_row, columns, has_column, K, None, layout)
    if ENCODER and layout.n_read == 0:
        row_bias = bias + rows[:, None] * (4 * hidden) + columns[None, :]
        total += tl.load(row_bias, mask=has_row[:, None] & has_column[None, :], other=0.0)
    else:
        total += tl.load(bias + columns, mask=has_column, other=0.0)[None, :]
    even, odd = tl.split(tl.reshape(total, [BLOCK_ROWS, UNITS, 2, 2]))
    i, g = tl.split(even)  # [BLOCK_ROWS, UNITS]
    f, o = tl.split(odd)
    i, f, g, o = sigmoid(i), sigmoid(f), hyperbolic_tangent(g), sigmoid(o)

    units, has_unit = places(0, hidden, UNITS)
    inside = has_row[:, None] & has_unit[None, :]
    place = rows[:, None] * hidden + units[None, :]
    c_new = f * tl.load(c_last + place, mask=inside, other=0.0) + i * g
    tl.store(c + place, c_new, mask=inside)
    h_new = o * hyperbolic_tangent(c_new)
    tl.store(h + rows[:, None] * layout.row + units[None, :], h_new, mask=inside)
    if gates is not None:
        gate = gates + rows[:, None] * (4 * hidden) + units[None, :]
        tl.store(gate, i, mask=inside)
        tl.store(gate + hidden, f, mask=inside)
        tl.store(gate + 2 * hidden, g, mask=inside)
        tl.store(gate + 3 * hidden, o, mask=inside)


@triton.jit
@no_type_check
def lstm_backward(
    dy, weight, dh, c_last, c, gates, dc, d_gates, B, layout: tl.constexpr, K: tl.constexpr
):
    """Compute the gradients of the gates before activation, [B, 4 hidden].

    `dy` [B, K] is the gradient of a linear layer on h with the weight [K, hidden], `dh` the rest of
    the gradient of h, in rows of dX, and `dc` the gradient of c, overwritten by that of c_last.
    """
    hidden: tl.constexpr = layout.hidden
    rows, has_row = places(1, B, BLOCK_ROWS)
    units, has_unit = places(0, hidden, BLOCK_COLUMNS)
    inside = has_row[:, None] & has_unit[None, :]
    d = product(dy, weight, rows, has_row, units, has_unit, K, hidden, layout)
    d += tl.load(dh + rows[:, None] * layout.row + units[None, :], mask=inside, other=0.0)

    place = rows[:, None] * hidden + units[None, :]
    gate = rows[:, None] * (4 * hidden) + units[None, :]
    i = tl.load(gates + gate, mask=inside, other=0.0)
    f = tl.load(gates + gate + hidden, mask=inside, other=0.0)
    g = tl.load(gates + gate + 2 * hidden, mask=inside, other=0.0)
    o = tl.load(gates + gate + 3 * hidden, mask=inside, other=0.0)
    t = hyperbolic_tangent(tl.load(c + place, mask=inside, other=0.0))
    d_c = tl.load(dc + place, mask=inside, other=0.0) + d * o * (1 - t * t)
    d_f = d_c * tl.load(c_last + place, mask=inside, other=0.0) * f * (1 - f)
    tl.store(d_gates + gate, d_c * g * i * (1 - i), mask=inside)
    tl.store(d_gates + gate + hidden, d_f, mask=inside)
    tl.store(d_gates + gate + 2 * hidden, d_c * i * (1 - g * g), mask=inside)
    tl.store(d_gates + gate + 3 * hidden, d * t * o * (1 - o), mask=inside)
    tl.store(dc + place, d_c * f, mask=inside)


@triton.jit
@no_type_check
def sample(h, weight, bias, eps, mu, log_sigma, z, z_row, B, layout: tl.constexpr):
    """Compute the posterior and a sample (eqs. 1, 2, 6); a unit's mu and log sigma are adjacent.

    The weight is [2 Z, hidden], for mu and log sigma; z is stored as [B, Z] and in rows of X_t.
    """
    UNITS: tl.constexpr = BLOCK_COLUMNS // 2
    Z: tl.constexpr = layout.Z
    rows, has_row = places(1, B, BLOCK_ROWS)
    n = tl.arange(0, BLOCK_COLUMNS)
    latent = tl.program_id(0) * UNITS + n // 2
    columns = (n % 2) * Z + latent
    total = product(h, weight, rows, has_row, columns, latent < Z, layout.hidden, None, layout)
    total += tl.load(bias + columns, mask=latent < Z, other=0.0)[None, :]
    m, s = tl.split(tl.reshape(total, [BLOCK_ROWS, UNITS, 2]))

    latents, has_latent = places(0, Z, UNITS)
    inside = has_row[:, None] & has_latent[None, :]
    place = rows[:, None] * Z + latents[None, :]
    sampled = m + tl.exp(s) * tl.load(eps + place, mask=inside, other=0.0)
    tl.store(mu + place, m, mask=inside)
    tl.store(log_sigma + place, s, mask=inside)
    tl.store(z + place, sampled, mask=inside)
    tl.store(z_row + rows[:, None] * layout.row + latents[None, :], sampled, mask=inside)


@triton.jit
@no_type_check
def emit(h, weight, bias, out, B, layout: tl.constexpr):
    """Compute the patch and the windows from h_dec (eqs. 18, 21, 28)."""
    rows, has_row = places(1, B, BLOCK_ROWS)
    columns, has_column = places(0, layout.out, BLOCK_COLUMNS)
    total = product(h, weight, rows, has_row, columns, has_column, layout.hidden, None, layout)
    total += tl.load(bias + columns, mask=has_column, other=0.0)[None, :]
    inside = has_row[:, None] & has_column[None, :]
    tl.store(out + rows[:, None] * layout.out + columns[None, :], total, mask=inside)


@triton.jit
@no_type_check
def encoder_inputs_backward(
    d_gates, weight, dX, B, layout: tl.constexpr, ACCUMULATED: tl.constexpr
):
    """Compute the gradients of the encoder's inputs, columns of dX.

    The first `ACCUMULATED` columns already hold a part of their gradient.
    """
    K: tl.constexpr = 4 * layout.hidden
    N: tl.constexpr = layout.enc_inputs
    rows, has_row = places(1, B, BLOCK_ROWS)
    columns, has_column = places(0, N, BLOCK_COLUMNS)
    d = product(d_gates, weight, rows, has_row, columns, has_column, K, N, layout)
    place = dX + rows[:, None] * layout.row + columns[None, :]
    inside = has_row[:, None] & has_column[None, :]
    d += tl.load(place, mask=inside & (columns < ACCUMULATED)[None, :], other=0.0)
    tl.store(place, d, mask=inside)


@triton.jit
@no_type_check
def decoder_inputs_backward(d_gates, weight, mu, z, d_post, dh, B, layout: tl.constexpr):
    """Compute the gradient of h_dec_{t-1}, and add to the posterior's by z_t = mu + sigma eps.

    `d_post` [B, 2 Z] is the gradient of mu and log sigma; `dh` is in rows of dX.
    """
    Z: tl.constexpr = layout.Z
    K: tl.constexpr = 4 * layout.hidden
    N: tl.constexpr = layout.dec_inputs
    rows, has_row = places(1, B, BLOCK_ROWS)
    columns, has_column = places(0, N, BLOCK_COLUMNS)
    d = product(d_gates, weight, rows, has_row, columns, has_column, K, N, layout)
    is_h = has_row[:, None] & (has_column & (columns >= Z))[None, :]
    tl.store(dh + rows[:, None] * layout.row + columns[None, :] - Z, d, mask=is_h)
    is_z = has_row[:, None] & (columns < Z)[None, :]
    place = rows[:, None] * Z + columns[None, :]
    noise = tl.load(z + place, mask=is_z, other=0.0) - tl.load(mu + place, mask=is_z, other=0.0)
    post = d_post + rows[:, None] * (2 * Z) + columns[None, :]
    tl.store(post, tl.load(post, mask=is_z, other=0.0) + d, mask=is_z)
    tl.store(post + Z, tl.load(post + Z, mask=is_z, other=0.0) + d * noise, mask=is_z)
