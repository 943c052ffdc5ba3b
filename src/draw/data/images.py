"""A set of pictures in memory, and how a batch of it becomes network input."""

import hashlib
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int, UInt8
from torch import Generator, Tensor

Binarisation = Literal["static", "dynamic", "none"]


@dataclass(frozen=True, kw_only=True)
class Images:
    """One split of a data set.

    `binarisation` says what a batch holds: `static` pixels are 0 or 1 once and for all;
    `dynamic` pixels are drawn afresh at each use, with the intensity as the probability of a 1;
    `none` are the intensities themselves, in [0, 1].

    >>> images = Images(pixels=torch.full((4, 1, 8, 8), 255, dtype=torch.uint8))
    >>> images.batch(torch.tensor([0, 2])).shape, len(images)
    (torch.Size([2, 1, 8, 8]), 4)
    """

    pixels: UInt8[Tensor, "n C H W"]
    labels: Int[Tensor, " n"] | None = None
    binarisation: Binarisation = "none"

    def __len__(self) -> int:
        return len(self.pixels)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        C, H, W = self.pixels.shape[1:]
        return C, H, W

    def batch(
        self, indices: Int[Tensor, " B"], generator: Generator | None = None
    ) -> Float[Tensor, "B C H W"]:
        """The chosen pictures in [0, 1]; `generator` decides a dynamic binarisation."""
        intensities = self.pixels[indices].float() / 255  # [B, C, H, W]
        if self.binarisation == "dynamic":
            return torch.bernoulli(intensities, generator=generator)
        return intensities

    def digest(self) -> str:
        """SHA-256 of the pixels: two sets with the same digest are the same pictures in order."""
        shape = str(tuple(self.pixels.shape)).encode()
        return hashlib.sha256(shape + self.pixels.numpy().tobytes()).hexdigest()

    def first(self, count: int, seed: int = 0) -> Float[Tensor, "B C H W"]:
        """The first `count` pictures (or all, if fewer); always the same ones for a seed."""
        indices = torch.arange(min(count, len(self)))
        return self.batch(indices, torch.Generator().manual_seed(seed))

    def subset(self, count: int, seed: int = 0) -> "Images":
        """`count` pictures chosen at random, the same ones for a seed; all, if there are fewer.

        Data files may come sorted by class, so the first ones are no fair sample.
        """
        if count >= len(self):
            return self
        chosen = torch.randperm(len(self), generator=torch.Generator().manual_seed(seed))[:count]
        labels = None if self.labels is None else self.labels[chosen]
        return Images(pixels=self.pixels[chosen], labels=labels, binarisation=self.binarisation)
