"""CIFAR-10, from small batches of our own making, and from the real ones where they are."""

import gzip
import logging
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from draw.data import cifar, load
from draw.data.cifar import ARCHIVE, BATCHES, FOLDER, RECORD, cifar10, parse_batch
from draw.errors import DataError
from tests.data.conftest import Server, remote, tar_gz

COUNT = 20  # records of a batch of ours
NAMES = [*BATCHES["train"], *BATCHES["test"]]
RECORDS = {  # of each batch, each in bytes of its own
    name: np.random.default_rng(number).integers(0, 256, (COUNT, RECORD), np.uint8)
    for number, name in enumerate(NAMES)
}
for _records in RECORDS.values():
    _records[:, 0] %= 10
REAL = Path(os.environ.get("DRAW_DATA", ""))


@pytest.fixture
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cifar, "RECORDS", COUNT)


def batches(**changed: bytes | None) -> dict[str, bytes]:
    """The files of the archive, out of order as in the published one; None leaves one out."""
    files = {f"{FOLDER}/batches.meta.txt": b"airplane\n"}
    for name in reversed(NAMES):
        content = changed.get(name.removesuffix(".bin"), RECORDS[name].tobytes())
        if content is not None:
            files[f"{FOLDER}/{name}"] = content
    return files


def publish(server: Server, monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    file = remote(ARCHIVE.name, content, server.serve(ARCHIVE.name, content))
    monkeypatch.setattr(cifar, "ARCHIVE", file)


def unpack(folder: Path, files: dict[str, bytes]) -> Path:
    (folder / FOLDER).mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder / FOLDER


def assert_holds(split: str, records: np.ndarray, data_dir: Path | None = None) -> None:
    images = cifar10(split, data_dir)
    assert images.shape == (3, 32, 32)
    assert images.binarisation == "none"
    assert images.labels is not None
    assert images.labels.dtype == torch.int64
    assert images.labels.tolist() == records[:, 0].tolist()
    np.testing.assert_array_equal(images.pixels.flatten(1).numpy(), records[:, 1:])


TRAIN = np.concatenate([RECORDS[name] for name in BATCHES["train"]])


@pytest.mark.usefixtures("_small")
def test_validation_is_the_last_tenth_of_the_training_records(
    server: Server, monkeypatch: pytest.MonkeyPatch, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    publish(server, monkeypatch, tar_gz(batches()))
    assert_holds("train", TRAIN[:90])
    assert_holds("valid", TRAIN[90:])
    assert_holds("test", RECORDS["test_batch.bin"])
    assert len(server.asked) == 1  # the archive is kept
    assert [path.name for path in cache.iterdir()] == [ARCHIVE.name]
    assert caplog.records == []


@pytest.mark.usefixtures("_small")
@pytest.mark.parametrize("compressed", [False, True])
def test_what_was_unpacked_does_as_well_but_is_called_unverified(
    tmp_path: Path, server: Server, caplog: pytest.LogCaptureFixture, compressed: bool
) -> None:
    files = batches()
    if compressed:
        files = {f"{name}.gz": gzip.compress(content) for name, content in files.items()}
    folder = unpack(tmp_path, files)
    assert_holds("train", TRAIN[:90], tmp_path)
    assert_holds("valid", TRAIN[90:], tmp_path)
    assert_holds("test", RECORDS["test_batch.bin"], tmp_path)
    lines = [record.getMessage() for record in caplog.records]
    assert lines == [f"{folder} {part}: unverified files" for part in ("train", "valid", "test")]
    assert {record.levelno for record in caplog.records} == {logging.WARNING}
    assert server.asked == []


@pytest.mark.usefixtures("_small")
def test_some_training_batches_do_too_and_it_is_told_how_many(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    left_out = dict.fromkeys(("data_batch_1", "data_batch_3", "data_batch_4"))
    unpack(tmp_path, batches(**left_out))
    there = np.concatenate([RECORDS["data_batch_2.bin"], RECORDS["data_batch_5.bin"]])
    assert_holds("train", there[:36], tmp_path)
    assert_holds("valid", there[36:], tmp_path)
    assert caplog.text.count("unverified files, 2 of 5 training batches") == 2


@pytest.mark.usefixtures("_small")
def test_of_a_batch_and_its_gz_the_batch_is_taken(tmp_path: Path) -> None:
    folder = unpack(tmp_path, batches())
    (folder / "data_batch_1.bin.gz").write_bytes(b"spoilt")
    assert_holds("train", TRAIN[:90], tmp_path)


def test_a_folder_without_the_batches_asked_for_is_an_error_that_names_them(
    tmp_path: Path,
) -> None:
    folder = unpack(tmp_path, {f"{FOLDER}/data_batch_1.bin": b""})
    with pytest.raises(DataError, match=r"has none of test_batch\.bin, nor") as caught:
        cifar10("test", tmp_path)
    assert str(folder) in str(caught.value)


GOOD = RECORDS["data_batch_2.bin"].tobytes()
DAMAGE = {
    "cut": (GOOD[:-1], f"is not {COUNT} records of 3073 bytes"),
    "a record short": (GOOD[:-RECORD], f"is not {COUNT} records of 3073 bytes"),
    "empty": (b"", f"is not {COUNT} records of 3073 bytes"),
    "label 10": (GOOD[:RECORD] + b"\n" + GOOD[RECORD + 1 :], "has the label 10, .* 0 to 9"),
}
TOO_LARGE = GOOD + bytes(1 << 20)


@pytest.mark.usefixtures("_small")
@pytest.mark.parametrize(("content", "told"), DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_batch_is_an_error_that_names_it(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch, content: bytes, told: str
) -> None:
    files = batches(data_batch_2=content)
    folder = unpack(tmp_path, files)
    with pytest.raises(DataError, match=rf"{folder}/data_batch_2\.bin {told}"):
        cifar10("train", tmp_path)
    publish(server, monkeypatch, tar_gz(files))
    with pytest.raises(DataError, match=rf"{ARCHIVE.name}: {FOLDER}/data_batch_2\.bin {told}"):
        cifar10("train")


@pytest.mark.usefixtures("_small")
@pytest.mark.parametrize("name", ["data_batch_2.bin", "data_batch_2.bin.gz"])
def test_of_a_batch_that_is_too_large_no_more_than_its_size_is_read(
    tmp_path: Path, name: str
) -> None:
    content = gzip.compress(TOO_LARGE) if name.endswith(".gz") else TOO_LARGE
    unpack(tmp_path, batches(data_batch_2=None) | {f"{FOLDER}/{name}": content})
    with pytest.raises(DataError, match=rf"{name} is not 20 records .*\({len(GOOD) + 1} bytes"):
        cifar10("train", tmp_path)


@pytest.mark.usefixtures("_small")
@pytest.mark.parametrize(
    ("content", "told"),
    [
        (tar_gz(batches(data_batch_2=None)), f"lacks {FOLDER}/data_batch_2.bin"),
        (tar_gz(batches(data_batch_2=TOO_LARGE)), f"data_batch_2.bin has {len(TOO_LARGE)} bytes"),
        (tar_gz({f"../{name}": data for name, data in batches().items()}), "lacks"),
        (tar_gz({f"/{name}": data for name, data in batches().items()}), "lacks"),
        (tar_gz(batches())[:-100], "cannot be read"),
    ],
    ids=["a batch missing", "a batch too large", "outside", "at the root", "cut"],
)
def test_an_archive_of_another_form_is_an_error(
    server: Server,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    content: bytes,
    told: str,
) -> None:
    publish(server, monkeypatch, content)
    with pytest.raises(DataError, match=told) as caught:
        cifar10("train")
    assert ARCHIVE.name in str(caught.value)
    assert "\n" not in str(caught.value)
    assert {path.name for path in tmp_path.rglob("*") if path.is_file()} == {ARCHIVE.name}


def test_the_users_archive_is_checked_by_its_own_checksum(tmp_path: Path) -> None:
    path = tmp_path / ARCHIVE.name
    path.write_bytes(tar_gz(batches()))
    with pytest.raises(DataError, match=f"{path} holds .* has 170052171"):
        cifar10("train", tmp_path)
    with path.open("rb+") as file:
        file.truncate(ARCHIVE.size)  # the right size, but for the most part a hole
    with pytest.raises(DataError, match=f"{path} has SHA-256 .* has c4a38c50"):
        cifar10("train", tmp_path)


def test_a_batch_is_10000_records() -> None:
    assert len(parse_batch(bytes(30_730_000), "x")) == 10_000


# ---- the real files

needs_real = pytest.mark.skipif(
    not (REAL / FOLDER).is_dir(), reason=f"DRAW_DATA names no folder with {FOLDER}"
)


@needs_real
def test_the_real_test_set_has_a_thousand_of_each_class_and_the_known_means() -> None:
    images = load("cifar10", "test", shape=(3, 32, 32), data_dir=REAL)
    assert images.labels is not None
    assert images.labels.bincount().tolist() == [1000] * 10
    assert images.labels[:10].tolist() == [3, 8, 8, 0, 6, 6, 1, 6, 3, 1]
    assert images.pixels[0, :, 0, 0].tolist() == [158, 112, 49]  # of a cat
    means = images.pixels.double().mean((0, 2, 3)) / 255
    # as published by many; a few images are stand-ins in the files at hand
    assert means.tolist() == pytest.approx([0.4942, 0.4851, 0.4504], abs=1e-4)


@needs_real
def test_the_real_training_set_begins_with_a_frog_and_is_parted_nine_to_one() -> None:
    train, valid = (cifar10(split, REAL) for split in ("train", "valid"))
    assert train.labels is not None
    assert valid.labels is not None
    assert len(train) == 9 * len(valid)
    assert (len(train) + len(valid)) % 10_000 == 0
    assert train.labels[:10].tolist() == [6, 9, 9, 4, 1, 1, 2, 7, 8, 3]
    assert train.pixels[0, :, 0, 0].tolist() == [59, 62, 63]
    shares = torch.cat([train.labels, valid.labels]).bincount() / (len(train) + len(valid))
    assert shares.tolist() == pytest.approx([0.1] * 10, abs=0.005)
