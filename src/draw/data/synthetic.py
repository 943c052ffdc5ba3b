"""Pictures made of others on their way to the network: cluttered digits, pairs of digits, crops."""

from dataclasses import dataclass, field
from pathlib import Path

import torch
from jaxtyping import Int, UInt8
from torch import Generator, Tensor

from draw.data.download import Progress
from draw.data.images import Images
from draw.data.mnist import mnist

PIECE = 8  # side of a piece of clutter, pixels
SEEDS = {"valid": 1, "test": 2}  # of the pictures that are made once and for all


@dataclass(frozen=True)
class Cluttered:
    """A digit at a random place among pieces of other digits (Mnih et al. 2014).

    Each piece is a random 8 x 8 crop of a random digit, at a random place; where they meet, they
    are added and clipped at 1.

    >>> digits = torch.full((5, 1, 28, 28), 60, dtype=torch.uint8)
    >>> made = Cluttered(digits, size=100, pieces=8)(digits, Generator().manual_seed(0))
    >>> made.shape, int(made.long().sum((2, 3)).max()) <= 60 * (28**2 + 8 * 8**2)
    (torch.Size([5, 1, 100, 100]), True)
    """

    digits: UInt8[Tensor, "n 1 h w"] = field(repr=False)  # whose pieces are the clutter
    size: int  # of the square picture, pixels
    pieces: int

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        return 1, self.size, self.size

    def __call__(
        self, pixels: UInt8[Tensor, "B 1 h w"], generator: Generator | None
    ) -> UInt8[Tensor, "B 1 {self.size} {self.size}"]:
        """Each of these digits in a clutter of its own."""
        count = len(pixels), self.pieces
        others = torch.randint(len(self.digits), count, generator=generator)
        crop = RandomCrop((1, PIECE, PIECE))
        crops = crop(self.digits[others.flatten()], generator).view(*count, PIECE, PIECE)
        painted = _scattered(pixels, self.size, generator) + _scattered(crops, self.size, generator)
        return painted.clamp(max=255).to(torch.uint8).unsqueeze(1)


@dataclass(frozen=True)
class Pair:
    """A digit and a random other one, each at a random place; added and clipped at 1 (4.3)."""

    digits: UInt8[Tensor, "n 1 h w"] = field(repr=False)  # the second is one of these
    size: int  # of the square picture, pixels

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        return 1, self.size, self.size

    def __call__(
        self, pixels: UInt8[Tensor, "B 1 h w"], generator: Generator | None
    ) -> UInt8[Tensor, "B 1 {self.size} {self.size}"]:
        """Each of these digits with a companion."""
        others = torch.randint(len(self.digits), (len(pixels),), generator=generator)
        both = torch.cat([pixels, self.digits[others]], dim=1)  # [B, 2, h, w]
        return _scattered(both, self.size, generator).clamp(max=255).to(torch.uint8).unsqueeze(1)


@dataclass(frozen=True)
class RandomCrop:
    """A part of each picture, of one size, from a random place; every place is as likely (4.4).

    >>> pictures = torch.arange(2 * 3 * 64 * 64).byte().view(2, 3, 64, 64)
    >>> RandomCrop((3, 54, 54))(pictures, Generator().manual_seed(0)).shape
    torch.Size([2, 3, 54, 54])
    """

    shape: tuple[int, int, int]  # (C, H, W) of the part

    def __call__(
        self, pixels: UInt8[Tensor, "B C h w"], generator: Generator | None
    ) -> UInt8[Tensor, "B C {self.shape[1]} {self.shape[2]}"]:
        """A part of each of these pictures."""
        B, _, h, w = pixels.shape
        _, H, W = self.shape
        top = torch.randint(h - H + 1, (B,), generator=generator)
        left = torch.randint(w - W + 1, (B,), generator=generator)
        parts = pixels.unfold(2, H, 1).unfold(3, W, 1)  # [B, C, h - H + 1, w - W + 1, H, W]
        return parts[torch.arange(B), :, top, left]


def _scattered(
    pieces: UInt8[Tensor, "B k h w"], size: int, generator: Generator | None
) -> Int[Tensor, "B {size} {size}"]:
    """The pieces of each row laid onto one picture at random places, where they add up."""
    B, k, h, w = pieces.shape
    top = torch.randint(size - h + 1, (B, k, 1, 1), generator=generator)
    left = torch.randint(size - w + 1, (B, k, 1, 1), generator=generator)
    places = (top + torch.arange(h)[:, None]) * size + left + torch.arange(w)  # [B, k, h, w]
    picture = torch.zeros(B, size * size, dtype=torch.int32)
    picture.scatter_add_(1, places.flatten(1), pieces.flatten(1).int())
    return picture.view(B, size, size)


def cluttered_100(
    split: str, data_dir: Path | None = None, progress: Progress | None = None, fetch: bool = True
) -> Images:
    """MNIST digits on 100 x 100 pixels among 8 pieces of others, with labels (table 1)."""
    return _cluttered(mnist(split, data_dir, progress, fetch), split, size=100, pieces=8)


def cluttered_60(
    split: str, data_dir: Path | None = None, progress: Progress | None = None, fetch: bool = True
) -> Images:
    """MNIST digits on 60 x 60 pixels among 4 pieces of others, with labels."""
    return _cluttered(mnist(split, data_dir, progress, fetch), split, size=60, pieces=4)


def two_digits(
    split: str, data_dir: Path | None = None, progress: Progress | None = None, fetch: bool = True
) -> Images:
    """Two MNIST digits on 60 x 60 pixels, binarised afresh at each use (section 4.3)."""
    digits = mnist(split, data_dir, progress, fetch)
    pair = Pair(digits.pixels, size=60)
    images = Images(pixels=digits.pixels, binarisation="dynamic", composition=pair)
    return _as_split(images, split)


def _cluttered(digits: Images, split: str, *, size: int, pieces: int) -> Images:
    clutter = Cluttered(digits.pixels, size=size, pieces=pieces)
    images = Images(pixels=digits.pixels, labels=digits.labels, composition=clutter)
    return _as_split(images, split)


def _as_split(images: Images, split: str) -> Images:
    """Training pictures are made afresh at each use, the others once and for all."""
    return images if split == "train" else images.composed(SEEDS[split])
