"""The data sets: a dict from name to function.

A file is looked for in the given folder, then in `$DRAW_DATA`, then in the user's cache, and is
downloaded if it is nowhere; where a SHA-256 was published for it, it is checked in every case. What
came out of an archive has none of its own; the sets that take it say so.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from draw.data.cifar import cifar10
from draw.data.download import Progress
from draw.data.folder import folder, load_picture
from draw.data.images import Batches, Images
from draw.data.mnist import SIDE, binarized_mnist, digits5k, mnist
from draw.data.svhn import svhn, svhn_cropped
from draw.data.synthetic import cluttered_60, cluttered_100, two_digits
from draw.errors import DataError

__all__ = ["DATASETS", "SPLITS", "Batches", "Images", "load", "load_picture"]

SPLITS = ("train", "valid", "test")

DATASETS: dict[str, Callable[..., Images]] = {
    "digits5k": digits5k,
    "binarized-mnist": binarized_mnist,
    "mnist": mnist,
    "cluttered-100": cluttered_100,
    "cluttered-60": cluttered_60,
    "two-digits": two_digits,
    "cifar10": cifar10,
    "svhn": svhn,
    "svhn-cropped": svhn_cropped,
    "folder": folder,
}


def load(
    name: str,
    split: str,
    *,
    shape: tuple[int, int, int] | None = None,
    data_dir: Path | None = None,
    skip_bad: bool = False,
    progress: Progress | None = None,
    fetch: bool = True,
) -> Images:
    """One split of a data set.

    Args:
        name: a key of `DATASETS`.
        split: `train`, `valid` or `test`.
        shape: (C, H, W) that the pictures must have; a folder's are converted to it, or to
            (1, 28, 28).
        data_dir: where to look first; for `folder`, the pictures themselves.
        skip_bad: leave out a folder's undecodable pictures instead of stopping.
        progress: called with (what, done, in all) while downloading or decoding.
        fetch: whether files that are not at hand are downloaded.

    Raises:
        DataError: no such data set or split, or its files are missing or damaged.

    >>> images = load("digits5k", "valid")
    >>> images.shape, len(images), images.binarisation
    ((1, 28, 28), 500, 'dynamic')
    """
    if name not in DATASETS:
        raise DataError(f"there is no data set {name!r}; there are {', '.join(DATASETS)}")
    if split not in SPLITS:
        raise DataError(f"there is no split {split!r}; there are {', '.join(SPLITS)}")
    function = DATASETS[name]
    if name == "folder":
        function = partial(function, shape=shape or (1, SIDE, SIDE), skip_bad=skip_bad)
    images = function(split, data_dir=data_dir, progress=progress, fetch=fetch)
    if shape is not None and images.shape != shape:
        raise DataError(
            f"{name} has pictures of {_describe(images.shape)}, the model takes {_describe(shape)}"
        )
    return images


def _describe(shape: tuple[int, int, int]) -> str:
    C, H, W = shape
    return f"{W} x {H} pixels and {C} channel{'s' if C > 1 else ''}"
