"""A set of pictures, in memory or mapped into it, and how a batch of it becomes network input."""

import hashlib
from dataclasses import dataclass, replace
from typing import Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int, UInt8
from torch import Generator, Tensor

from draw.seeding import generator as seeded

Binarisation = Literal["static", "dynamic", "none"]
COMPARED = 20_000  # pictures that are composed to be compared with
CHUNK = 1_000  # pictures that are composed or hashed at a time


@runtime_checkable
class Composition(Protocol):
    """Makes what a network sees from stored pictures, afresh at each use: a crop, a clutter.

    Its `repr` tells everything that its pictures depend on, but for the stored ones.
    """

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of what it makes."""

    def __call__(
        self, pixels: UInt8[Tensor, "B C h w"], generator: Generator | None
    ) -> UInt8[Tensor, "B C H W"]:
        """What is seen of these pictures this time; `generator` decides."""


@dataclass(frozen=True, kw_only=True)
class Images:
    """One split of a data set.

    `binarisation` says what a batch holds: `static` pixels are 0 or 1 once and for all;
    `dynamic` pixels are drawn afresh at each use, with the intensity as the probability of a 1;
    `none` are the intensities themselves, in [0, 1].

    With a `composition` each use of a picture makes another one of it, of another size.

    >>> images = Images(pixels=torch.full((4, 1, 8, 8), 255, dtype=torch.uint8))
    >>> images.batch(torch.tensor([0, 2])).shape, len(images)
    (torch.Size([2, 1, 8, 8]), 4)
    """

    pixels: UInt8[Tensor, "n C H W"]
    labels: Int[Tensor, " n"] | None = None
    binarisation: Binarisation = "none"
    composition: Composition | None = None
    note: str = ""  # what every figure measured on them must tell
    known_digest: str | None = None  # what `digest` gives, where it was computed before

    def __len__(self) -> int:
        return len(self.pixels)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of a batch."""
        if self.composition is not None:
            return self.composition.shape
        C, H, W = self.pixels.shape[1:]
        return C, H, W

    def batch(
        self, indices: Int[Tensor, " B"], generator: Generator | None = None
    ) -> Float[Tensor, "B C H W"]:
        """The chosen pictures in [0, 1]; `generator` decides composition and binarisation."""
        pixels = self.pixels[indices]
        if self.composition is not None:
            pixels = self.composition(pixels, generator)
        intensities = pixels.float() / 255  # [B, C, H, W]
        if self.binarisation == "dynamic":
            return torch.bernoulli(intensities, generator=generator)
        return intensities

    def digest(self) -> str:
        """SHA-256: two sets with the same digest hold the same pictures in the same order."""
        if self.known_digest is not None:
            return self.known_digest
        about = str(tuple(self.pixels.shape))
        if self.composition is not None:
            about += repr(self.composition)
        if self.labels is not None:
            about += str(self.labels.tolist())
        digest = hashlib.sha256(about.encode())
        for part in torch.split(self.pixels, CHUNK):
            digest.update(part.contiguous().numpy().data)
        return digest.hexdigest()

    def composed(self, seed: int) -> "Images":
        """Each picture as its composition makes it once; always the same for a seed.

        >>> from draw.data.synthetic import Cluttered
        >>> digits = torch.full((5, 1, 28, 28), 255, dtype=torch.uint8)
        >>> afresh = Images(pixels=digits, composition=Cluttered(digits, size=60, pieces=4))
        >>> afresh.composed(seed=0).pixels.shape
        torch.Size([5, 1, 60, 60])
        """
        if self.composition is None:
            return self
        generator = Generator().manual_seed(seed)
        parts = [self.composition(part, generator) for part in torch.split(self.pixels, CHUNK)]
        return replace(self, pixels=torch.cat(parts), composition=None, known_digest=None)

    def pictures(self) -> UInt8[Tensor, "m C H W"]:
        """Pictures to compare others with: all, or of what is composed 20,000."""
        if self.composition is None:
            return self.pixels
        return replace(self, pixels=self.pixels[:COMPARED]).composed(seed=0).pixels

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
        return replace(self, pixels=self.pixels[chosen], labels=labels, known_digest=None)


class Batches:
    """The minibatches of a training by step: every image once an epoch, in an order of its own.

    Each is the images [B, C, H, W] and their labels [B], which are -1 where there are none.
    """

    def __init__(self, images: Images, batch_size: int, seed: int) -> None:
        self.images, self.batch_size, self.seed = images, batch_size, seed
        self._order: tuple[int, Tensor] | None = None  # the last epoch asked for

    def __getitem__(self, step: int) -> tuple[Tensor, Tensor]:
        n = len(self.images)
        places = torch.arange(step * self.batch_size, (step + 1) * self.batch_size)
        epochs = range(int(places[0]) // n, int(places[-1]) // n + 1)
        indices = torch.cat([self._permutation(e)[places[places // n == e] % n] for e in epochs])
        x = self.images.batch(indices, seeded(self.seed, "binarisation", step))
        labels = self.images.labels
        return x, torch.full_like(indices, -1) if labels is None else labels[indices]

    def _permutation(self, epoch: int) -> Tensor:
        if self._order is None or self._order[0] != epoch:
            order = seeded(self.seed, "order", epoch)
            self._order = epoch, torch.randperm(len(self.images), generator=order)
        return self._order[1]
