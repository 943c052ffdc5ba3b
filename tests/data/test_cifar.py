"""CIFAR-10, from small batches."""

import gzip
from pathlib import Path

import numpy as np
import pytest
import torch

from draw.data import cifar
from draw.data.cifar import ARCHIVE, BATCHES, FOLDER, RECORD_BYTES, cifar10
from draw.data.download import Source
from draw.errors import DataError
from tests.data.conftest import Server, remote, tar_gz

COUNT = 20  # records per batch
NAMES = {split: [batch.name for batch in batches] for split, batches in BATCHES.items()}
RECORDS = {
    name: np.random.default_rng(number).integers(0, 256, (COUNT, RECORD_BYTES), np.uint8)
    for number, name in enumerate(NAMES["train"] + NAMES["test"])
}
TRAIN = np.concatenate([RECORDS[name] for name in NAMES["train"]])
FILES = {f"{FOLDER}/batches.meta.txt": b"airplane\n"} | {  # out of order, like the published ones
    name: records.tobytes() for name, records in reversed(RECORDS.items())
}


@pytest.fixture(autouse=True)
def publish(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace the published files by small ones."""
    archive = tar_gz(FILES)
    file = remote(ARCHIVE.name, archive, server.serve(ARCHIVE.name, archive))
    monkeypatch.setattr(cifar, "ARCHIVE", file)
    for split, names in NAMES.items():
        small = tuple(remote(name, FILES[name]) for name in names)
        monkeypatch.setitem(BATCHES, split, small)


def assert_holds(split: str, records: np.ndarray, data_dir: Path | None = None) -> None:
    images = cifar10(split, Source(data_dir))
    assert images.shape == (3, 32, 32)
    assert images.binarisation == "none"
    assert images.labels is not None
    assert images.labels.dtype == torch.int64
    assert images.labels.tolist() == records[:, 0].tolist()
    np.testing.assert_array_equal(images.pixels.flatten(1).numpy(), records[:, 1:])


def test_validation_is_the_last_tenth_of_the_training_records(server):
    assert_holds("train", TRAIN[:90])
    assert_holds("valid", TRAIN[90:])
    assert_holds("test", RECORDS[NAMES["test"][0]])
    assert len(server.requests) == 1  # the archive is cached


@pytest.mark.parametrize("compressed", [False, True])
def test_an_unpacked_archive_is_used_without_a_request(tmp_path, server, compressed):
    (tmp_path / FOLDER).mkdir()
    for name, content in FILES.items():
        path, data = (f"{name}.gz", gzip.compress(content, 1)) if compressed else (name, content)
        (tmp_path / path).write_bytes(data)
    assert_holds("train", TRAIN[:90], tmp_path)
    assert_holds("valid", TRAIN[90:], tmp_path)
    assert_holds("test", RECORDS[NAMES["test"][0]], tmp_path)
    assert server.requests == []


def test_an_unpacked_batch_that_differs_from_the_published_one_is_an_error(tmp_path):
    (tmp_path / FOLDER).mkdir()
    name = NAMES["test"][0]
    (tmp_path / name).write_bytes(FILES[name][:-1] + b"?")
    with pytest.raises(DataError, match=f"{tmp_path / name} has SHA-256"):
        cifar10("test", Source(tmp_path))


def test_an_incomplete_folder_is_not_used(tmp_path, server):
    (tmp_path / FOLDER).mkdir()
    (tmp_path / NAMES["train"][0]).write_bytes(FILES[NAMES["train"][0]])
    assert_holds("train", TRAIN[:90], tmp_path)
    assert len(server.requests) == 1


@pytest.mark.parametrize("name", [NAMES["train"][1], f"../{NAMES['train'][1]}"])
def test_an_archive_without_a_batch_is_an_error(server, monkeypatch, name):
    renamed = {name if path == NAMES["train"][1] else path: data for path, data in FILES.items()}
    renamed.pop(NAMES["train"][1], None)
    content = tar_gz(renamed)
    url = server.serve(ARCHIVE.name, content)
    monkeypatch.setattr(cifar, "ARCHIVE", remote(ARCHIVE.name, content, url))
    with pytest.raises(DataError, match=f"{ARCHIVE.name} lacks {NAMES['train'][1]}"):
        cifar10("train", Source())
