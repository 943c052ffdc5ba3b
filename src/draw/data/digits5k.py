"""The 5,000 digits of MNIST that are part of this package; see `assets/digits5k/README.md`."""

from pathlib import Path

import numpy as np

from draw.data.dataset import Images
from draw.data.download import Source
from draw.data.mnist import grey_digits

FILE = Path(__file__).parents[1] / "assets" / "digits5k" / "digits5k.npz"


def digits5k(split: str, source: Source) -> Images:
    """5,000 digits of MNIST with labels, installed with this package, with dynamic binarisation.

    4,000 / 500 / 500 images, with equally many of each digit in each split.
    """
    part = {"train": slice(4_000), "valid": slice(4_000, 4_500), "test": slice(4_500, None)}[split]
    with np.load(FILE) as stored:
        return grey_digits(stored["pixels"][part], stored["labels"][part])
