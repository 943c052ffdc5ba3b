"""The 5,000 MNIST digits that are bundled with this package; see `assets/digits5k/README.md`."""

from pathlib import Path

import numpy as np

from draw.data.dataset import Images
from draw.data.download import Source
from draw.data.mnist import grey_digits

FILE = Path(__file__).parents[1] / "assets" / "digits5k" / "digits5k.npz"


def digits5k(split: str, source: Source) -> Images:
    """5,000 MNIST digits with labels, bundled with this package, with dynamic binarisation.

    4,000 / 500 / 500 images; each split has the same number of every digit.
    """
    part = {"train": slice(4_000), "valid": slice(4_000, 4_500), "test": slice(4_500, None)}[split]
    with np.load(FILE) as stored:
        return grey_digits(stored["pixels"][part], stored["labels"][part])
