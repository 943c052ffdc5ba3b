"""Selective attention: a grid of Gaussian filters that moves and zooms (section 3.2, eqs. 19-29).

Pure functions over tensors. The module imports nothing else from this package, so that it can be
reused in another model. `N` is the patch size, `A` the image width, `B` the image height. Pixel
coordinates start at 1, as in the paper: the centre of a 28-pixel row is 14.5.

Note:
    Use float32. Under `torch.autocast`, disable autocast around these functions and pass `.float()`
    parameters and images: in bfloat16, a centre at 61.29 becomes 61.25.
"""

import math
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

MAX_LOG = 40.0  # bound on |log sigma^2|, |log delta~| and |log gamma|


class Window(NamedTuple):
    """Position and shape of the filter grid; all fields have the same shape `[...]`."""

    g_x: Tensor  # centre, pixels; the image spans 1..A
    g_y: Tensor  # centre, pixels; the image spans 1..B
    delta: Tensor  # stride between neighbouring filters, pixels
    sigma2: Tensor  # variance of each filter, pixels squared
    gamma: Tensor  # intensity

    @classmethod
    def from_params(
        cls, params: Float[Tensor, "*batch 5"], height: int, width: int, n: int
    ) -> "Window":
        """Convert the five numbers that a network emits to a window (eqs. 21-24).

        Args:
            params: `(g~_x, g~_y, log sigma^2, log delta~, log gamma)` in the last dimension.
            height, width: the image size in pixels.
            n: the patch size N.

        Note:
            Eq. 24 divides by N - 1. For N = 1, where eq. 19 does not use the stride, it is defined
            as (max(A, B) - 1) delta~.

            The three logarithms are clamped to +-40, so that every result is finite in float32 for
            |g~| up to 10^6. A window that covers any part of an image is far from these limits.

        >>> centred = Window.from_params(torch.zeros(5), height=28, width=28, n=5)
        >>> float(centred.g_x), float(centred.delta)
        (14.5, 6.75)
        """
        g_x, g_y, *logs = params.unbind(-1)  # eq. 21
        log_sigma2, log_delta, log_gamma = (log.clamp(-MAX_LOG, MAX_LOG) for log in logs)
        return cls(
            g_x=(width + 1) / 2 * (g_x + 1),  # eq. 22
            g_y=(height + 1) / 2 * (g_y + 1),  # eq. 23
            delta=(max(height, width) - 1) / max(n - 1, 1) * log_delta.exp(),  # eq. 24
            sigma2=log_sigma2.exp(),
            gamma=log_gamma.exp(),
        )


def filterbank(
    g: Float[Tensor, "*batch"],
    delta: Float[Tensor, "*batch"],
    sigma2: Float[Tensor, "*batch"],
    n: int,
    size: int,
) -> Float[Tensor, "*batch n size"]:
    """Compute the N Gaussian filters along one axis of the image (eqs. 19, 20, 25, 26).

    Each row is a softmax over the pixels, so that it sums to one and has finite gradients even
    where every exponential would underflow (a window far outside the image, or a very sharp one).
    Exponents are relative to the nearest pixel's, in a form that never subtracts two large numbers:
    (a - mu)^2 - (nearest - mu)^2 = d (d + 2 (nearest - mu)) with d = a - nearest.

    Args:
        g, delta, sigma2: centre, stride and variance of the window, in pixels.
        n: the number of filters N.
        size: the number of pixels along the axis.

    >>> F_x = filterbank(torch.tensor(2.0), torch.tensor(1.0), torch.tensor(1e-4), n=3, size=4)
    >>> F_x.round().int().tolist()  # unit stride, sharp: a crop of pixels 1, 2, 3
    [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]]
    """
    i = torch.arange(1, n + 1, dtype=g.dtype, device=g.device)  # [N]
    mu = g[..., None] + delta[..., None] * (i - n / 2 - 0.5)  # [..., N]  eqs. 19, 20
    a = torch.arange(1, size + 1, dtype=g.dtype, device=g.device)  # [A]
    nearest = mu.round().clamp(1, size)
    d = a - nearest[..., None]  # [..., N, A]
    square = d * (d + 2 * (nearest - mu)[..., None])  # (a - mu)^2 - (nearest - mu)^2
    return torch.softmax(-square * (0.5 / sigma2)[..., None, None], dim=-1)  # eqs. 25, 26


def filterbanks(window: Window, height: int, width: int, n: int) -> tuple[Tensor, Tensor]:
    """Compute the filters of both axes: `F_x [..., N, A]` and `F_y [..., N, B]`."""
    F_x = filterbank(window.g_x, window.delta, window.sigma2, n, width)  # eqs. 19, 25
    F_y = filterbank(window.g_y, window.delta, window.sigma2, n, height)  # eqs. 20, 26
    return F_x, F_y


def read(
    image: Float[Tensor, "*batch C H W"], window: Window, n: int
) -> Float[Tensor, "*batch C n n"]:
    """Read an N x N patch through a window, with the same filters for every channel (eq. 27).

    >>> image = torch.arange(16.0).view(1, 1, 4, 4)
    >>> sharp = Window(*(torch.tensor([v]) for v in (2.5, 2.5, 1.0, 1e-4, 1.0)))
    >>> read(image, sharp, n=2).tolist()
    [[[[5.0, 6.0], [9.0, 10.0]]]]
    """
    F_x, F_y = filterbanks(window, image.shape[-2], image.shape[-1], n)
    patch = F_y.unsqueeze(-3) @ image @ F_x.unsqueeze(-3).mT  # [..., C, N, N]
    return window.gamma[..., None, None, None] * patch  # eq. 27


def write(
    patch: Float[Tensor, "*batch C n n"], window: Window, height: int, width: int
) -> Float[Tensor, "*batch C {height} {width}"]:
    """Write a patch to an empty image through a window (eq. 29).

    The filters are those of `read` transposed, and the intensity is inverted.

    >>> sharp = Window(*(torch.tensor([v]) for v in (2.5, 1.5, 1.0, 1e-4, 1.0)))
    >>> write(torch.ones(1, 1, 2, 2), sharp, height=3, width=4).round().int().tolist()
    [[[[0, 1, 1, 0], [0, 1, 1, 0], [0, 0, 0, 0]]]]
    """
    F_x, F_y = filterbanks(window, height, width, patch.shape[-1])
    image = F_y.unsqueeze(-3).mT @ patch @ F_x.unsqueeze(-3)  # [..., C, B, A]
    return image / window.gamma[..., None, None, None]  # eq. 29


def box(window: Window, n: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the extent of the patch in pixels: left, top, right, bottom.

    Each filter covers one stride. Edges fall between pixels: the extent of a whole A x B image is
    (0.5, 0.5, A + 0.5, B + 0.5).

    >>> [float(e) for e in box(Window(*map(torch.tensor, (6.0, 4.0, 1.0, 1.0, 1.0))), n=3)]
    [4.5, 2.5, 7.5, 5.5]
    """
    half = n * window.delta / 2
    return window.g_x - half, window.g_y - half, window.g_x + half, window.g_y + half


def full_image_params(height: int, width: int, n: int, *, for_write: bool) -> Float[Tensor, "5"]:
    """Return the parameters of a window that covers the whole image; training starts from it.

    The N filters, each one stride wide, tile the longer side, and sigma is half a stride, so that
    neighbouring filters overlap and together cover every pixel. With zero parameters and N = 2,
    four filters of sigma 1 would cover only the corner pixels.

    Args:
        height, width: the image size in pixels.
        n: the patch size N.
        for_write: scale the intensity for `write`, so that a patch of ones writes ones on average.
            A write filter spreads one pixel of the patch over many image pixels; with gamma = 1 the
            first strokes would be too faint to learn from.

    Note:
        Both axes share one stride, so on an oblong image the filters beyond the shorter side
        accumulate at its edges.

    >>> window = Window.from_params(full_image_params(28, 28, 2, for_write=True), 28, 28, 2)
    >>> [round(float(edge), 4) for edge in box(window, 2)]
    [0.5, 0.5, 28.5, 28.5]
    >>> float(write(torch.ones(1, 2, 2), window, 28, 28).mean().round(decimals=3))
    1.0
    """
    size = max(height, width)
    delta = size / n
    log_sigma2 = 2 * math.log(delta / 2)
    log_delta = math.log(delta * max(n - 1, 1) / (size - 1))  # eq. 24 inverted
    log_gamma = math.log(n**2 / (height * width)) if for_write else 0.0
    return torch.tensor([0.0, 0.0, log_sigma2, log_delta, log_gamma])
