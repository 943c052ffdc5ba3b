"""CIFAR-10 in its binary version: records of a label and the red, green and blue of an image."""

import logging
from pathlib import Path

import numpy as np
import torch

from draw.data.archive import members
from draw.data.download import Progress, RemoteFile, locate, read_bounded, retrieve
from draw.data.images import Images
from draw.errors import DataError

SHAPE = 3, 32, 32
CLASSES = 10
RECORDS = 10_000  # a batch
RECORD = 1 + 3 * 32 * 32  # bytes
FOLDER = "cifar-10-batches-bin"
BATCHES = {
    "train": tuple(f"data_batch_{number}.bin" for number in range(1, 6)),
    "test": ("test_batch.bin",),
}
ARCHIVE = RemoteFile(
    "cifar-10-binary.tar.gz",
    170052171,
    "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
    ("https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",),
)

log = logging.getLogger("draw")


def cifar10(
    split: str,
    data_dir: Path | None = None,
    progress: Progress | None = None,
    fetch: bool = True,
) -> Images:
    """CIFAR-10 in colour, 32 x 32, with labels (Krizhevsky 2009; section 4.5).

    45,000 / 5,000 / 10,000 images; validation is the last tenth of the published training set.

    What came out of the archive does as well, a folder `cifar-10-batches-bin` with `.bin` or
    `.bin.gz` files, and even some of the training batches; but only the archive has a published
    checksum, so a warning tells that such files are unverified, and so does every figure that is
    measured on them.
    """
    names = BATCHES["test" if split == "test" else "train"]
    path = locate(ARCHIVE, data_dir, FOLDER) or retrieve(ARCHIVE, data_dir, progress, fetch)
    batches = _unpacked(path, names) if path.is_dir() else _archived(path, names)
    note = _note(path, split, len(batches), len(names)) if path.is_dir() else ""
    records = np.concatenate([parse_batch(data, name) for name, data in batches.items()])
    held_out = len(records) // 10
    part = {
        "train": slice(None, -held_out),
        "valid": slice(-held_out, None),
        "test": slice(None),
    }[split]
    pixels, labels = records[part, 1:].reshape(-1, *SHAPE), records[part, 0]
    return Images(
        pixels=torch.from_numpy(pixels).contiguous(),
        labels=torch.from_numpy(labels.astype(np.int64)),
        note=note,
    )


def _note(folder: Path, split: str, there: int, published: int) -> str:
    """What must be told of files that cannot be compared with the published checksum."""
    some = f", {there} of {published} training batches" if there < published else ""
    log.warning("%s %s: unverified files%s", folder, split, some)
    return f"unverified files{some}"


def parse_batch(data: bytes, name: str) -> np.ndarray:
    """The records of a batch, a label and 3 x 1,024 bytes each; uint8 `[10000, 3073]`.

    Raises:
        DataError: the size is another one, or a label is out of range.
    """
    if len(data) != RECORDS * RECORD:
        raise DataError(
            f"{name} is not {RECORDS} records of {RECORD} bytes ({len(data)} bytes were read): it "
            f"was cut or padded; fetch it again"
        )
    records = np.frombuffer(data, np.uint8).reshape(RECORDS, RECORD)
    largest = records[:, 0].max()
    if largest >= CLASSES:
        raise DataError(
            f"{name} has the label {largest}, but the classes are 0 to {CLASSES - 1}: it is "
            f"damaged, or no batch of CIFAR-10; fetch it again"
        )
    return records


def _archived(archive: Path, names: tuple[str, ...]) -> dict[str, bytes]:
    """The batches of these names by their paths, from the published archive."""
    paths = [f"{FOLDER}/{name}" for name in names]
    found = {path: file.read() for path, file in members(archive, paths, RECORDS * RECORD)}
    return {f"{archive}: {path}": found[path] for path in paths}


def _unpacked(folder: Path, names: tuple[str, ...]) -> dict[str, bytes]:
    """Those of these batches that a folder has, by their paths."""
    either = [(folder / name, folder / f"{name}.gz") for name in names]
    there = [[path for path in pair if path.is_file()] for pair in either]
    paths = [found[0] for found in there if found]
    if not paths:
        raise DataError(f"{folder} has none of {', '.join(names)}, nor their .gz; add them to it")
    return {str(path): read_bounded(path, RECORDS * RECORD) for path in paths}
