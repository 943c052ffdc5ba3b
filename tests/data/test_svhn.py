"""SVHN, from photographs, boxes and digits of our own making in the published formats."""

import gzip
import hashlib
import importlib
import io
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.io import savemat

from draw.data import SPLITS, house_numbers, load
from draw.data.house_numbers import BYTES
from draw.data.images import Images
from draw.data.packed import TAIL
from draw.data.svhn import ARCHIVES, DIGITS, read_mat, svhn_cropped
from draw.data.synthetic import RandomCrop
from draw.errors import DataError
from tests.data.conftest import Server, remote, tar_gz
from tests.data.test_house_numbers import GOOD, Numbers, digit_struct, plain

svhn = importlib.import_module("draw.data.svhn")  # draw.data.svhn is its function


# ---- the data set of house numbers

COUNTS = {"train": 7, "extra": 5, "test": 3}
SHADES = {part: 40 * number for number, part in enumerate(COUNTS, start=1)}


def shade(part: str, number: int) -> int:
    """The grey of a photograph, its own in all parts."""
    return SHADES[part] + number


def files(part: str) -> dict[str, bytes]:
    """A part as in its archive: photographs of many sizes, numbers of one to four digits."""
    numbers: Numbers = {}
    archive = {}
    for k in range(1, COUNTS[part] + 1):
        archive[f"{part}/{k}.png"] = plain(shade(part, k), width=30 + 7 * k, height=50 - 3 * k)
        numbers[f"{k}.png"] = [(5.0 * j, 3.0, 6.0, 20.0) for j in range(1 + k % 4)]
    archive[f"{part}/see_bboxes.m"] = b"load digitStruct.mat"
    return archive | {f"{part}/digitStruct.mat": digit_struct(numbers)}


def unpack(folder: Path, *parts: str) -> None:
    for part in parts:
        (folder / part).mkdir(parents=True)
        for name, content in files(part).items():
            (folder / name).write_bytes(content)


def publish(server: Server, monkeypatch: pytest.MonkeyPatch, **contents: bytes) -> None:
    for part in COUNTS:
        content = contents.get(part) or tar_gz(files(part))
        name = f"{part}.tar.gz"
        url = server.serve(name, content)
        monkeypatch.setitem(ARCHIVES, part, remote(name, content, url))


def shades(images: Images) -> list[int]:
    """The grey of each picture, in order."""
    assert (images.pixels.flatten(1) == images.pixels.flatten(1)[:, :1]).all()
    return images.pixels[:, 0, 0, 0].tolist()


def in_hash_order(*parts: str) -> list[int]:
    by_hash = {
        hashlib.sha256(f"{part}/{k}.png".encode()).hexdigest(): shade(part, k)
        for part in parts
        for k in range(1, COUNTS[part] + 1)
    }
    return [by_hash[key] for key in sorted(by_hash)]


def assert_is_svhn(data_dir: Path | None = None) -> None:
    train, valid, test = (load("svhn", split, data_dir=data_dir) for split in SPLITS)
    everything = in_hash_order("train", "extra")
    assert shades(valid) == everything[:1]
    assert shades(train) == everything[1:]
    assert shades(test) == in_hash_order("test")
    assert train.composition == RandomCrop((3, 54, 54))
    for images in (train, valid, test):
        assert images.shape == (3, 54, 54)
        assert images.binarisation == "none"
        assert images.labels is None
    assert train.batch(torch.tensor([3, 0])).shape == (2, 3, 54, 54)
    assert valid.composition is None
    assert test.composition is None


def test_archives_are_fetched_once_and_decoded_once(
    server: Server, monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    publish(server, monkeypatch)
    assert_is_svhn()
    assert [path for path, _ in server.asked] == [f"/{part}.tar.gz" for part in COUNTS]
    assert {path.name: path.stat().st_size for path in cache.glob("*.packed")} == {
        "svhn-train-extra.packed": 12 * BYTES + TAIL,
        "svhn-test.packed": 3 * BYTES + TAIL,
    }
    monkeypatch.setattr(svhn, "pack", None)  # would be called if they were decoded again
    assert_is_svhn()
    for part in COUNTS:
        (cache / f"{part}.tar.gz").unlink()
    assert_is_svhn()
    assert len(server.asked) == 3


def test_folders_do_as_well(tmp_path: Path, server: Server) -> None:
    unpack(tmp_path, *COUNTS)
    assert_is_svhn(tmp_path)
    assert server.asked == []


def test_a_folder_and_an_archive_do_together(
    server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    publish(server, monkeypatch)
    unpack(tmp_path, "extra")
    assert_is_svhn(tmp_path)
    assert [path for path, _ in server.asked] == ["/train.tar.gz", "/test.tar.gz"]


def test_validation_is_as_many_as_the_papers_of_all_that_were_published(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    everything = torch.zeros(1, 3, 64, 64, dtype=torch.uint8).expand(235_755, 3, 64, 64)
    monkeypatch.setattr(svhn, "_house_numbers", lambda *_: everything)
    assert len(load("svhn", "valid")) == 4_701
    assert len(load("svhn", "train")) == 231_054


def test_validation_and_test_show_the_middle(monkeypatch: pytest.MonkeyPatch) -> None:
    noise = torch.randint(0, 256, (3, 3, 64, 64), dtype=torch.uint8)
    monkeypatch.setattr(svhn, "_house_numbers", lambda *_: noise)
    assert torch.equal(load("svhn", "test").pixels, noise[:, :, 5:-5, 5:-5])
    assert torch.equal(load("svhn", "valid").pixels, noise[:1, :, 5:-5, 5:-5])


def test_the_pictures_are_mapped_not_read(tmp_path: Path, cache: Path) -> None:
    unpack(tmp_path, *COUNTS)
    before = maps().count("svhn-train-extra.packed")
    images = load("svhn", "train", data_dir=tmp_path)
    assert maps().count("svhn-train-extra.packed") == before + 1
    content = (cache / "svhn-train-extra.packed").read_bytes()
    images.pixels[0] = 0  # a picture that is changed in memory stays what it is on the disk
    assert (cache / "svhn-train-extra.packed").read_bytes() == content


def maps() -> str:
    path = Path("/proc/self/maps")
    if not path.exists():
        pytest.skip("this system does not tell what is mapped")
    return path.read_text()


def test_progress_tells_both_passes(tmp_path: Path) -> None:
    unpack(tmp_path, "test")
    told: list[tuple[str, int, int]] = []
    load("svhn", "test", data_dir=tmp_path, progress=lambda *report: told.append(report))
    assert told == [
        *(("boxes of house numbers", count, 3) for count in (1, 2, 3)),
        *(("house numbers", count, 3) for count in (1, 2, 3)),
    ]


@pytest.mark.parametrize("change", ["time", "size"])
def test_when_a_source_has_changed_it_is_decoded_again(tmp_path: Path, change: str) -> None:
    unpack(tmp_path, "test")
    assert shades(load("svhn", "test", data_dir=tmp_path)) == in_hash_order("test")
    for k in range(1, 4):
        (tmp_path / f"test/{k}.png").write_bytes(plain(9))
    assert shades(load("svhn", "test", data_dir=tmp_path)) == in_hash_order("test")
    mat = tmp_path / "test/digitStruct.mat"
    stat = mat.stat()
    if change == "size":
        mat.write_bytes(mat.read_bytes() + b"\0")
    os.utime(mat, ns=(stat.st_atime_ns, stat.st_mtime_ns + (change == "time")))
    assert shades(load("svhn", "test", data_dir=tmp_path)) == [9, 9, 9]


@pytest.mark.parametrize("size", [0, 10, TAIL, BYTES + TAIL, 3 * BYTES])
def test_a_damaged_packed_file_is_made_again_or_if_that_cannot_be_an_error_that_names_it(
    tmp_path: Path, cache: Path, size: int
) -> None:
    unpack(tmp_path, "test")
    load("svhn", "test", data_dir=tmp_path)
    packed = cache / "svhn-test.packed"
    with packed.open("rb+") as file:
        file.truncate(size)
    with pytest.raises(DataError, match=r"svhn-test\.packed .* cut or padded"):
        load("svhn", "test")
    assert shades(load("svhn", "test", data_dir=tmp_path)) == in_hash_order("test")


def changed(part: str, **contents: bytes | None) -> bytes:
    """The archive of a part with other files, named without part and suffix; None removes one."""
    inside = files(part)
    for name, content in contents.items():
        path = next(path for path in inside if Path(path).stem == name)
        if content is None:
            del inside[path]
        else:
            inside[path] = content
    return tar_gz(inside)


WHOLE = tar_gz(files("test"))
OUTSIDE = digit_struct({"1.png": [(99, 5, 10, 20)], "2.png": [(5, 5, 9, 9)]})


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (WHOLE[:-100], "cannot be read"),
        (WHOLE[:-8] + bytes([WHOLE[-8] ^ 1]) + WHOLE[-7:], "CRC"),
        (gzip.compress(b"no archive" * 99), "cannot be read"),
        (changed("test", digitStruct=None), r"lacks test/digitStruct\.mat"),
        (changed("test", **{"2": None}), r"lacks test/2\.png"),
        (changed("test", digitStruct=b"MATLAB 5"), r"test/digitStruct\.mat cannot be read"),
        (changed("test", digitStruct=OUTSIDE), r"test/1\.png: the box .* outside"),
        (changed("test", digitStruct=digit_struct({"1.png": [(5, 5, 9, 9)]})), ": 1 house numbers"),
        (changed("test", **{"2": b"no picture"}), r"test/2\.png cannot be decoded"),
        (changed("test", **{"2": bytes(1 << 17)}), r"test/2\.png has 131072 bytes"),
    ],
    ids=[
        *("cut", "gzip's checksum", "no archive", "no boxes", "no photograph", "other boxes"),
        *("box outside", "one number", "no PNG", "a huge photograph"),
    ],
)
def test_an_archive_of_another_form_is_an_error_and_leaves_nothing_packed(
    server: Server, monkeypatch: pytest.MonkeyPatch, cache: Path, content: bytes, told: str
) -> None:
    monkeypatch.setattr(house_numbers, "LARGEST_PNG", 1 << 16)
    publish(server, monkeypatch, test=content)
    with pytest.raises(DataError, match=told) as caught:
        load("svhn", "test")
    assert "\n" not in str(caught.value)
    assert [path.name for path in cache.iterdir()] == ["test.tar.gz"]


def test_a_folder_that_lacks_a_photograph_is_an_error_that_names_it(tmp_path: Path) -> None:
    unpack(tmp_path, "test")
    missing = tmp_path / "test/3.png"
    missing.unlink()
    with pytest.raises(DataError, match=f"{missing} is missing"):
        load("svhn", "test", data_dir=tmp_path)


def test_an_archive_must_have_its_published_size(tmp_path: Path) -> None:
    path = tmp_path / "test.tar.gz"
    path.write_bytes(WHOLE)
    with pytest.raises(DataError, match=f"{path} holds .* has 276555967"):
        load("svhn", "test", data_dir=tmp_path)


def test_without_h5py_it_is_told_what_to_install_before_anything_is_fetched(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(server, monkeypatch)
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(DataError, match=r"pip install 'draw\[svhn\]'"):
        load("svhn", "test")
    assert server.asked == []


# ---- single digits


def digits(count: int) -> tuple[np.ndarray, np.ndarray]:
    """X and y as published: pixels [32, 32, 3, n], and labels 1 to 10 in a column."""
    X = np.random.default_rng(0).integers(0, 256, (32, 32, 3, count), np.uint8)
    return X, (1 + np.arange(count, dtype=np.uint8) % 10)[:, None]


def mat(compressed: bool = True, **arrays: Any) -> bytes:
    file = io.BytesIO()
    savemat(file, arrays, do_compression=compressed)
    return file.getvalue()


X, Y = digits(20)


@pytest.mark.parametrize("compressed", [False, True])
def test_the_label_of_a_digit_is_the_digit(tmp_path: Path, compressed: bool) -> None:
    path = tmp_path / "x.mat"
    path.write_bytes(mat(compressed, X=X, y=Y))
    pixels, labels = read_mat(path)
    assert labels.tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9, 0] * 2
    for n, channel, row, column in ((0, 0, 0, 0), (7, 2, 31, 5), (19, 1, 3, 30)):
        assert pixels[n, channel, row, column] == X[row, column, channel, n]


def test_validation_are_the_last_of_the_published_training_digits(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(svhn, "DIGITS_HELD_OUT", 6)
    for part, content in (("train", mat(X=X, y=Y)), ("test", mat(X=X[..., :5], y=Y[:5]))):
        name = f"{part}_32x32.mat"
        monkeypatch.setitem(DIGITS, part, remote(name, content, server.serve(name, content)))
    everything = torch.from_numpy(X).permute(3, 2, 0, 1)
    for split, part in {"train": slice(14), "valid": slice(14, 20), "test": slice(5)}.items():
        images = load("svhn-cropped", split, shape=(3, 32, 32))
        assert torch.equal(images.pixels, everything[part])
        assert images.labels is not None
        assert images.labels.dtype == torch.int64
        assert images.labels.tolist() == (Y[part, 0] % 10).tolist()
        assert images.binarisation == "none"
    assert [path for path, _ in server.asked] == ["/train_32x32.mat", "/test_32x32.mat"]


def test_the_users_digits_are_checked(tmp_path: Path) -> None:
    path = tmp_path / "test_32x32.mat"
    path.write_bytes(mat(X=X, y=Y))
    with pytest.raises(DataError, match=f"{path} holds .* has 64275384"):
        svhn_cropped("test", tmp_path)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        mat(X=X, y=Y)[:-100],
        mat(X=X, y=Y)[:200],
        GOOD,
        mat(X=X),
        mat(y=Y),
        mat(X=X, y=Y[:-1]),
        mat(X=X, y=Y.T),
        mat(X=X[:28], y=Y),
        mat(X=X[:, :, :1], y=Y),
        mat(X=X.astype(np.float64), y=Y),
        mat(X=X, y=Y.astype(np.float64)),
        mat(X=X, y=Y - 1),
        mat(X=X, y=Y + 1),
        mat(X=X[..., :0], y=Y[:0]),
        mat(X=X, y=np.array(["a"] * 20, object)[:, None]),
        mat(X={"a": X}, y=Y),
    ],
    ids=[
        *("empty", "cut", "cut header", "MATLAB 7.3", "no labels", "no pixels", "a label missing"),
        *("labels in a row", "28 rows", "grey", "real pixels", "real labels", "labels from 0"),
        *("labels to 11", "no digits", "cells", "a struct"),
    ],
)
def test_digits_of_another_form_are_an_error_that_names_the_file(
    tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "x_32x32.mat"
    path.write_bytes(content)
    with pytest.raises(DataError, match=f"{path} cannot be read as SVHN's digits"):
        read_mat(path)
