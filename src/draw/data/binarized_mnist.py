"""Static binarised MNIST, from the published text files."""

import numpy as np
import torch

from draw.data.dataset import Images
from draw.data.download import RemoteFile, Source
from draw.data.mnist import SIDE

HOME = "http://www.cs.toronto.edu/~larocheh/public/datasets/binarized_mnist/"
LINE_BYTES = 2 * SIDE * SIDE  # a digit 0 or 1 and a separator for each pixel


def _file(split: str, count: int, sha256: str) -> RemoteFile:
    name = f"binarized_mnist_{split}.amat"
    return RemoteFile(name, count * LINE_BYTES, sha256, (HOME + name,))


TRAIN_SHA256 = "ad693b29f94c14277b095f5238ddefbbdaaae0939789dd2f4f0205278cee3e4d"
VALID_SHA256 = "1de3d397c40fe8eeb33dafd4099a1f665ec01e96d9be234aaeeac8a34930e2e2"
TEST_SHA256 = "e6687bfea3f820c174f33b7865140b2a2dd2930ef786f35d45795fc193b5ab2c"
FILES = {
    "train": _file("train", 50_000, TRAIN_SHA256),
    "valid": _file("valid", 10_000, VALID_SHA256),
    "test": _file("test", 10_000, TEST_SHA256),
}


def binarized_mnist(split: str, source: Source) -> Images:
    """Static binarised MNIST (Larochelle; Salakhutdinov and Murray 2008), as in table 2.

    50,000 / 10,000 / 10,000 images of pixels 0 or 1, without labels.
    """
    text = np.frombuffer(source.read(FILES[split]), np.uint8).reshape(-1, LINE_BYTES)
    pixels = (text[:, ::2] - np.uint8(ord("0"))) * np.uint8(255)
    return Images(pixels=torch.from_numpy(pixels).view(-1, 1, SIDE, SIDE), binarisation="static")
