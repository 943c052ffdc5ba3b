"""Write to the canvas and read the next glimpse through windows, with gradients.

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
    window,
    window_backward,
)
from draw.kernels.gpu.pixels import (
    add_to_canvas,
    add_to_canvas_backward,
    copy_error_image,
    copy_error_image_backward,
    store_canvas,
    store_canvas_backward,
)


@triton.jit
@no_type_check
def write_and_read(
    image,  # x [B, C, H, W]
    image_hat,  # x - mean(c_t)
    last,  # c_{t-1}
    canvas,  # c_t
    out,  # [B, OUT], from h_dec_t: patch, write window, read window of glimpse t + 1
    r,  # [B, ROW], what glimpse t + 1 reads
    WRITE: tl.constexpr,  # otherwise canvas and error image exist already
    READ: tl.constexpr,
    C: tl.constexpr,  # channels of the image
    K: tl.constexpr,  # channels of the canvas
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
    o = out + b * OUT
    if WRITE:
        if N_WRITE > 0:
            at = o + WRITE_AT
            write_canvas(
                *(before, c, x, x_hat, o, at),
                READ=READ,
                CLAMPED=CLAMPED,
                IMAGE=IMAGE,
                K=K,
                H=H,
                W=W,
                N=N_WRITE,
                P=P_WRITE,
            )
        else:
            add_to_canvas(
                before, c, x, x_hat, o, READ=READ, CLAMPED=CLAMPED, IMAGE=IMAGE, SIZE=SIZE
            )
        tl.debug_barrier()
    if READ:
        if N_READ > 0:
            read_glimpse(x, x_hat, o + READ_AT, r + b * ROW, C=C, H=H, W=W, N=N_READ, P=P_READ)
        else:
            copy_error_image(x_hat, r + b * ROW, SIZE=IMAGE)


@triton.jit
@no_type_check
def write_and_read_backward(
    image,
    image_hat,
    out,
    dr,  # [B, ROW]
    d_canvas,  # of c_t, without the contribution of reading it, which is added
    d_out,  # [B, OUT]
    WRITE: tl.constexpr,
    READ: tl.constexpr,
    C: tl.constexpr,
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
    if READ:
        if N_READ > 0:
            at, d_at = o + READ_AT, d_o + READ_AT
            glimpse_backward(
                *(x, x_hat, dr_b, at, dc, dr_b, d_at),
                READ=True,
                CLAMPED=CLAMPED,
                C=C,
                H=H,
                W=W,
                N=N_READ,
                P=P_READ,
            )
        else:
            copy_error_image_backward(dr_b, dc, x, x_hat, CLAMPED=CLAMPED, SIZE=IMAGE)
        tl.debug_barrier()
    if WRITE:
        if N_WRITE > 0:
            at, d_at = o + WRITE_AT, d_o + WRITE_AT
            glimpse_backward(
                *(dc, dc, o, at, dc, d_o, d_at),
                READ=False,
                CLAMPED=CLAMPED,
                C=K,
                H=H,
                W=W,
                N=N_WRITE,
                P=P_WRITE,
            )
        else:
            add_to_canvas_backward(dc, d_o, SIZE=SIZE)


@triton.jit
@no_type_check
def write_canvas(
    last,
    canvas,
    image,
    image_hat,
    patch,
    params,
    READ: tl.constexpr,
    CLAMPED: tl.constexpr,
    IMAGE: tl.constexpr,
    K: tl.constexpr,
    H: tl.constexpr,
    W: tl.constexpr,
    N: tl.constexpr,
    P: tl.constexpr,
):
    """Compute canvas = last + F_y^T w F_x / gamma, for each channel (eqs. 8, 29)."""
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
                new = tl.load(last + place, mask=inside, other=0.0)
                new += product(tl.trans(filters(mu_y, sigma2, norm_y, y, H)), spread)
                store_canvas(new, canvas, image, image_hat, place, inside, READ, CLAMPED, IMAGE)


@triton.jit
@no_type_check
def read_glimpse(
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
    """Compute r = gamma F_y I F_x^T for each channel of image and error image (eq. 27)."""
    mu_x, mu_y, _, sigma2, gamma = window(params, H, W, N, P)
    norm_x, _, _ = moments(mu_x, sigma2, W)
    norm_y, _, _ = moments(mu_y, sigma2, H)
    cell, is_cell = cells(N, P)
    for s in range(2 * C):
        glimpse = tl.zeros([P, P], tl.float32)
        for x in range(0, W, TILE):
            U = tl.zeros([P, TILE], tl.float32)
            for y in range(0, H, TILE):
                place, inside = pixels(s % C, y, x, H, W)
                tile = tl.load(image + place, mask=inside & (s < C), other=0.0)
                tile += tl.load(image_hat + place, mask=inside & (s >= C), other=0.0)
                U += product(filters(mu_y, sigma2, norm_y, y, H), tile)
            glimpse += product(U, tl.trans(filters(mu_x, sigma2, norm_x, x, W)))
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
    CLAMPED: tl.constexpr,
    C: tl.constexpr,  # channels of the images
    H: tl.constexpr,
    W: tl.constexpr,
    N: tl.constexpr,
    P: tl.constexpr,
):
    """Compute the gradients of `read_glimpse`, or of `write_canvas` if READ is False.

    Both are gradients of sum Q scale F_y I F_x^T over the channels I of the images. To read, Q is
    dr, scale is gamma, and the gradient of the error image is added to the canvas's. To write, Q is
    w, I is d_canvas, scale is 1 / gamma, and the gradient of Q is that of w.
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
        glimpse = tl.zeros([P, P], tl.float32)
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
                    store_canvas_backward(
                        d_hat, d_canvas, image, image_hat, place, is_error, CLAMPED
                    )
            glimpse += product(U, tl.trans(F_x))
            by_mu, by_sigma2 = filters_backward(
                product(tl.trans(Q), U), mu_x, sigma2, norm_x, mean_x, square_x, x, W
            )
            d_x += by_mu
            d_log_sigma2 += by_sigma2
        d_log_scale += tl.sum(Q * glimpse)
        if not READ:
            tl.store(d_patch + s * N * N + cell, glimpse / gamma, mask=is_cell)
    d_log_gamma = d_log_scale if READ else -d_log_scale
    window_backward(params, d_params, d_x, d_y, d_log_sigma2, d_log_gamma, delta, H, W, N, P)
