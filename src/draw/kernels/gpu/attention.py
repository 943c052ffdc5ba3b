"""Filter banks (paper 3.2, eqs. 19-26) in Triton, made tile by tile where they are used.

`N` is the size of a patch and `P` that of the tile which holds it: a power of two, at least 16,
as matrix products want it. Filters beyond N stand on the window's centre; patches are zero there.
Everything is float32.
"""

from typing import no_type_check

import triton
import triton.language as tl

LIMIT = tl.constexpr(40.0)  # of the window's three logarithms, either way
TILE = tl.constexpr(32)  # pixels of either axis that are worked on at once


@triton.jit
@no_type_check
def product(a, b):
    return tl.dot(a, b, input_precision="ieee")


@triton.jit
@no_type_check
def offsets(N: tl.constexpr, P: tl.constexpr):
    """Of the filters from the centre, in strides [P] (eq. 19)."""
    i = tl.arange(0, P)
    return tl.where(i < N, i + (0.5 - N / 2), 0.0)


@triton.jit
@no_type_check
def within(log):
    """One of the window's three logarithms, kept in its limits; a nan stays one."""
    return tl.where(log < -LIMIT, -LIMIT, tl.where(log > LIMIT, LIMIT, log))


@triton.jit
@no_type_check
def window(params, H: tl.constexpr, W: tl.constexpr, N: tl.constexpr, P: tl.constexpr):
    """Where the filters stand on both axes [P], and stride, variance and intensity."""
    LARGER: tl.constexpr = H if H > W else W
    GAPS: tl.constexpr = N - 1 if N > 1 else 1
    g_x = (W + 1) / 2 * (tl.load(params) + 1)  # eq. 22
    g_y = (H + 1) / 2 * (tl.load(params + 1) + 1)  # eq. 23
    sigma2 = tl.exp(within(tl.load(params + 2)))
    delta = (LARGER - 1) / GAPS * tl.exp(within(tl.load(params + 3)))  # eq. 24
    gamma = tl.exp(within(tl.load(params + 4)))
    along = delta * offsets(N, P)
    return g_x + along, g_y + along, delta, sigma2, gamma  # eqs. 19, 20


@triton.jit
@no_type_check
def bells(mu, sigma2, first, SIZE: tl.constexpr):
    """exp(-(a - mu)^2 / 2 sigma2) for a tile of pixels a, relative to the pixel nearest to mu.

    There the exponent is largest. Relative to it the exponent is -d (d + tail) / 2 sigma2 with
    d = a - nearest: nothing large is ever subtracted. Also returns d and d (d + tail).
    """
    nearest = tl.minimum(tl.maximum(tl.floor(mu + 0.5), 1.0), SIZE)
    a = first + 1 + tl.arange(0, TILE)
    d = tl.minimum(a, SIZE)[None, :] - nearest[:, None]  # [P, TILE]
    square = d * (d + 2 * (nearest - mu)[:, None])
    bell = tl.where((a <= SIZE)[None, :], tl.exp(square * (-0.5 / sigma2)), 0.0)
    return bell, d, square


@triton.jit
@no_type_check
def moments(mu, sigma2, SIZE: tl.constexpr):
    """What makes the bells sum to one, and the means of d and d (d + tail) under them, [P]."""
    total = tl.zeros_like(mu)
    first = tl.zeros_like(mu)
    second = tl.zeros_like(mu)
    for a in range(0, SIZE, TILE):
        bell, d, square = bells(mu, sigma2, a, SIZE)
        total += tl.sum(bell, 1)
        first += tl.sum(bell * d, 1)
        second += tl.sum(bell * square, 1)
    return 1 / total, first / total, second / total


@triton.jit
@no_type_check
def filters(mu, sigma2, norm, first, SIZE: tl.constexpr):
    """F [P, TILE] from a pixel on (eq. 25)."""
    bell, _, _ = bells(mu, sigma2, first, SIZE)
    return bell * norm[:, None]


@triton.jit
@no_type_check
def filters_backward(dF, mu, sigma2, norm, mean, mean_square, first, SIZE: tl.constexpr):
    """What a tile of dF brings to mu and to log sigma2, [P] each."""
    bell, d, square = bells(mu, sigma2, first, SIZE)
    d_exponent = dF * bell * norm[:, None]
    d_mu = tl.sum(d_exponent * (d - mean[:, None]), 1) / sigma2
    d_log_sigma2 = tl.sum(d_exponent * (square - mean_square[:, None]), 1) / (2 * sigma2)
    return d_mu, d_log_sigma2


@triton.jit
@no_type_check
def window_backward(
    params,
    d_params,
    d_x,
    d_y,
    d_log_sigma2,
    d_log_gamma,
    delta,
    H: tl.constexpr,
    W: tl.constexpr,
    N: tl.constexpr,
    P: tl.constexpr,
):
    """From the places and the variance of the filters to the five parameters (eqs. 19-24)."""
    tl.store(d_params, tl.sum(d_x, 0) * ((W + 1) / 2))
    tl.store(d_params + 1, tl.sum(d_y, 0) * ((H + 1) / 2))
    store_within(params + 2, d_params + 2, tl.sum(d_log_sigma2, 0))
    store_within(params + 3, d_params + 3, tl.sum((d_x + d_y) * offsets(N, P), 0) * delta)
    store_within(params + 4, d_params + 4, d_log_gamma)


@triton.jit
@no_type_check
def store_within(place, d_place, gradient):
    """The gradient of a logarithm; none beyond its limits."""
    log = tl.load(place)
    tl.store(d_place, tl.where(within(log) == log, gradient, 0.0))


@triton.jit
@no_type_check
def cells(N: tl.constexpr, P: tl.constexpr):
    """Where the cells of a patch lie in memory [P, P], and which of them there are."""
    j, i = tl.arange(0, P)[:, None], tl.arange(0, P)[None, :]
    return j * N + i, (j < N) & (i < N)


@triton.jit
@no_type_check
def pixels(channel, y, x, H: tl.constexpr, W: tl.constexpr):
    """Where the pixels of a tile lie in memory [TILE, TILE], and which of them there are."""
    row, column = y + tl.arange(0, TILE)[:, None], x + tl.arange(0, TILE)[None, :]
    return (channel * H + row) * W + column, (row < H) & (column < W)
