"""Data sets composed of MNIST digits: cluttered digits and pairs of digits."""

from draw.data.dataset import Images
from draw.data.download import Source
from draw.data.mnist import mnist
from draw.data.transforms import Cluttered, Pair

SEEDS = {"valid": 1, "test": 2}  # seeds of the fixed validation and test images


def cluttered_100(split: str, source: Source) -> Images:
    """MNIST digits on 100 x 100 pixels among 8 pieces of other digits, with labels (table 1)."""
    return _cluttered(split, source, size=100, pieces=8)


def cluttered_60(split: str, source: Source) -> Images:
    """MNIST digits on 60 x 60 pixels among 4 pieces of other digits, with labels."""
    return _cluttered(split, source, size=60, pieces=4)


def two_digits(split: str, source: Source) -> Images:
    """Two MNIST digits on 60 x 60 pixels, with dynamic binarisation (section 4.3)."""
    pixels = mnist(split, source).pixels
    pairs = Images(pixels=pixels, binarisation="dynamic", transform=Pair(pixels, size=60))
    return _as_split(pairs, split)


def _cluttered(split: str, source: Source, *, size: int, pieces: int) -> Images:
    digits = mnist(split, source)
    clutter = Cluttered(digits.pixels, size=size, pieces=pieces)
    return _as_split(Images(pixels=digits.pixels, labels=digits.labels, transform=clutter), split)


def _as_split(images: Images, split: str) -> Images:
    """Transform validation and test images once, and training images whenever they are used."""
    return images.transformed(SEEDS[split]) if split in SEEDS else images
