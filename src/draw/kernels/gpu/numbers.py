"""Functions of floats that the kernels share; no intermediate value overflows."""

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
    """Compute the mean image of a canvas (`mean` in draw.likelihoods)."""
    if CLAMPED:
        linear = 0.5 + canvas / 4
        mean = tl.where(linear < 0, 0.0, tl.where(linear > 1, 1.0, linear))  # NaN stays NaN
    else:
        mean = sigmoid(canvas)
    return mean


@triton.jit
@no_type_check
def mean_slope(mean, CLAMPED: tl.constexpr):
    """Compute the derivative of the mean image with respect to the canvas, from the mean.

    A clamped mean is exactly 0 or 1, even after x - (x - mean).
    """
    return tl.where((mean > 0) & (mean < 1), 0.25, 0.0) if CLAMPED else mean * (1 - mean)


@triton.jit
@no_type_check
def hyperbolic_tangent(x):
    """Compute tanh, near zero by Cephes' polynomial, where the other form would cancel."""
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
    """Round to ten fraction bits; tensor cores would truncate."""
    bits = x.to(tl.int32, bitcast=True)
    return ((bits + 0x1000) & -0x2000).to(tl.float32, bitcast=True)
