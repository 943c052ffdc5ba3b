"""SVHN (Netzer et al. 2011): whole house numbers, as in the paper, and single digits."""

import io
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock

from draw.data.dataset import Images
from draw.data.download import RemoteFile, Source
from draw.data.house_numbers import SHAPE, import_h5py, is_packed, pack
from draw.data.packed import unpack
from draw.data.transforms import RandomCrop
from draw.errors import DataError, require
from draw.storage.files import cache_dir

CROP = 54  # side of the images, pixels
PUBLISHED_IMAGES = 33_402 + 202_353  # in train and extra
VALIDATION_IMAGES = 4_701  # the number in the paper
VALIDATION_DIGITS = 6_000
HOME = "http://ufldl.stanford.edu/housenumbers/"

TRAIN_SHA256 = "435e94d69a87fde4fd4d7f3dd208dfc32cb6ae8af2240d066de1df7508d083b8"
TEST_SHA256 = "cdce80dfb2a2c4c6160906d0bd7c68ec5a99d7ca4831afa54f09182025b6a75b"


def _file(name: str, size: int, sha256: str | None = None) -> RemoteFile:
    return RemoteFile(name, size, sha256, (HOME + name,))


ARCHIVES = {
    "train": _file("train.tar.gz", 404141560),
    "extra": _file("extra.tar.gz", 1955489752),
    "test": _file("test.tar.gz", 276555967),
}
DIGITS = {
    "train": _file("train_32x32.mat", 182040794, TRAIN_SHA256),
    "test": _file("test_32x32.mat", 64275384, TEST_SHA256),
}


def svhn(split: str, source: Source) -> Images:
    """SVHN's house numbers in colour, 54 x 54, cropped like Goodfellow et al. 2013 (section 4.4).

    231,054 / 4,701 / 13,068 images without labels. The box around all digits of a photograph is
    enlarged by 30% and resized to 64 x 64 pixels. Training uses random crops of 54 x 54 pixels,
    validation and test the central crop. Training and validation images come from the archives
    `train` and `extra`; the 2% whose names have the lowest hashes are for validation.

    An archive such as `train.tar.gz` can also be unpacked, as a folder `train`. The house numbers
    are cut out once and cached (2.9 GB); the archives can then be deleted. If the archives exist
    and have changed, the house numbers are cut out again.

    Raises:
        DataError: if an archive is missing, damaged or incomplete, or h5py is not installed.

    Note:
        The paper reports 231,053 training and 4,701 validation images, one fewer than were
        published; it does not say which one is missing. No checksums were published: an archive is
        checked by its size, gzip's checksum and its list of photographs; a folder only by the list.
    """
    parts = ("test",) if split == "test" else ("train", "extra")
    packed = cache_dir() / f"svhn-{'-'.join(parts)}.packed"
    packed.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{packed}.lock"):  # only one process cuts out the house numbers
        sources = {part: path for part in parts if (path := _find(part, source)) is not None}
        complete = len(sources) == len(parts)
        if not packed.is_file() or (complete and not is_packed(sources, packed)):
            import_h5py()  # fails before the large downloads
            sources = {part: sources.get(part) or source.get(ARCHIVES[part]) for part in parts}
            pack(sources, packed, source.progress)
    pixels = unpack(packed, SHAPE).pixels
    held_out = max(1, len(pixels) * VALIDATION_IMAGES // PUBLISHED_IMAGES)
    if split.startswith("train"):  # or train+valid
        pixels = pixels[held_out:] if split == "train" else pixels
        return Images(pixels=pixels, transform=RandomCrop((3, CROP, CROP)))
    if split == "valid":
        pixels = pixels[:held_out]
    edge = (pixels.shape[-1] - CROP) // 2
    return Images(pixels=pixels[..., edge : edge + CROP, edge : edge + CROP].contiguous())


def _find(part: str, source: Source) -> Path | None:
    """Find the archive of a part, or the `digitStruct.mat` of its unpacked folder."""
    unpacked = (folder / part / "digitStruct.mat" for folder in source.folders)
    return source.find(ARCHIVES[part]) or next(filter(Path.is_file, unpacked), None)


def svhn_cropped(split: str, source: Source) -> Images:
    """SVHN's single digits in colour, 32 x 32, with labels (Netzer et al. 2011).

    67,257 / 6,000 / 26,032 images; validation is the last 6,000 of the published training set. The
    531,131 easier digits of the part `extra` are not used.

    Raises:
        DataError: if a file is missing or damaged, or SciPy is not installed.
    """
    scipy_io = require("scipy.io", "svhn", "the data set svhn-cropped", DataError)
    content = source.read(DIGITS["test" if split == "test" else "train"])
    mat = scipy_io.loadmat(io.BytesIO(content))
    n = VALIDATION_DIGITS
    part = {"train": slice(-n), "valid": slice(-n, None), "test": slice(None)}[split]
    pixels = np.ascontiguousarray(mat["X"].transpose(3, 2, 0, 1)[part])  # from [32, 32, 3, n]
    labels = mat["y"][part, 0].astype(np.int64) % 10  # a 0 is stored as 10
    return Images(pixels=torch.from_numpy(pixels), labels=torch.from_numpy(labels))
