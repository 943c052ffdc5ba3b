"""Painting, then looking: all that happens on the canvas from one step to the next.

One program an image. A patch size N of 0 stands for no attention. Barriers part what is written
by some threads from what is then read by others.
"""

from typing import no_type_check

import triton
import triton.language as tl

from draw.kernels.gpu.attention import (
    TILE,
    cells,
    filters,
    moments,
    pixels,
    product,
    window,
)
from draw.kernels.gpu.numbers import mean_of

PIXELS = tl.constexpr(1024)  # at once, where there are no filters


@triton.jit
@no_type_check
def put(
    painted,
    canvas,
    image,
    image_hat,
    place,
    inside,
    LOOK: tl.constexpr,
    CLAMPED: tl.constexpr,
    IMAGE: tl.constexpr,
):
    """Some pixels of the canvas, and of the error image if the encoder is to look at it.

    The first IMAGE places of the canvas are those of the image.
    """
    tl.store(canvas + place, painted, mask=inside)
    if LOOK:
        inside = inside & (place < IMAGE)
        pixel = tl.load(image + place, mask=inside, other=0.0)
        tl.store(image_hat + place, pixel - mean_of(painted, CLAMPED), mask=inside)  # eq. 3


@triton.jit
@no_type_check
def paint(
    last,
    canvas,
    image,
    image_hat,
    patch,
    params,
    LOOK: tl.constexpr,
    CLAMPED: tl.constexpr,
    IMAGE: tl.constexpr,
    K: tl.constexpr,
    H: tl.constexpr,
    W: tl.constexpr,
    N: tl.constexpr,
    P: tl.constexpr,
):
    """canvas = last + F_y^T w F_x / gamma, for each channel (eqs. 8, 29)."""
    mu_x, mu_y, _, sigma2, gamma = window(params, H, W, N, P)
    norm_x, _, _ = moments(mu_x, sigma2, W)
    norm_y, _, _ = moments(mu_y, sigma2, H)
    cell, is_cell = cells(N, P)
    for c in range(K):
        w = tl.load(patch + c * N * N + cell, mask=is_cell, other=0.0) / gamma
        for x in range(0, W, TILE):
            spread = product(w, filters(mu_x, sigma2, norm_x, x, W))
            for y in range(0, H, TILE):
                place, inside = pixels(c, y, x, H, W)
                painted = tl.load(last + place, mask=inside, other=0.0)
                painted += product(tl.trans(filters(mu_y, sigma2, norm_y, y, H)), spread)
                put(painted, canvas, image, image_hat, place, inside, LOOK, CLAMPED, IMAGE)


@triton.jit
@no_type_check
def paint_all(
    last,
    canvas,
    image,
    image_hat,
    patch,
    LOOK: tl.constexpr,
    CLAMPED: tl.constexpr,
    IMAGE: tl.constexpr,
    SIZE: tl.constexpr,
):
    """canvas = last + w, without attention (eqs. 8, 18)."""
    for first in range(0, SIZE, PIXELS):
        place = first + tl.arange(0, PIXELS)
        inside = place < SIZE
        painted = tl.load(last + place, mask=inside, other=0.0)
        painted += tl.load(patch + place, mask=inside, other=0.0)
        put(painted, canvas, image, image_hat, place, inside, LOOK, CLAMPED, IMAGE)


@triton.jit
@no_type_check
def look(
    image,
    image_hat,
    params,
    r,
    C: tl.constexpr,
    H: tl.constexpr,
    W: tl.constexpr,
    N: tl.constexpr,
    P: tl.constexpr,
):
    """r = gamma F_y I F_x^T, for each channel I of the image and of the error image (eq. 27)."""
    mu_x, mu_y, _, sigma2, gamma = window(params, H, W, N, P)
    norm_x, _, _ = moments(mu_x, sigma2, W)
    norm_y, _, _ = moments(mu_y, sigma2, H)
    cell, is_cell = cells(N, P)
    for s in range(2 * C):
        seen = tl.zeros([P, P], tl.float32)
        for x in range(0, W, TILE):
            U = tl.zeros([P, TILE], tl.float32)
            for y in range(0, H, TILE):
                place, inside = pixels(s % C, y, x, H, W)
                tile = tl.load(image + place, mask=inside & (s < C), other=0.0)
                tile += tl.load(image_hat + place, mask=inside & (s >= C), other=0.0)
                U += product(filters(mu_y, sigma2, norm_y, y, H), tile)
            seen += product(U, tl.trans(filters(mu_x, sigma2, norm_x, x, W)))
        tl.store(r + s * N * N + cell, gamma * seen, mask=is_cell)


@triton.jit
@no_type_check
def look_at_all(image_hat, r, SIZE: tl.constexpr):
    """r = x_hat, without attention (eq. 17); what is seen of x is in the bias."""
    for first in range(0, SIZE, PIXELS):
        place = first + tl.arange(0, PIXELS)
        inside = place < SIZE
        tl.store(r + place, tl.load(image_hat + place, mask=inside, other=0.0), mask=inside)


@triton.jit
@no_type_check
def paint_and_look(
    image,  # x [B, C, H, W]
    image_hat,  # x - mean(c_t)
    last,  # c_{t-1}
    canvas,  # c_t
    out,  # [B, OUT], from h_dec_t: patch, write window, read window of step t + 1
    r,  # [B, ROW], what step t + 1 reads
    PAINT: tl.constexpr,  # else canvas and error image are there
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
    x, x_hat = image + b * IMAGE, image_hat + b * IMAGE
    c, before = canvas + b * SIZE, last + b * SIZE
    emitted = out + b * OUT
    if PAINT:
        if N_WRITE > 0:
            at = emitted + WRITE_AT
            paint(
                *(before, c, x, x_hat, emitted, at),
                *(LOOK, CLAMPED, IMAGE, K, H, W, N_WRITE, P_WRITE),
            )
        else:
            paint_all(before, c, x, x_hat, emitted, LOOK, CLAMPED, IMAGE, SIZE)
        tl.debug_barrier()
    if LOOK:
        if N_READ > 0:
            look(x, x_hat, emitted + READ_AT, r + b * ROW, C, H, W, N_READ, P_READ)
        else:
            look_at_all(x_hat, r + b * ROW, IMAGE)
