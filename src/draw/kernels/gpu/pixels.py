"""Update the pixels of the canvas and of the error image, with gradients.

`store_canvas` serves both kinds of writing; the other kernels replace reading and writing through
windows in a network without attention.
"""

from typing import no_type_check

import triton
import triton.language as tl

from draw.kernels.gpu.numbers import mean_of, mean_slope

PIXELS = tl.constexpr(1024)  # per iteration


@triton.jit
@no_type_check
def store_canvas(
    new,
    canvas,
    image,
    image_hat,
    place,
    inside,
    READ: tl.constexpr,
    CLAMPED: tl.constexpr,
    IMAGE: tl.constexpr,
):
    """Store pixels of the canvas and, if the encoder reads it, of the error image.

    The first IMAGE pixels of the canvas correspond to those of the image.
    """
    tl.store(canvas + place, new, mask=inside)
    if READ:
        inside = inside & (place < IMAGE)
        pixel = tl.load(image + place, mask=inside, other=0.0)
        tl.store(image_hat + place, pixel - mean_of(new, CLAMPED), mask=inside)  # eq. 3


@triton.jit
@no_type_check
def store_canvas_backward(d_hat, d_canvas, image, image_hat, place, inside, CLAMPED: tl.constexpr):
    """Add to the gradient of the canvas through x_hat = x - mean(c)."""
    pixel = tl.load(image + place, mask=inside, other=0.0)
    mean = pixel - tl.load(image_hat + place, mask=inside, other=0.0)
    d_c = tl.load(d_canvas + place, mask=inside, other=0.0)
    tl.store(d_canvas + place, d_c - d_hat * mean_slope(mean, CLAMPED), mask=inside)


@triton.jit
@no_type_check
def add_to_canvas(
    last,
    canvas,
    image,
    image_hat,
    patch,
    READ: tl.constexpr,
    CLAMPED: tl.constexpr,
    IMAGE: tl.constexpr,
    SIZE: tl.constexpr,
):
    """Compute canvas = last + w (eqs. 8, 18)."""
    for first in range(0, SIZE, PIXELS):
        place = first + tl.arange(0, PIXELS)
        inside = place < SIZE
        new = tl.load(last + place, mask=inside, other=0.0)
        new += tl.load(patch + place, mask=inside, other=0.0)
        store_canvas(new, canvas, image, image_hat, place, inside, READ, CLAMPED, IMAGE)


@triton.jit
@no_type_check
def add_to_canvas_backward(d_canvas, d_patch, SIZE: tl.constexpr):
    for first in range(0, SIZE, PIXELS):
        place = first + tl.arange(0, PIXELS)
        inside = place < SIZE
        tl.store(d_patch + place, tl.load(d_canvas + place, mask=inside, other=0.0), mask=inside)


@triton.jit
@no_type_check
def copy_error_image(image_hat, r, SIZE: tl.constexpr):
    """Compute r = x_hat (eq. 17); the contribution of x is part of the bias."""
    for first in range(0, SIZE, PIXELS):
        place = first + tl.arange(0, PIXELS)
        inside = place < SIZE
        tl.store(r + place, tl.load(image_hat + place, mask=inside, other=0.0), mask=inside)


@triton.jit
@no_type_check
def copy_error_image_backward(
    dr, d_canvas, image, image_hat, CLAMPED: tl.constexpr, SIZE: tl.constexpr
):
    for first in range(0, SIZE, PIXELS):
        place = first + tl.arange(0, PIXELS)
        d_hat = tl.load(dr + place, mask=place < SIZE, other=0.0)
        store_canvas_backward(d_hat, d_canvas, image, image_hat, place, place < SIZE, CLAMPED)
