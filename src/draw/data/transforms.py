"""Random transforms from stored images to network input: clutter, pairs of digits, crops."""

from dataclasses import dataclass

import torch
from jaxtyping import Int, Shaped, UInt8
from torch import Generator, Tensor
from torch.nn.functional import pad

PIECE = 8  # side of a piece of clutter, pixels


@dataclass(frozen=True)
class _DigitTransform:
    """Add several digits, or pieces of digits, on an empty square."""

    digits: UInt8[Tensor, "n 1 h w"]  # from which the additional digits or pieces are drawn
    size: int  # side of the result, pixels

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of the result."""
        return 1, self.size, self.size


@dataclass(frozen=True)
class Cluttered(_DigitTransform):
    """Put each digit at a random place among pieces of other digits (Mnih et al. 2014).

    A piece is a random 8 x 8 crop of a random digit. Overlapping intensities are added and clipped
    at 255.

    >>> digits = torch.full((5, 1, 28, 28), 60, dtype=torch.uint8)
    >>> cluttered = Cluttered(digits, size=100, pieces=8)(digits, Generator().manual_seed(0))
    >>> cluttered.shape, int(cluttered.long().sum((2, 3)).max()) <= 60 * (28**2 + 8 * 8**2)
    (torch.Size([5, 1, 100, 100]), True)
    """

    pieces: int

    def __call__(
        self, pixels: UInt8[Tensor, "B 1 h w"], generator: Generator | None
    ) -> UInt8[Tensor, "B 1 {self.size} {self.size}"]:
        """Clutter a batch of digits."""
        count = len(pixels), self.pieces
        others = torch.randint(len(self.digits), count, generator=generator)
        crop = RandomCrop((1, PIECE, PIECE))
        crops = crop(self.digits[others.flatten()], generator).view(*count, PIECE, PIECE)
        total = _scatter(pixels, self.size, generator) + _scatter(crops, self.size, generator)
        return total.clamp(max=255).to(torch.uint8).unsqueeze(1)


@dataclass(frozen=True)
class Pair(_DigitTransform):
    """Add each digit and another random one at random places, clipped at 255 (section 4.3)."""

    def __call__(
        self, pixels: UInt8[Tensor, "B 1 h w"], generator: Generator | None
    ) -> UInt8[Tensor, "B 1 {self.size} {self.size}"]:
        """Pair each digit of a batch with another."""
        others = torch.randint(len(self.digits), (len(pixels),), generator=generator)
        both = torch.cat([pixels, self.digits[others]], dim=1)  # [B, 2, h, w]
        return _scatter(both, self.size, generator).clamp(max=255).to(torch.uint8).unsqueeze(1)


@dataclass(frozen=True)
class RandomCrop:
    """Crop each image at a place drawn uniformly (section 4.4).

    >>> images = torch.arange(2 * 3 * 64 * 64).byte().view(2, 3, 64, 64)
    >>> RandomCrop((3, 54, 54))(images, Generator().manual_seed(0)).shape
    torch.Size([2, 3, 54, 54])
    """

    shape: tuple[int, int, int]  # (C, H, W) of the crop

    def __call__(
        self, pixels: Shaped[Tensor, "B C h w"], generator: Generator | None
    ) -> Shaped[Tensor, "B C {self.shape[1]} {self.shape[2]}"]:
        """Crop a batch of images."""
        B, _, h, w = pixels.shape
        _, H, W = self.shape
        top = torch.randint(h - H + 1, (B,), generator=generator)
        left = torch.randint(w - W + 1, (B,), generator=generator)
        parts = pixels.unfold(2, H, 1).unfold(3, W, 1)  # [B, C, h - H + 1, w - W + 1, H, W]
        return parts[torch.arange(B), :, top, left]


@dataclass(frozen=True)
class RandomMirror:
    """Flip each image left to right with probability 1/2.

    >>> images = torch.arange(3, dtype=torch.uint8).expand(100, 1, 1, 3)
    >>> mirrored = RandomMirror((1, 1, 3))(images, Generator().manual_seed(0))
    >>> mirrored.unique(dim=0).flatten(1).tolist()
    [[0, 1, 2], [2, 1, 0]]
    """

    shape: tuple[int, int, int]  # (C, H, W)

    def __call__(
        self, pixels: UInt8[Tensor, "B C H W"], generator: Generator | None
    ) -> UInt8[Tensor, "B C H W"]:
        """Flip some images of a batch."""
        is_flipped = torch.rand(len(pixels), generator=generator) < 0.5
        return torch.where(is_flipped[:, None, None, None], pixels.flip(-1), pixels)


def random_shift(
    images: Shaped[Tensor, "B C H W"], max_shift: int, generator: Generator | None
) -> Shaped[Tensor, "B C H W"]:
    """Shift each image by up to `max_shift` pixels along each axis, and repeat its edge pixels.

    >>> images = torch.zeros(200, 1, 4, 5)
    >>> images[:, :, 1, 2] = 1
    >>> random_shift(images, 1, Generator().manual_seed(0)).amax(0)
    tensor([[[0., 1., 1., 1., 0.],
             [0., 1., 1., 1., 0.],
             [0., 1., 1., 1., 0.],
             [0., 0., 0., 0., 0.]]])
    """
    _, C, H, W = images.shape
    padded = pad(images, (max_shift,) * 4, mode="replicate")
    return RandomCrop((C, H, W))(padded, generator)


def _scatter(
    pieces: UInt8[Tensor, "B k h w"], size: int, generator: Generator | None
) -> Int[Tensor, "B {size} {size}"]:
    """Add the k pieces of each row to an empty image, at random places."""
    B, k, h, w = pieces.shape
    top = torch.randint(size - h + 1, (B, k, 1, 1), generator=generator)
    left = torch.randint(size - w + 1, (B, k, 1, 1), generator=generator)
    places = (top + torch.arange(h)[:, None]) * size + left + torch.arange(w)  # [B, k, h, w]
    total = torch.zeros(B, size * size, dtype=torch.int32)
    total.scatter_add_(1, places.flatten(1), pieces.flatten(1).int())
    return total.view(B, size, size)
