"""SVHN (Netzer et al. 2011): whole house numbers, as the paper takes them, and single digits."""

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from draw.data.download import Progress, RemoteFile, cache_dir, locate, retrieve
from draw.data.house_numbers import SHAPE, import_h5py, is_packed, pack
from draw.data.images import Images
from draw.data.packed import unpack
from draw.data.synthetic import RandomCrop
from draw.errors import DataError, one_line

CROP = 54  # of the 64 pixels each way
NUMBERS = 33_402 + 202_353  # published in train and extra
NUMBERS_HELD_OUT = 4_701  # of so many; for validation, as many as the paper's
DIGITS_HELD_OUT = 6_000  # of the published 73,257; for validation
MOST_DIGITS = 100_000  # that a file may tell of

_HOME = "http://ufldl.stanford.edu/housenumbers/"


def _file(name: str, size: int, sha256: str | None = None) -> RemoteFile:
    return RemoteFile(name, size, sha256, (_HOME + name,))


ARCHIVES = {
    "train": _file("train.tar.gz", 404141560),
    "extra": _file("extra.tar.gz", 1955489752),
    "test": _file("test.tar.gz", 276555967),
}
DIGITS = {
    "train": _file(
        "train_32x32.mat",
        182040794,
        "435e94d69a87fde4fd4d7f3dd208dfc32cb6ae8af2240d066de1df7508d083b8",
    ),
    "test": _file(
        "test_32x32.mat",
        64275384,
        "cdce80dfb2a2c4c6160906d0bd7c68ec5a99d7ca4831afa54f09182025b6a75b",
    ),
}


def svhn(
    split: str,
    data_dir: Path | None = None,
    progress: Progress | None = None,
    fetch: bool = True,
) -> Images:
    """SVHN's house numbers in colour, 54 x 54, cut out as by Goodfellow et al. 2013 (section 4.4).

    231,054 / 4,701 / 13,068 images without labels. The box around all digits of a photograph,
    enlarged by 30 %, is resized to 64 x 64 pixels. Training sees 54 x 54 of them at a random place
    at each use, validation and test the middle. Training and validation are of the archives `train`
    and `extra`; validation are those whose names have the lowest hashes, 2 %.

    An archive `train.tar.gz` may also lie unpacked, as a folder `train`. The house numbers are cut
    out once, which takes a while, and kept in the cache, 2.9 GB. The archives can then be deleted;
    where they lie but have changed, it is done again.

    Raises:
        DataError: an archive is nowhere, damaged or incomplete, or h5py is not installed.

    Note:
        The paper counts 231,053 training and 4,701 validation images, one fewer than were
        published, and does not tell which is which. No checksums were published: an archive must
        have its published size, the checksum that gzip keeps and every photograph that it lists;
        of a folder only the last is known.
    """
    pixels = _house_numbers(
        ("test",) if split == "test" else ("train", "extra"), data_dir, progress, fetch
    )
    held_out = max(1, len(pixels) * NUMBERS_HELD_OUT // NUMBERS)
    if split == "train":
        return Images(pixels=pixels[held_out:], composition=RandomCrop((3, CROP, CROP)))
    if split == "valid":
        pixels = pixels[:held_out]
    edge = (pixels.shape[-1] - CROP) // 2
    return Images(pixels=pixels[..., edge : edge + CROP, edge : edge + CROP].contiguous())


def svhn_cropped(
    split: str,
    data_dir: Path | None = None,
    progress: Progress | None = None,
    fetch: bool = True,
) -> Images:
    """SVHN's single digits in colour, 32 x 32, with labels (Netzer et al. 2011).

    67,257 / 6,000 / 26,032 images; validation is the last 6,000 of the published training set. The
    531,131 easier digits of its `extra` part are left out. The label of a digit is the digit.
    """
    file = DIGITS["test" if split == "test" else "train"]
    path = locate(file, data_dir) or retrieve(file, data_dir, progress, fetch)
    pixels, labels = read_mat(path)
    part = {
        "train": slice(None, -DIGITS_HELD_OUT),
        "valid": slice(-DIGITS_HELD_OUT, None),
        "test": slice(None),
    }[split]
    return Images(pixels=torch.from_numpy(pixels[part]), labels=torch.from_numpy(labels[part]))


def read_mat(path: Path) -> tuple[UInt8[np.ndarray, "n 3 32 32"], Int64[np.ndarray, " n"]]:
    """Digits and their labels, 0 to 9, from a file of MATLAB 5, in which a 0 has the label 10.

    Raises:
        DataError: the file is damaged or holds something else.
    """
    from scipy.io import loadmat, whosmat

    try:
        held = {name: (shape, kind) for name, shape, kind in whosmat(path)}
        count = held["X"][0][-1] if "X" in held else 0
        wanted = {"X": ((32, 32, 3, count), "uint8"), "y": ((count, 1), "uint8")}
        if not wanted.items() <= held.items():
            raise ValueError(f"it holds {held}, where {wanted} are expected")
        if count > MOST_DIGITS:
            raise ValueError(f"it tells of {count} digits")
        arrays = loadmat(path, variable_names=tuple(wanted))
        labels = arrays["y"][:, 0].astype(np.int64)
        if labels.min() < 1 or labels.max() > 10:
            raise ValueError(f"labels go from {labels.min()} to {labels.max()} instead of 1 to 10")
    except Exception as error:  # scipy raises many kinds on damaged files
        raise DataError(
            f"{path} cannot be read as SVHN's digits: {one_line(error)}; delete it and fetch it "
            f"again"
        ) from error
    return np.ascontiguousarray(arrays["X"].transpose(3, 2, 0, 1)), labels % 10


def _house_numbers(
    parts: tuple[str, ...], data_dir: Path | None, progress: Progress | None, fetch: bool
) -> UInt8[Tensor, "n 3 64 64"]:
    """The house numbers of these archives, from the cache if they have been prepared."""
    packed = cache_dir() / f"svhn-{'-'.join(parts)}.packed"
    found = {
        part: locate(ARCHIVES[part], data_dir, unpacked=f"{part}/digitStruct.mat") for part in parts
    }
    sources = {part: path for part, path in found.items() if path is not None}
    complete = len(sources) == len(parts)
    if not packed.is_file() or (complete and not is_packed(sources, packed)):
        import_h5py()  # nothing large is fetched in vain
        for part in parts:
            if part not in sources:
                sources[part] = retrieve(ARCHIVES[part], data_dir, progress, fetch)
        pack(sources, packed, progress)
    return unpack(packed, SHAPE, least=2).pixels
