"""Filter banks and their gradients (section 3.2, eqs. 19-26) in Triton, one tile at a time.

`N` is the patch size and `P` the size of the tile that holds a patch. Filters beyond N are centred
on the window, and patches are zero there. All numbers are float32.
"""

from typing import no_type_check

import triton
import triton.language as tl

MAX_LOG = tl.constexpr(40.0)  # bound on |log sigma^2|, |log delta~| and |log gamma|
TILE = tl.constexpr(32)  # pixels per tile and axis


@triton.constexpr_function
@no_type_check
def tile_size(N):
    """Return P: a power of two and at least 16, as matrix products require."""
    return max(16, triton.next_power_of_2(N))


@triton.jit
@no_type_check
def product(a, b):
    return tl.dot(a, b, input_precision="ieee")


@triton.jit
@no_type_check
def offsets(N: tl.constexpr):
    """Compute the offsets of the filters from the centre, in strides [P] (eq. 19)."""
    i = tl.arange(0, tile_size(N))
    return tl.where(i < N, i + (0.5 - N / 2), 0.0)


@triton.jit
@no_type_check
def limited(log):
    """Clamp a logarithm of the window to its limits; NaN stays NaN."""
    return tl.where(log < -MAX_LOG, -MAX_LOG, tl.where(log > MAX_LOG, MAX_LOG, log))


@triton.jit
@no_type_check
def window(params, layout: tl.constexpr, N: tl.constexpr):
    """Compute the filter centres on both axes [P], the stride, variance and intensity."""
    H: tl.constexpr = layout.H
    W: tl.constexpr = layout.W
    LARGER: tl.constexpr = H if H > W else W
    GAPS: tl.constexpr = N - 1 if N > 1 else 1
    g_x = (W + 1) / 2 * (tl.load(params) + 1)  # eq. 22
    g_y = (H + 1) / 2 * (tl.load(params + 1) + 1)  # eq. 23
    sigma2 = tl.exp(limited(tl.load(params + 2)))
    delta = (LARGER - 1) / GAPS * tl.exp(limited(tl.load(params + 3)))  # eq. 24
    gamma = tl.exp(limited(tl.load(params + 4)))
    along = delta * offsets(N)
    return g_x + along, g_y + along, delta, sigma2, gamma  # eqs. 19, 20


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
    layout: tl.constexpr,
    N: tl.constexpr,
):
    """Store the gradients of the five parameters (eqs. 19-24)."""
    tl.store(d_params, tl.sum(d_x, 0) * ((layout.W + 1) / 2))
    tl.store(d_params + 1, tl.sum(d_y, 0) * ((layout.H + 1) / 2))
    store_limited(params + 2, d_params + 2, tl.sum(d_log_sigma2, 0))
    store_limited(params + 3, d_params + 3, tl.sum((d_x + d_y) * offsets(N), 0) * delta)
    store_limited(params + 4, d_params + 4, d_log_gamma)


@triton.jit
@no_type_check
def store_limited(place, d_place, gradient):
    """Store the gradient of a logarithm, which is zero beyond the limits."""
    log = tl.load(place)
    tl.store(d_place, tl.where(limited(log) == log, gradient, 0.0))


@triton.jit
@no_type_check
def gaussian(mu, sigma2, first, SIZE: tl.constexpr):
    """Compute exp(-(a - mu)^2 / 2 sigma2) over a tile of pixels a, relative to its largest value.

    The largest value is at the pixel nearest to mu. Relative to it the exponent is
    -d (d + tail) / 2 sigma2 with d = a - nearest, which never subtracts two large numbers. Also
    returns d and d (d + tail).
    """
    nearest = tl.minimum(tl.maximum(tl.floor(mu + 0.5), 1.0), SIZE)
    a = first + 1 + tl.arange(0, TILE)
    d = tl.minimum(a, SIZE)[None, :] - nearest[:, None]  # [P, TILE]
    square = d * (d + 2 * (nearest - mu)[:, None])
    value = tl.where((a <= SIZE)[None, :], tl.exp(square * (-0.5 / sigma2)), 0.0)
    return value, d, square


@triton.jit
@no_type_check
def moments(mu, sigma2, SIZE: tl.constexpr):
    """Compute the norms of the filters and the means of d and d (d + tail) under them, [P]."""
    total = tl.zeros_like(mu)
    first = tl.zeros_like(mu)
    second = tl.zeros_like(mu)
    for a in range(0, SIZE, TILE):
        value, d, square = gaussian(mu, sigma2, a, SIZE)
        total += tl.sum(value, 1)
        first += tl.sum(value * d, 1)
        second += tl.sum(value * square, 1)
    return 1 / total, first / total, second / total


@triton.jit
@no_type_check
def filters(mu, sigma2, norm, first, SIZE: tl.constexpr):
    """Compute a tile of F [P, TILE], starting at pixel `first` (eqs. 25, 26)."""
    value, _, _ = gaussian(mu, sigma2, first, SIZE)
    return value * norm[:, None]


@triton.jit
@no_type_check
def filters_backward(dF, mu, sigma2, norm, mean, mean_square, first, SIZE: tl.constexpr):
    """Compute the contributions of a tile of dF to the gradients of mu and log sigma2, [P] each."""
    value, d, square = gaussian(mu, sigma2, first, SIZE)
    d_exponent = dF * value * norm[:, None]
    d_mu = tl.sum(d_exponent * (d - mean[:, None]), 1) / sigma2
    d_log_sigma2 = tl.sum(d_exponent * (square - mean_square[:, None]), 1) / (2 * sigma2)
    return d_mu, d_log_sigma2


@triton.jit
@no_type_check
def cells(N: tl.constexpr):
    """Compute the offsets of the cells of a patch [P, P] and a mask of those that exist."""
    j, i = tl.arange(0, tile_size(N))[:, None], tl.arange(0, tile_size(N))[None, :]
    return j * N + i, (j < N) & (i < N)


@triton.jit
@no_type_check
def pixels(channel, y, x, layout: tl.constexpr):
    """Compute the offsets of the pixels of a tile [TILE, TILE] and a mask of those that exist."""
    row, column = y + tl.arange(0, TILE)[:, None], x + tl.arange(0, TILE)[None, :]
    place = (channel * layout.H + row) * layout.W + column
    return place, (row < layout.H) & (column < layout.W)
