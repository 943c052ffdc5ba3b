"""Write to the canvas and read the next glimpse, with gradients.

Each program processes one image. A patch size N of 0 means no attention. Barriers separate the
stores of some threads from the loads of others.
"""

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
    tile_size,
    window,
    window_backward,
)
from draw.kernels.gpu.numbers import mean_of, mean_slope

PIXELS = tl.constexpr(1024)  # per iteration without attention


@triton.jit
@no_type_check
def write_and_read(
    image,  # x [B, C, H, W]
    image_hat,  # the error image of c_t
    last,  # c_{t-1}
    canvas,  # c_t
    out,  # [B, out], from h_dec_t: patch, write window, read window of glimpse t + 1
    r,  # [B, row], what glimpse t + 1 reads
    layout: tl.constexpr,
    WRITE: tl.constexpr,  # otherwise canvas and error image exist already
    READ: tl.constexpr,
):
    b = tl.program_id(0).to(tl.int64)
    x, x_hat = image + b * layout.image, image_hat + b * layout.image
    c, before = canvas + b * layout.canvas, last + b * layout.canvas
    o = out + b * layout.out
    if WRITE:
        if layout.n_write > 0:
            write_canvas(before, c, x, x_hat, o, o + layout.write, READ, layout)
        else:
            add_to_canvas(before, c, x, x_hat, o, READ, layout)
        tl.debug_barrier()
    if READ:
        if layout.n_read > 0:
            read_glimpse(x, x_hat, o + layout.read, r + b * layout.row, layout)
        else:  # r = x_hat (eq. 17); the contribution of x is part of the bias
            copy(x_hat, r + b * layout.row, layout.image)


@triton.jit
@no_type_check
def write_and_read_backward(
    image,
    image_hat,
    out,
    dr,  # [B, row]
    d_canvas,  # of c_t, without the contribution of reading it, which is added
    d_out,  # [B, out]
    layout: tl.constexpr,
    WRITE: tl.constexpr,
    READ: tl.constexpr,
):
    b = tl.program_id(0).to(tl.int64)
    x, x_hat = image + b * layout.image, image_hat + b * layout.image
    dc = d_canvas + b * layout.canvas
    o, d_o, dr_b = out + b * layout.out, d_out + b * layout.out, dr + b * layout.row
    if READ:
        if layout.n_read > 0:
            at, d_at = o + layout.read, d_o + layout.read
            glimpse_backward(x, x_hat, dr_b, at, dc, dr_b, d_at, True, layout)
        else:
            copy_error_image_backward(dr_b, dc, x, x_hat, layout)
        tl.debug_barrier()
    if WRITE:
        if layout.n_write > 0:
            at, d_at = o + layout.write, d_o + layout.write
            glimpse_backward(dc, None, o, at, dc, d_o, d_at, False, layout)
        else:  # the gradient of `add_to_canvas`
            copy(dc, d_o, layout.canvas)


# ---------------------------------------------------------------- through windows


@triton.jit
@no_type_check
def write_canvas(
    last, canvas, image, image_hat, patch, params, READ: tl.constexpr, layout: tl.constexpr
):
    """Compute canvas = last + F_y^T w F_x / gamma, for each channel (eqs. 8, 29)."""
    N: tl.constexpr = layout.n_write
    mu_x, mu_y, _, sigma2, gamma = window(params, layout, N)
    norm_x, _, _ = moments(mu_x, sigma2, layout.W)
    norm_y, _, _ = moments(mu_y, sigma2, layout.H)
    cell, is_cell = cells(N)
    for c in range(layout.K):
        w = tl.load(patch + c * N * N + cell, mask=is_cell, other=0.0) / gamma
        for x in range(0, layout.W, TILE):
            spread = product(w, filters(mu_x, sigma2, norm_x, x, layout.W))
            for y in range(0, layout.H, TILE):
                place, inside = pixels(c, y, x, layout)
                new = tl.load(last + place, mask=inside, other=0.0)
                new += product(tl.trans(filters(mu_y, sigma2, norm_y, y, layout.H)), spread)
                store_canvas(new, canvas, image, image_hat, place, inside, READ, layout)


@triton.jit
@no_type_check
def read_glimpse(image, image_hat, params, r, layout: tl.constexpr):
    """Compute r = gamma F_y I F_x^T for each channel of image and error image (eq. 27).

    The error image of a classifier is None.
    """
    C: tl.constexpr = layout.C
    N: tl.constexpr = layout.n_read
    P: tl.constexpr = tile_size(N)
    mu_x, mu_y, _, sigma2, gamma = window(params, layout, N)
    norm_x, _, _ = moments(mu_x, sigma2, layout.W)
    norm_y, _, _ = moments(mu_y, sigma2, layout.H)
    cell, is_cell = cells(N)
    for s in range(C if image_hat is None else 2 * C):
        glimpse = tl.zeros([P, P], tl.float32)
        for x in range(0, layout.W, TILE):
            U = tl.zeros([P, TILE], tl.float32)
            for y in range(0, layout.H, TILE):
                place, inside = pixels(s % C, y, x, layout)
                tile = tl.load(image + place, mask=inside & (s < C), other=0.0)
                if image_hat is not None:
                    tile += tl.load(image_hat + place, mask=inside & (s >= C), other=0.0)
                U += product(filters(mu_y, sigma2, norm_y, y, layout.H), tile)
            glimpse += product(U, tl.trans(filters(mu_x, sigma2, norm_x, x, layout.W)))
        tl.store(r + s * N * N + cell, gamma * glimpse, mask=is_cell)


@triton.jit
@no_type_check
def glimpse_backward(
    image,
    image_hat,
    patch,
    params,
    d_canvas,
    d_patch,
    d_params,
    READ: tl.constexpr,
    layout: tl.constexpr,
):
    """Compute the gradients of `read_glimpse`, or of `write_canvas` if READ is False.

    Both are gradients of sum Q scale F_y I F_x^T over the channels I of the images. To read, Q is
    dr, scale is gamma, and the gradient of the error image, if there is one, is added to the
    canvas's. To write, Q is w, I is d_canvas, scale is 1 / gamma, and the gradient of Q is that of
    w.
    """
    C: tl.constexpr = layout.C if READ else layout.K
    N: tl.constexpr = layout.n_read if READ else layout.n_write
    P: tl.constexpr = tile_size(N)
    mu_x, mu_y, delta, sigma2, gamma = window(params, layout, N)
    norm_x, mean_x, square_x = moments(mu_x, sigma2, layout.W)
    norm_y, mean_y, square_y = moments(mu_y, sigma2, layout.H)
    cell, is_cell = cells(N)
    d_x = tl.zeros([P], tl.float32)
    d_y = tl.zeros([P], tl.float32)
    d_log_sigma2 = tl.zeros([P], tl.float32)
    d_log_scale = 0.0
    for s in range(C if image_hat is None else 2 * C):
        Q = tl.load(patch + s * N * N + cell, mask=is_cell, other=0.0)
        Q = Q * gamma if READ else Q / gamma
        glimpse = tl.zeros([P, P], tl.float32)
        for x in range(0, layout.W, TILE):
            F_x = filters(mu_x, sigma2, norm_x, x, layout.W)
            spread = product(Q, F_x)
            U = tl.zeros([P, TILE], tl.float32)
            for y in range(0, layout.H, TILE):
                place, inside = pixels(s % C, y, x, layout)
                tile = tl.load(image + place, mask=inside & (s < C), other=0.0)
                if image_hat is not None:
                    tile += tl.load(image_hat + place, mask=inside & (s >= C), other=0.0)
                F_y = filters(mu_y, sigma2, norm_y, y, layout.H)
                U += product(F_y, tile)
                by_mu, by_sigma2 = filters_backward(
                    product(spread, tl.trans(tile)),
                    mu_y,
                    sigma2,
                    norm_y,
                    mean_y,
                    square_y,
                    y,
                    layout.H,
                )
                d_y += by_mu
                d_log_sigma2 += by_sigma2
                if image_hat is not None:
                    d_hat = product(tl.trans(F_y), spread)
                    is_error = inside & (s >= C)
                    store_canvas_backward(
                        d_hat, d_canvas, image, image_hat, place, is_error, layout
                    )
            glimpse += product(U, tl.trans(F_x))
            by_mu, by_sigma2 = filters_backward(
                product(tl.trans(Q), U), mu_x, sigma2, norm_x, mean_x, square_x, x, layout.W
            )
            d_x += by_mu
            d_log_sigma2 += by_sigma2
        d_log_scale += tl.sum(Q * glimpse)
        if not READ:
            tl.store(d_patch + s * N * N + cell, glimpse / gamma, mask=is_cell)
    d_log_gamma = d_log_scale if READ else -d_log_scale
    window_backward(params, d_params, d_x, d_y, d_log_sigma2, d_log_gamma, delta, layout, N)


# ---------------------------------------------------------------- pixel by pixel


@triton.jit
@no_type_check
def store_canvas(
    new, canvas, image, image_hat, place, inside, READ: tl.constexpr, layout: tl.constexpr
):
    """Store pixels of the canvas and, if the encoder reads it, of the error image."""
    tl.store(canvas + place, new, mask=inside)
    if READ:
        inside = inside & (place < layout.image)  # the first channels
        pixel = tl.load(image + place, mask=inside, other=0.0)
        error = layout.error_scale * (pixel - mean_of(new, layout.clamped))  # eq. 3
        tl.store(image_hat + place, error, mask=inside)


@triton.jit
@no_type_check
def store_canvas_backward(d_hat, d_canvas, image, image_hat, place, inside, layout: tl.constexpr):
    """Add to the gradient of the canvas through the error image."""
    pixel = tl.load(image + place, mask=inside, other=0.0)
    error = tl.load(image_hat + place, mask=inside, other=0.0)
    mean = pixel - error * (1 / layout.error_scale)
    slope = layout.error_scale * mean_slope(mean, layout.clamped)
    d_c = tl.load(d_canvas + place, mask=inside, other=0.0)
    tl.store(d_canvas + place, d_c - d_hat * slope, mask=inside)


@triton.jit
@no_type_check
def add_to_canvas(last, canvas, image, image_hat, patch, READ: tl.constexpr, layout: tl.constexpr):
    """Compute canvas = last + w (eqs. 8, 18)."""
    for first in range(0, layout.canvas, PIXELS):
        place = first + tl.arange(0, PIXELS)
        inside = place < layout.canvas
        new = tl.load(last + place, mask=inside, other=0.0)
        new += tl.load(patch + place, mask=inside, other=0.0)
        store_canvas(new, canvas, image, image_hat, place, inside, READ, layout)


@triton.jit
@no_type_check
def copy(source, to, SIZE: tl.constexpr):
    for first in range(0, SIZE, PIXELS):
        place = first + tl.arange(0, PIXELS)
        inside = place < SIZE
        tl.store(to + place, tl.load(source + place, mask=inside, other=0.0), mask=inside)


@triton.jit
@no_type_check
def copy_error_image_backward(dr, d_canvas, image, image_hat, layout: tl.constexpr):
    for first in range(0, layout.image, PIXELS):
        place = first + tl.arange(0, PIXELS)
        inside = place < layout.image
        d_hat = tl.load(dr + place, mask=inside, other=0.0)
        store_canvas_backward(d_hat, d_canvas, image, image_hat, place, inside, layout)
