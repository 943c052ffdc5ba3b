"""The data sets, by name.

Files are looked up in the given folder, then in `$DRAW_DATA`, then in the user's cache; missing
ones are downloaded into the cache. Every file is compared with its published SHA-256, except SVHN's
archives of house numbers, for which none was published.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from draw.data import (
    binarized_mnist,
    cifar,
    digits5k,
    folder,
    mnist,
    omniglot,
    svhn,
    synthetic,
)
from draw.data.dataset import Batches, Images, Transform
from draw.data.download import Progress, Source
from draw.data.picture_files import load_picture
from draw.errors import DataError
from draw.storage.files import expand_user

__all__ = [
    "DATASETS",
    "SPLITS",
    "TRAIN_AND_VALID",
    "Batches",
    "Images",
    "Transform",
    "load",
    "load_picture",
]

SPLITS = ("train", "valid", "test")
TRAIN_AND_VALID = "train+valid"  # both as one split, for a final run without validation images

DATASETS: dict[str, Callable[..., Images]] = {
    "digits5k": digits5k.digits5k,
    "binarized-mnist": binarized_mnist.binarized_mnist,
    "mnist": mnist.mnist,
    "omniglot": omniglot.omniglot,
    "cluttered-100": synthetic.cluttered_100,
    "cluttered-60": synthetic.cluttered_60,
    "two-digits": synthetic.two_digits,
    "cifar10": cifar.cifar10,
    "svhn": svhn.svhn,
    "svhn-cropped": svhn.svhn_cropped,
    "folder": folder.folder,
}
# These data sets implement the split `train+valid`, because their training images are transformed.
TRANSFORMED = {"mnist", "cluttered-100", "cluttered-60", "two-digits", "svhn"}


def load(
    name: str,
    split: str,
    *,
    shape: tuple[int, int, int] | None = None,
    data_dir: Path | None = None,
    progress: Progress | None = None,
    fetch: bool = True,
) -> Images:
    """Load one split of a data set.

    Args:
        name: a key of `DATASETS`.
        split: `train`, `valid`, `test`, or `train+valid` for the first two together.
        shape: the required (C, H, W) of the images. A `folder` converts its images to this shape,
            by default (1, 28, 28).
        data_dir: the folder to search first; for `folder`, the folder of your images.
        progress: called with (what, done, total) while downloading or decoding.
        fetch: whether to download missing files.

    Raises:
        DataError: if the data set or split is unknown, or if its files are missing or damaged.

    >>> images = load("digits5k", "valid")
    >>> images.shape, len(images), images.binarisation
    ((1, 28, 28), 500, 'dynamic')
    """
    if name not in DATASETS:
        raise DataError(f"unknown data set {name!r}; choose from {', '.join(DATASETS)}")
    if split not in (*SPLITS, TRAIN_AND_VALID):
        raise DataError(f"unknown split {split!r}; choose from {', '.join(SPLITS)}")
    function = DATASETS[name]
    if split == TRAIN_AND_VALID and name not in TRANSFORMED:
        options: dict[str, Any] = {"shape": shape, "data_dir": data_dir, "fetch": fetch}
        first, second = (load(name, s, progress=progress, **options) for s in split.split("+"))
        return first.join(second)
    if name == "folder":
        function = partial(function, shape=shape or (1, mnist.SIDE, mnist.SIDE))
    data_dir = None if data_dir is None else expand_user(data_dir)
    images = function(split, source=Source(data_dir, progress, fetch, name))
    if shape is not None and images.shape != shape:
        raise DataError(
            f"{name} has images of {_describe(images.shape)}, but the model takes "
            f"{_describe(shape)}"
        )
    return images


def _describe(shape: tuple[int, int, int]) -> str:
    C, H, W = shape
    return f"{W} x {H} pixels and {C} channel{'s' if C > 1 else ''}"
