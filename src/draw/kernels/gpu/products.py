"""The LSTMs, the posterior and the outputs of the decoder: matrix products and what follows them.

A program computes some rows of the batch and some units. One row holds the inputs of both LSTMs,
X_t = [z_t | h_dec_{t-1} | r_t | h_enc_{t-1}], so that each LSTM is one product over a part of it.
Weights have PyTorch's layout, [outputs, inputs]. Sums and state are float32; PRECISION is that of
the factors: "ieee" (float32) or "tf32".

The gradients are fused differently: `lstm_backward` includes the linear layer that reads h, that
is `emit` for the decoder and `sample` for the encoder, and separate kernels compute the
gradients of an LSTM's inputs.
"""

from typing import no_type_check

import triton
import triton.language as tl

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
    a,
    rows,
    has_row,
    weight,
    columns,
    has_column,
    A_STRIDE: tl.constexpr,  # from row to row
    WEIGHT_STRIDE: tl.constexpr,
    K: tl.constexpr,
    TRANSPOSED: tl.constexpr,  # a W^T, otherwise a W
    PRECISION: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    total = tl.zeros([rows.shape[0], columns.shape[0]], tl.float32)
    for first in range(0, K, BLOCK_K):
        k = first + tl.arange(0, BLOCK_K)
        a_tile = tl.load(
            a + rows[:, None] * A_STRIDE + k[None, :],
            mask=has_row[:, None] & (k < K)[None, :],
            other=0.0,
        )
        if TRANSPOSED:
            place = columns[None, :] * WEIGHT_STRIDE + k[:, None]
        else:
            place = k[:, None] * WEIGHT_STRIDE + columns[None, :]
        w_tile = tl.load(weight + place, mask=(k < K)[:, None] & has_column[None, :], other=0.0)
        if PRECISION == "tf32":
            a_tile, w_tile = to_tf32(a_tile), to_tf32(w_tile)
        total = tl.dot(a_tile, w_tile, total, input_precision=PRECISION)
    return total


@triton.jit
@no_type_check
def lstm_forward(
    inputs,  # [B, K] in rows of X_t
    weight,  # [4 HIDDEN, K]: gates in the order i, f, g, o
    bias,  # [4 HIDDEN], or [B, 4 HIDDEN] if BIAS_PER_IMAGE
    c_last,  # [B, HIDDEN]
    c,
    h,  # [B, HIDDEN] in rows of X_{t+1}
    gates,  # [B, 4 HIDDEN], after activation, if KEEP
    B,
    KEEP: tl.constexpr,
    BIAS_PER_IMAGE: tl.constexpr,
    K: tl.constexpr,
    ROW: tl.constexpr,
    HIDDEN: tl.constexpr,
    PRECISION: tl.constexpr,
    BLOCK_B: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    """Compute an LSTM cell (eqs. 5, 7). The four gates of a unit are adjacent in the product."""
    rows, has_row = places(1, B, BLOCK_B)
    UNITS: tl.constexpr = BLOCK_N // 4
    n = tl.arange(0, BLOCK_N)
    unit = tl.program_id(0) * UNITS + n // 4
    columns = (n % 4) * HIDDEN + unit
    total = product(
        *(inputs, rows, has_row, weight, columns, unit < HIDDEN),
        A_STRIDE=ROW,
        WEIGHT_STRIDE=K,
        K=K,
        TRANSPOSED=True,
        PRECISION=PRECISION,
        BLOCK_K=BLOCK_K,
    )
    if BIAS_PER_IMAGE:
        row_bias = bias + rows[:, None] * (4 * HIDDEN) + columns[None, :]
        total += tl.load(row_bias, mask=has_row[:, None] & (unit < HIDDEN)[None, :], other=0.0)
    else:
        total += tl.load(bias + columns, mask=unit < HIDDEN, other=0.0)[None, :]
    even, odd = tl.split(tl.reshape(total, [BLOCK_B, UNITS, 2, 2]))
    i, g = tl.split(even)  # [BLOCK_B, UNITS]
    f, o = tl.split(odd)
    i, f, g, o = sigmoid(i), sigmoid(f), hyperbolic_tangent(g), sigmoid(o)

    units, has_unit = places(0, HIDDEN, UNITS)
    inside = has_row[:, None] & has_unit[None, :]
    place = rows[:, None] * HIDDEN + units[None, :]
    c_new = f * tl.load(c_last + place, mask=inside, other=0.0) + i * g
    tl.store(c + place, c_new, mask=inside)
    h_new = o * hyperbolic_tangent(c_new)
    tl.store(h + rows[:, None] * ROW + units[None, :], h_new, mask=inside)
    if KEEP:
        gate = gates + rows[:, None] * (4 * HIDDEN) + units[None, :]
        tl.store(gate, i, mask=inside)
        tl.store(gate + HIDDEN, f, mask=inside)
        tl.store(gate + 2 * HIDDEN, g, mask=inside)
        tl.store(gate + 3 * HIDDEN, o, mask=inside)


@triton.jit
@no_type_check
def lstm_backward(
    dy,  # [B, K]: gradient of a linear layer on h
    weight,  # [K, HIDDEN]
    dh,  # [B, HIDDEN] in rows of dX: the rest of the gradient of h
    c_last,
    c,
    gates,
    dc,  # gradient of c, overwritten by that of c_last
    d_gates,  # [B, 4 HIDDEN], before activation
    B,
    K: tl.constexpr,
    ROW: tl.constexpr,
    HIDDEN: tl.constexpr,
    PRECISION: tl.constexpr,
    BLOCK_B: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    """Compute the gradients of the gates, through a linear layer on h."""
    rows, has_row = places(1, B, BLOCK_B)
    units, has_unit = places(0, HIDDEN, BLOCK_N)
    inside = has_row[:, None] & has_unit[None, :]
    d = product(
        *(dy, rows, has_row, weight, units, has_unit),
        A_STRIDE=K,
        WEIGHT_STRIDE=HIDDEN,
        K=K,
        TRANSPOSED=False,
        PRECISION=PRECISION,
        BLOCK_K=BLOCK_K,
    )
    d += tl.load(dh + rows[:, None] * ROW + units[None, :], mask=inside, other=0.0)

    place = rows[:, None] * HIDDEN + units[None, :]
    gate = rows[:, None] * (4 * HIDDEN) + units[None, :]
    i = tl.load(gates + gate, mask=inside, other=0.0)
    f = tl.load(gates + gate + HIDDEN, mask=inside, other=0.0)
    g = tl.load(gates + gate + 2 * HIDDEN, mask=inside, other=0.0)
    o = tl.load(gates + gate + 3 * HIDDEN, mask=inside, other=0.0)
    t = hyperbolic_tangent(tl.load(c + place, mask=inside, other=0.0))
    d_c = tl.load(dc + place, mask=inside, other=0.0) + d * o * (1 - t * t)
    d_f = d_c * tl.load(c_last + place, mask=inside, other=0.0) * f * (1 - f)
    tl.store(d_gates + gate, d_c * g * i * (1 - i), mask=inside)
    tl.store(d_gates + gate + HIDDEN, d_f, mask=inside)
    tl.store(d_gates + gate + 2 * HIDDEN, d_c * i * (1 - g * g), mask=inside)
    tl.store(d_gates + gate + 3 * HIDDEN, d * t * o * (1 - o), mask=inside)
    tl.store(dc + place, d_c * f, mask=inside)


@triton.jit
@no_type_check
def sample(
    h,
    weight,  # [2 Z, HIDDEN]: mu, log sigma
    bias,
    eps,  # [B, Z]
    mu,
    log_sigma,
    z,
    z_row,  # z in rows of X_t
    B,
    ROW: tl.constexpr,
    HIDDEN: tl.constexpr,
    Z: tl.constexpr,
    PRECISION: tl.constexpr,
    BLOCK_B: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    """Compute the posterior and a sample (eqs. 1, 2, 6); a unit's mu and log sigma are adjacent."""
    rows, has_row = places(1, B, BLOCK_B)
    n = tl.arange(0, BLOCK_N)
    latent = tl.program_id(0) * (BLOCK_N // 2) + n // 2
    columns = (n % 2) * Z + latent
    total = product(
        *(h, rows, has_row, weight, columns, latent < Z),
        A_STRIDE=ROW,
        WEIGHT_STRIDE=HIDDEN,
        K=HIDDEN,
        TRANSPOSED=True,
        PRECISION=PRECISION,
        BLOCK_K=BLOCK_K,
    )
    total += tl.load(bias + columns, mask=latent < Z, other=0.0)[None, :]
    m, s = tl.split(tl.reshape(total, [BLOCK_B, BLOCK_N // 2, 2]))

    latents, has_latent = places(0, Z, BLOCK_N // 2)
    inside = has_row[:, None] & has_latent[None, :]
    place = rows[:, None] * Z + latents[None, :]
    sampled = m + tl.exp(s) * tl.load(eps + place, mask=inside, other=0.0)
    tl.store(mu + place, m, mask=inside)
    tl.store(log_sigma + place, s, mask=inside)
    tl.store(z + place, sampled, mask=inside)
    tl.store(z_row + rows[:, None] * ROW + latents[None, :], sampled, mask=inside)


@triton.jit
@no_type_check
def emit(
    h,
    weight,
    bias,
    out,
    B,
    ROW: tl.constexpr,
    HIDDEN: tl.constexpr,
    OUT: tl.constexpr,
    PRECISION: tl.constexpr,
    BLOCK_B: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    """Compute the patch and the windows from h_dec (eqs. 18, 21, 28)."""
    rows, has_row = places(1, B, BLOCK_B)
    columns, has_column = places(0, OUT, BLOCK_N)
    total = product(
        *(h, rows, has_row, weight, columns, has_column),
        A_STRIDE=ROW,
        WEIGHT_STRIDE=HIDDEN,
        K=HIDDEN,
        TRANSPOSED=True,
        PRECISION=PRECISION,
        BLOCK_K=BLOCK_K,
    )
    total += tl.load(bias + columns, mask=has_column, other=0.0)[None, :]
    inside = has_row[:, None] & has_column[None, :]
    tl.store(out + rows[:, None] * OUT + columns[None, :], total, mask=inside)


@triton.jit
@no_type_check
def encoder_inputs_backward(
    d_gates,
    weight,  # [4 HIDDEN, N]
    dX,  # [B, N] in rows of dX: h_dec, r, h_enc
    B,
    N: tl.constexpr,
    ROW: tl.constexpr,
    HIDDEN: tl.constexpr,
    PRECISION: tl.constexpr,
    BLOCK_B: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    """Compute the gradients of r_t and h_enc_{t-1}, and add to that of h_dec_{t-1}."""
    K: tl.constexpr = 4 * HIDDEN
    rows, has_row = places(1, B, BLOCK_B)
    columns, has_column = places(0, N, BLOCK_N)
    d = product(
        *(d_gates, rows, has_row, weight, columns, has_column),
        A_STRIDE=K,
        WEIGHT_STRIDE=N,
        K=K,
        TRANSPOSED=False,
        PRECISION=PRECISION,
        BLOCK_K=BLOCK_K,
    )
    place = dX + rows[:, None] * ROW + columns[None, :]
    inside = has_row[:, None] & has_column[None, :]
    d += tl.load(place, mask=inside & (columns < HIDDEN)[None, :], other=0.0)
    tl.store(place, d, mask=inside)


@triton.jit
@no_type_check
def decoder_inputs_backward(
    d_gates,  # [B, 4 HIDDEN]
    weight,  # [4 HIDDEN, Z + HIDDEN]
    mu,
    z,
    d_post,  # [B, 2 Z]: of mu and log sigma; the part through the decoder is added
    dh,  # [B, HIDDEN] in rows of dX
    B,
    ROW: tl.constexpr,
    HIDDEN: tl.constexpr,
    Z: tl.constexpr,
    PRECISION: tl.constexpr,
    BLOCK_B: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    """Compute the gradient of h_dec_{t-1}, and add to the posterior's by z_t = mu + sigma eps."""
    K: tl.constexpr = 4 * HIDDEN
    N: tl.constexpr = Z + HIDDEN
    rows, has_row = places(1, B, BLOCK_B)
    columns, has_column = places(0, N, BLOCK_N)
    d = product(
        *(d_gates, rows, has_row, weight, columns, has_column),
        A_STRIDE=K,
        WEIGHT_STRIDE=N,
        K=K,
        TRANSPOSED=False,
        PRECISION=PRECISION,
        BLOCK_K=BLOCK_K,
    )
    is_h = has_row[:, None] & (has_column & (columns >= Z))[None, :]
    tl.store(dh + rows[:, None] * ROW + columns[None, :] - Z, d, mask=is_h)
    is_z = has_row[:, None] & (columns < Z)[None, :]
    place = rows[:, None] * Z + columns[None, :]
    noise = tl.load(z + place, mask=is_z, other=0.0) - tl.load(mu + place, mask=is_z, other=0.0)
    post = d_post + rows[:, None] * (2 * Z) + columns[None, :]
    tl.store(post, tl.load(post, mask=is_z, other=0.0) + d, mask=is_z)
    tl.store(post + Z, tl.load(post + Z, mask=is_z, other=0.0) + d * noise, mask=is_z)
