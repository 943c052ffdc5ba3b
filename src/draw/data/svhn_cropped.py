"""SVHN's single digits, cropped to 32 x 32, from the published MATLAB files."""

import io

import numpy as np
import torch

from draw.data.dataset import Images
from draw.data.download import RemoteFile, Source
from draw.data.svhn import HOME
from draw.errors import DataError, require

VALIDATION_IMAGES = 6_000
FILES = {
    "train": RemoteFile(
        "train_32x32.mat",
        182040794,
        "435e94d69a87fde4fd4d7f3dd208dfc32cb6ae8af2240d066de1df7508d083b8",
        (HOME + "train_32x32.mat",),
    ),
    "test": RemoteFile(
        "test_32x32.mat",
        64275384,
        "cdce80dfb2a2c4c6160906d0bd7c68ec5a99d7ca4831afa54f09182025b6a75b",
        (HOME + "test_32x32.mat",),
    ),
}


def svhn_cropped(split: str, source: Source) -> Images:
    """SVHN's single digits in colour, 32 x 32, with labels (Netzer et al. 2011).

    67,257 / 6,000 / 26,032 images; validation is the last 6,000 of the published training set. The
    531,131 easier digits of its `extra` part are left out.

    Raises:
        DataError: if a file is missing or damaged, or SciPy is not installed.
    """
    scipy_io = require("scipy.io", "svhn", "the data set svhn-cropped", DataError)
    content = source.read(FILES["test" if split == "test" else "train"])
    mat = scipy_io.loadmat(io.BytesIO(content))
    n = VALIDATION_IMAGES
    part = {"train": slice(-n), "valid": slice(-n, None), "test": slice(None)}[split]
    pixels = np.ascontiguousarray(mat["X"].transpose(3, 2, 0, 1)[part])  # from [32, 32, 3, n]
    labels = mat["y"][part, 0].astype(np.int64) % 10  # a 0 is stored as 10
    return Images(pixels=torch.from_numpy(pixels), labels=torch.from_numpy(labels))
