"""MNIST in grey, from the published IDX files."""

import numpy as np
import torch

from draw.data.dataset import Images
from draw.data.download import RemoteFile, Source

SIDE = 28  # pixels
MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)


def _file(name: str, size: int, sha256: str) -> RemoteFile:
    dotted = name.replace("-idx", ".idx")  # the file name in some distributions
    urls = tuple(f"{mirror}{name}.gz" for mirror in MIRRORS)
    return RemoteFile(name, size, sha256, urls, (dotted,))


SHA256 = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}


FILES = {  # images and labels; the files have headers of 16 and 8 bytes
    part: tuple(
        _file(name := f"{prefix}-{kind}-ubyte", size, SHA256[name])
        for kind, size in (("images-idx3", 16 + count * SIDE * SIDE), ("labels-idx1", 8 + count))
    )
    for part, prefix, count in (("train", "train", 60_000), ("test", "t10k", 10_000))
}


def mnist(split: str, source: Source) -> Images:
    """MNIST in grey with labels (LeCun, Cortes, Burges), with dynamic binarisation.

    50,000 / 10,000 / 10,000 images; validation is the last 10,000 of the published training set.
    """
    image_file, label_file = FILES["test" if split == "test" else "train"]
    pixels = np.frombuffer(source.read(image_file), np.uint8, offset=16).reshape(-1, SIDE, SIDE)
    labels = np.frombuffer(source.read(label_file), np.uint8, offset=8)
    part = {"train": slice(50_000), "valid": slice(50_000, None)}.get(split, slice(None))
    return grey_digits(pixels[part], labels[part])


def grey_digits(pixels: np.ndarray, labels: np.ndarray) -> Images:
    """Create a data set of uint8 digits `[n, 28, 28]`, with dynamic binarisation."""
    return Images(
        pixels=torch.tensor(pixels).unsqueeze(1),
        labels=torch.tensor(labels.astype(np.int64)),
        binarisation="dynamic",
    )
