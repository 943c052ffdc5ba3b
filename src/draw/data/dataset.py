"""A set of images, in memory or memory-mapped, and the minibatches drawn from it."""

import hashlib
import math
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol, get_args, runtime_checkable

import torch
from jaxtyping import Float, Int, UInt8
from torch import Generator, Tensor

from draw.errors import ConfigError, DataError
from draw.inputs import INTEGERS, value_range
from draw.seeding import generator as seeded_generator

Binarisation = Literal["static", "dynamic", "none"]
MAX_REFERENCE_IMAGES = 20_000  # transformed images in which to find nearest neighbours
CHUNK_IMAGES = 1_000  # images transformed or hashed at a time


@runtime_checkable
class Transform(Protocol):
    """A random transform from stored images to network input, such as a crop or added clutter.

    `Images.digest` hashes the class name and the attributes, so these must determine the transform.
    """

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of the result."""

    def __call__(
        self, pixels: UInt8[Tensor, "B C h w"], generator: Generator | None
    ) -> UInt8[Tensor, "B C H W"]:
        """Transform a batch of images; all randomness comes from `generator`."""


@dataclass(frozen=True, kw_only=True)
class Images:
    """One split of a data set.

    The `binarisation` is `static` if the stored pixels are 0 or 255, `dynamic` if every batch
    samples binary pixels with the intensities as probabilities, or `none` if batches hold the
    intensities, in [0, 1]. The `transform` is applied to every batch, with new random numbers.

    Raises:
        DataError: if the pixels are not uint8 or not [n, C, H, W], or if the labels are not
            integers [n].
        ConfigError: if the binarisation is unknown.

    >>> images = Images(pixels=torch.full((4, 1, 8, 8), 255, dtype=torch.uint8))
    >>> images.batch(torch.tensor([0, 2])).shape, len(images)
    (torch.Size([2, 1, 8, 8]), 4)
    >>> images
    Images(4 images [1, 8, 8], without labels, binarisation 'none')
    """

    pixels: UInt8[Tensor, "n C H W"]
    labels: Int[Tensor, " n"] | None = None
    binarisation: Binarisation = "none"
    transform: Transform | None = None
    known_digest: str | None = None  # the result of `digest`, if already computed

    def __post_init__(self) -> None:
        pixels, labels = self.pixels, self.labels
        if not isinstance(pixels, Tensor) or pixels.dtype != torch.uint8:
            raise DataError(_describe_pixels(pixels))
        if pixels.dim() != 4:
            raise DataError(f"the pixels have shape {tuple(pixels.shape)}; it must be (n, C, H, W)")
        if labels is not None and (
            not isinstance(labels, Tensor)
            or labels.dtype not in INTEGERS
            or tuple(labels.shape) != (len(pixels),)
        ):
            given = f"dtype {_dtype(labels)} and shape {tuple(getattr(labels, 'shape', ()))}"
            raise DataError(
                f"the labels have {given}; for {len(pixels)} images they must be a tensor of "
                f"{len(pixels)} integers"
            )
        if self.binarisation not in get_args(Binarisation):
            raise ConfigError(
                f"binarisation is {self.binarisation!r}; it must be one of "
                f"{', '.join(get_args(Binarisation))}"
            )

    def __len__(self) -> int:
        return len(self.pixels)

    def __repr__(self) -> str:
        labels = "with" if self.labels is not None else "without"
        return (
            f"Images({len(self)} images {[*self.shape]}, {labels} labels, "
            f"binarisation {self.binarisation!r})"
        )

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of the images in a batch."""
        if self.transform is not None:
            return self.transform.shape
        C, H, W = self.pixels.shape[1:]
        return C, H, W

    def check_usable(self) -> None:
        """Check for mistakes that training and evaluation would not notice.

        Raises:
            DataError: if there are no images, or the pixels are 0 and 1 instead of 0 and 255.
        """
        if not len(self):
            raise DataError("there are no images; pass at least one")
        if int(self.pixels[:CHUNK_IMAGES].max()) == 1:
            raise DataError(
                "the pixels of the images range from 0 to 1; they must be from 0 to 255: pass "
                "255 * pixels"
            )

    def batch(
        self, indices: Int[Tensor, " B"], generator: Generator | None = None
    ) -> Float[Tensor, "B C H W"]:
        """Return images in [0, 1]; `generator` is for the transform and the binarisation."""
        pixels = self.pixels[indices]
        if self.transform is not None:
            pixels = self.transform(pixels, generator)
        intensities = pixels.float() / 255  # [B, C, H, W]
        if self.binarisation == "dynamic":
            return torch.bernoulli(intensities, generator=generator)
        return intensities

    def digest(self) -> str:
        """Compute a SHA-256 of the shape, the transform, the labels and the pixels."""
        if self.known_digest is not None:
            return self.known_digest
        digest = hashlib.sha256(str(tuple(self.pixels.shape)).encode())
        if self.transform is not None:
            digest.update(type(self.transform).__name__.encode())
            for name, value in vars(self.transform).items():
                _update(digest, name, value)
        if self.labels is not None:
            digest.update(str(self.labels.tolist()).encode())
        for part in torch.split(self.pixels, CHUNK_IMAGES):
            digest.update(part.contiguous().numpy().data)
        return digest.hexdigest()

    def transformed(self, seed: int) -> "Images":
        """Apply the transform once to every image, with random numbers from a seed.

        >>> from draw.data.synthetic import Cluttered
        >>> digits = torch.full((5, 1, 28, 28), 255, dtype=torch.uint8)
        >>> images = Images(pixels=digits, transform=Cluttered(digits, size=60, pieces=4))
        >>> images.transformed(seed=0).pixels.shape
        torch.Size([5, 1, 60, 60])
        """
        if self.transform is None:
            return self
        generator = Generator().manual_seed(seed)
        parts = torch.split(self.pixels, CHUNK_IMAGES)
        pixels = torch.cat([self.transform(part, generator) for part in parts])
        return replace(self, pixels=pixels, transform=None, known_digest=None)

    def reference_pixels(self) -> UInt8[Tensor, "m C H W"]:
        """Return pixels in which to find nearest neighbours: all, or 20,000 transformed images."""
        if self.transform is None:
            return self.pixels
        pixels = self.pixels[:MAX_REFERENCE_IMAGES]
        return replace(self, pixels=pixels, labels=None).transformed(seed=0).pixels

    def first(self, count: int) -> Float[Tensor, "B C H W"]:
        """Return the first `count` images as a batch, or all if there are fewer."""
        indices = torch.arange(min(count, len(self)))
        return self.batch(indices, Generator().manual_seed(0))

    def subset(self, count: int, seed: int = 0) -> "Images":
        """Select `count` images at random, or all if there are fewer.

        Data files may be sorted by class, so the first images would not be representative.
        """
        if count >= len(self):
            return self
        chosen = torch.randperm(len(self), generator=Generator().manual_seed(seed))[:count]
        labels = None if self.labels is None else self.labels[chosen]
        return replace(self, pixels=self.pixels[chosen], labels=labels, known_digest=None)

    def join(self, other: "Images") -> "Images":
        """Append images of the same kind, without a transform; copies them into memory."""
        labels = None
        if self.labels is not None and other.labels is not None:
            labels = torch.cat([self.labels, other.labels])
        pixels = torch.cat([self.pixels, other.pixels])
        return replace(self, pixels=pixels, labels=labels, known_digest=None)


class Batches:
    """The minibatches of a run, by step. Each epoch visits every image once, in a new order.

    A minibatch contains images [B, C, H, W] and labels [B], which are -1 if there are none.
    """

    def __init__(self, images: Images, batch_size: int, seed: int) -> None:
        self.images, self.batch_size, self.seed = images, batch_size, seed
        self._order: tuple[int, Tensor] | None = None  # the latest epoch and its permutation

    def __getitem__(self, step: int) -> tuple[Tensor, Tensor]:
        n = len(self.images)
        places = torch.arange(step * self.batch_size, (step + 1) * self.batch_size)
        epochs = range(int(places[0]) // n, int(places[-1]) // n + 1)
        indices = torch.cat([self._permutation(e)[places[places // n == e] % n] for e in epochs])
        x = self.images.batch(indices, seeded_generator(self.seed, "binarisation", step))
        labels = self.images.labels
        return x, torch.full_like(indices, -1) if labels is None else labels[indices]

    def _permutation(self, epoch: int) -> Tensor:
        if self._order is None or self._order[0] != epoch:
            order = seeded_generator(self.seed, "order", epoch)
            self._order = epoch, torch.randperm(len(self.images), generator=order)
        return self._order[1]


def _describe_pixels(pixels: Any) -> str:
    """Return the error message for pixels that are not a uint8 tensor."""
    fix, scale, given = "pixels", "", _dtype(pixels)
    if not isinstance(pixels, Tensor):
        fix, given = "torch.as_tensor(pixels)", f"{given} ({type(pixels).__name__})"
        pixels = torch.as_tensor(pixels)
    low, high = value_range(pixels) or (0, 255)
    if math.isnan(low):
        return (
            f"the pixels have dtype {given} and contain NaN; they must be a uint8 tensor from 0 to "
            f"255: remove the images with NaN, or replace it with torch.nan_to_num"
        )
    if low >= 0 and high <= 1 and pixels.dtype != torch.uint8:
        fix = f"(255 * {fix}).round()"
    elif low < 0 or high > 255:
        scale = "scale them to that range and "
    return (
        f"the pixels have dtype {given} and range {low:.4g} to {high:.4g}; they must be a uint8 "
        f"tensor from 0 to 255: {scale}pass {fix}.to(torch.uint8)"
    )


def _dtype(value: Any) -> str:
    return str(getattr(value, "dtype", type(value).__name__)).removeprefix("torch.")


def _update(digest: Any, name: str, value: Any) -> None:
    """Hash an attribute: its name and value, or for a tensor its name, shape and values."""
    if isinstance(value, Tensor):
        digest.update(f"{name}{tuple(value.shape)}".encode())
        digest.update(value.contiguous().numpy().data)
    else:
        digest.update(f"{name}={value}".encode())
