"""Functions of floats that the kernels share; none of them overflows on the way."""

from typing import no_type_check

import triton
import triton.language as tl


@triton.jit
@no_type_check
def sigmoid(x):
    e = tl.exp(-tl.abs(x))
    return tl.where(x < 0, e, 1.0) / (1.0 + e)


@triton.jit
@no_type_check
def mean_of(canvas, CLAMPED: tl.constexpr):
    """The mean picture that a canvas stands for (`mean` of draw.likelihoods)."""
    if CLAMPED:
        line = 0.5 + canvas / 4
        mean = tl.where(line < 0, 0.0, tl.where(line > 1, 1.0, line))  # a nan stays one
    else:
        mean = sigmoid(canvas)
    return mean


@triton.jit
@no_type_check
def mean_slope(mean, CLAMPED: tl.constexpr):
    """What a unit of the canvas adds to its mean picture, where that is `mean`.

    What is cut off is 0 or 1 exactly, after x - (x - mean) too.
    """
    return tl.where((mean > 0) & (mean < 1), 0.25, 0.0) if CLAMPED else mean * (1 - mean)


@triton.jit
@no_type_check
def hyperbolic_tangent(x):
    """Near zero Cephes' polynomial, where the other form would cancel."""
    e = tl.exp(-2.0 * tl.abs(x))
    far = (1.0 - e) / (1.0 + e)
    small = tl.where(tl.abs(x) < 0.625, x, 0.0)
    s = small * small
    p = s * -5.70498872745e-3 + 2.06390887954e-2
    p = p * s - 5.37397155531e-2
    p = p * s + 1.33314422036e-1
    p = p * s - 3.33332819422e-1
    near = small + small * (s * p)
    return tl.where(tl.abs(x) < 0.625, near, tl.where(x < 0, -far, far))


@triton.jit
@no_type_check
def to_tf32(x):
    """Rounded to ten bits of fraction; the tensor cores would cut the others off."""
    bits = x.to(tl.int32, bitcast=True)
    return ((bits + 0x1000) & -0x2000).to(tl.float32, bitcast=True)
