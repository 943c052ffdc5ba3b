"""The gradients of `canvas.py`: of looking, then of painting. One program an image."""

from typing import no_type_check

import triton
import triton.language as tl

from draw.kernels.gpu.attention import (
    TILE,
    cells,
    filters,
    filters_backward,
    moments,
    pixels,
    product,
    window,
    window_backward,
)
from draw.kernels.gpu.canvas import PIXELS
from draw.kernels.gpu.numbers import mean_slope


@triton.jit
@no_type_check
def put_backward(d_hat, d_canvas, image, image_hat, place, inside, CLAMPED: tl.constexpr):
    """Through x_hat = x - mean(c) to the canvas."""
    pixel = tl.load(image + place, mask=inside, other=0.0)
    mean = pixel - tl.load(image_hat + place, mask=inside, other=0.0)
    d_c = tl.load(d_canvas + place, mask=inside, other=0.0)
    tl.store(d_canvas + place, d_c - d_hat * mean_slope(mean, CLAMPED), mask=inside)


@triton.jit
@no_type_check
def through_window_backward(
    image,
    image_hat,
    patch,
    params,
    d_canvas,
    d_patch,
    d_params,
    READ: tl.constexpr,  # else write
    CLAMPED: tl.constexpr,
    C: tl.constexpr,  # channels of the images
    H: tl.constexpr,
    W: tl.constexpr,
    N: tl.constexpr,
    P: tl.constexpr,
):
    """The gradients of sum Q scale F_y I F_x^T, over the channels I of the images.

    To read: Q is dr, scale is gamma, and what comes to the error image goes on to the canvas.
    To write: Q is w, I is d_canvas, scale is 1 / gamma, and the gradient of Q is that of w.
    """
    mu_x, mu_y, delta, sigma2, gamma = window(params, H, W, N, P)
    norm_x, mean_x, square_x = moments(mu_x, sigma2, W)
    norm_y, mean_y, square_y = moments(mu_y, sigma2, H)
    cell, is_cell = cells(N, P)
    d_x = tl.zeros([P], tl.float32)
    d_y = tl.zeros([P], tl.float32)
    d_log_sigma2 = tl.zeros([P], tl.float32)
    d_log_scale = 0.0
    for s in range(2 * C if READ else C):
        Q = tl.load(patch + s * N * N + cell, mask=is_cell, other=0.0)
        Q = Q * gamma if READ else Q / gamma
        seen = tl.zeros([P, P], tl.float32)
        for x in range(0, W, TILE):
            F_x = filters(mu_x, sigma2, norm_x, x, W)
            spread = product(Q, F_x)
            U = tl.zeros([P, TILE], tl.float32)
            for y in range(0, H, TILE):
                place, inside = pixels(s % C, y, x, H, W)
                tile = tl.load(image + place, mask=inside & (s < C), other=0.0)
                tile += tl.load(image_hat + place, mask=inside & (s >= C), other=0.0)
                F_y = filters(mu_y, sigma2, norm_y, y, H)
                U += product(F_y, tile)
                by_mu, by_sigma2 = filters_backward(
                    product(spread, tl.trans(tile)), mu_y, sigma2, norm_y, mean_y, square_y, y, H
                )
                d_y += by_mu
                d_log_sigma2 += by_sigma2
                if READ:
                    d_hat = product(tl.trans(F_y), spread)
                    is_error = inside & (s >= C)
                    put_backward(d_hat, d_canvas, image, image_hat, place, is_error, CLAMPED)
            seen += product(U, tl.trans(F_x))
            by_mu, by_sigma2 = filters_backward(
                product(tl.trans(Q), U), mu_x, sigma2, norm_x, mean_x, square_x, x, W
            )
            d_x += by_mu
            d_log_sigma2 += by_sigma2
        d_log_scale += tl.sum(Q * seen)
        if not READ:
            tl.store(d_patch + s * N * N + cell, seen / gamma, mask=is_cell)
    d_log_gamma = d_log_scale if READ else -d_log_scale
    window_backward(params, d_params, d_x, d_y, d_log_sigma2, d_log_gamma, delta, H, W, N, P)


@triton.jit
@no_type_check
def look_at_all_backward(dr, d_canvas, image, image_hat, CLAMPED: tl.constexpr, SIZE: tl.constexpr):
    """Without attention: the error image leads back to the canvas."""
    for first in range(0, SIZE, PIXELS):
        place = first + tl.arange(0, PIXELS)
        d_hat = tl.load(dr + place, mask=place < SIZE, other=0.0)
        put_backward(d_hat, d_canvas, image, image_hat, place, place < SIZE, CLAMPED)


@triton.jit
@no_type_check
def paint_all_backward(d_canvas, d_patch, SIZE: tl.constexpr):
    """Without attention: the patch is all that is painted."""
    for first in range(0, SIZE, PIXELS):
        place = first + tl.arange(0, PIXELS)
        inside = place < SIZE
        tl.store(d_patch + place, tl.load(d_canvas + place, mask=inside, other=0.0), mask=inside)


@triton.jit
@no_type_check
def paint_and_look_backward(
    image,
    image_hat,
    out,
    dr,  # [B, ROW]
    d_canvas,  # of c_t, but for what step t + 1 sees of it, which is added
    d_out,  # [B, OUT]
    PAINT: tl.constexpr,
    LOOK: tl.constexpr,
    C: tl.constexpr,  # channels of the image, and of the canvas K
    K: tl.constexpr,
    H: tl.constexpr,
    W: tl.constexpr,
    OUT: tl.constexpr,
    ROW: tl.constexpr,
    WRITE_AT: tl.constexpr,
    READ_AT: tl.constexpr,
    N_WRITE: tl.constexpr,
    N_READ: tl.constexpr,
    P_WRITE: tl.constexpr,
    P_READ: tl.constexpr,
    CLAMPED: tl.constexpr,
):
    IMAGE: tl.constexpr = C * H * W
    SIZE: tl.constexpr = K * H * W
    b = tl.program_id(0).to(tl.int64)
    x, x_hat, dc = image + b * IMAGE, image_hat + b * IMAGE, d_canvas + b * SIZE
    o, d_o, dr_b = out + b * OUT, d_out + b * OUT, dr + b * ROW
    if LOOK:
        if N_READ > 0:
            at, d_at = o + READ_AT, d_o + READ_AT
            through_window_backward(
                *(x, x_hat, dr_b, at, dc, dr_b, d_at),
                *(True, CLAMPED, C, H, W, N_READ, P_READ),
            )
        else:
            look_at_all_backward(dr_b, dc, x, x_hat, CLAMPED, IMAGE)
        tl.debug_barrier()
    if PAINT:
        if N_WRITE > 0:
            at, d_at = o + WRITE_AT, d_o + WRITE_AT
            through_window_backward(
                *(dc, dc, o, at, dc, d_o, d_at),
                *(False, CLAMPED, K, H, W, N_WRITE, P_WRITE),
            )
        else:
            paint_all_backward(dc, d_o, SIZE)
