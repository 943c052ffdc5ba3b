"""CIFAR-10, from its binary version: records of one label and the RGB planes of one image."""

import numpy as np
import torch

from draw.data.dataset import Images
from draw.data.download import RemoteFile, Source, archive_members, read_data

SHAPE = 3, 32, 32
RECORD_BYTES = 1 + 3 * 32 * 32
BATCH_BYTES = 10_000 * RECORD_BYTES
FOLDER = "cifar-10-batches-bin"
ARCHIVE = RemoteFile(
    "cifar-10-binary.tar.gz",
    170052171,
    "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
    ("https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",),
)


def _batch(name: str, sha256: str) -> RemoteFile:
    return RemoteFile(f"{FOLDER}/{name}.bin", BATCH_BYTES, sha256)


BATCHES = {
    "train": (
        _batch("data_batch_1", "cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5"),
        _batch("data_batch_2", "a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed"),
        _batch("data_batch_3", "bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67"),
        _batch("data_batch_4", "014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48"),
        _batch("data_batch_5", "755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add"),
    ),
    "test": (
        _batch("test_batch", "8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b"),
    ),
}


def cifar10(split: str, source: Source) -> Images:
    """CIFAR-10 in colour, 32 x 32, with labels (Krizhevsky 2009; section 4.5).

    45,000 / 5,000 / 10,000 images; validation is the last tenth of the published training set.
    The archive can also be unpacked, as a folder `cifar-10-batches-bin` of .bin or .bin.gz files.
    """
    batches = BATCHES["test" if split == "test" else "train"]
    paths = [path for path in map(source.find, batches) if path is not None]
    if len(paths) == len(batches):
        contents = [read_data(path) for path in paths]
    else:
        names = [batch.name for batch in batches]
        members = dict(archive_members(source.get(ARCHIVE), names, BATCH_BYTES))
        contents = [members[name] for name in names]
    records = np.frombuffer(b"".join(contents), np.uint8).reshape(-1, RECORD_BYTES)
    n = len(records) // 10  # validation images
    part = {"train": slice(-n), "valid": slice(-n, None), "test": slice(None)}[split]
    return Images(
        pixels=torch.tensor(records[part, 1:].reshape(-1, *SHAPE)),
        labels=torch.tensor(records[part, 0].astype(np.int64)),
    )
