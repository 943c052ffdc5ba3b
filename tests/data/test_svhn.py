"""SVHN, from small files in the published formats."""

import hashlib
import io
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.io import savemat

from draw.data import SPLITS, house_numbers, load, svhn
from draw.data.dataset import Images
from draw.data.house_numbers import IMAGE_BYTES
from draw.data.packed import TAIL_BYTES
from draw.data.svhn import ARCHIVES
from draw.data.transforms import RandomCrop
from draw.errors import DataError
from tests.data.conftest import Server, remote, tar_gz
from tests.data.test_house_numbers import Numbers, digit_struct, plain

# ---- house numbers

COUNTS = {"train": 7, "extra": 5, "test": 3}
SHADES = {part: 40 * number for number, part in enumerate(COUNTS, start=1)}


def shade(part: str, number: int) -> int:
    """The grey of a photograph, different for each of all parts."""
    return SHADES[part] + number


def files(part: str) -> dict[str, bytes]:
    """The files of a part: photographs of many sizes, numbers of one to four digits."""
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
    """The grey of each image, in order."""
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
    assert train.transform == RandomCrop((3, 54, 54))
    for images in (train, valid, test):
        assert images.shape == (3, 54, 54)
        assert images.binarisation == "none"
        assert images.labels is None
    assert train.batch(torch.tensor([3, 0])).shape == (2, 3, 54, 54)
    assert valid.transform is None
    assert test.transform is None


def test_archives_are_downloaded_once_and_read_once(server, monkeypatch, cache):
    publish(server, monkeypatch)
    assert_is_svhn()
    assert [path for path, _ in server.requests] == [f"/{part}.tar.gz" for part in COUNTS]
    assert {path.name: path.stat().st_size for path in cache.glob("*.packed")} == {
        "svhn-train-extra.packed": 12 * IMAGE_BYTES + TAIL_BYTES,
        "svhn-test.packed": 3 * IMAGE_BYTES + TAIL_BYTES,
    }
    monkeypatch.setattr(svhn, "pack", None)  # to fail if they were cut out again
    assert_is_svhn()
    for part in COUNTS:
        (cache / f"{part}.tar.gz").unlink()
    assert_is_svhn()
    assert len(server.requests) == 3


def test_unpacked_folders_are_used(tmp_path, server):
    unpack(tmp_path, *COUNTS)
    assert_is_svhn(tmp_path)
    assert server.requests == []


def test_a_folder_can_be_combined_with_an_archive(server, monkeypatch, tmp_path):
    publish(server, monkeypatch)
    unpack(tmp_path, "extra")
    assert_is_svhn(tmp_path)
    assert [path for path, _ in server.requests] == ["/train.tar.gz", "/test.tar.gz"]


def test_validation_has_as_many_images_as_in_the_paper(monkeypatch, cache):
    cache.mkdir(parents=True)
    with (cache / "svhn-train-extra.packed").open("wb") as file:
        file.truncate(235_755 * IMAGE_BYTES + TAIL_BYTES)  # a hole that needs no disk space
    monkeypatch.setattr(svhn, "CROP", 0)
    assert len(load("svhn", "valid")) == 4_701
    assert len(load("svhn", "train")) == 231_054


def test_validation_and_test_images_are_central_crops(cache):
    noise = torch.randint(0, 256, (3, 3, 64, 64), dtype=torch.uint8)
    cache.mkdir(parents=True)
    for name in ("svhn-train-extra.packed", "svhn-test.packed"):
        (cache / name).write_bytes(noise.numpy().tobytes() + bytes(TAIL_BYTES))
    assert torch.equal(load("svhn", "test").pixels, noise[:, :, 5:-5, 5:-5])
    assert torch.equal(load("svhn", "valid").pixels, noise[:1, :, 5:-5, 5:-5])


def test_training_and_validation_images_as_one_split(cache):
    pixels = torch.randint(0, 256, (9, 3, 64, 64), dtype=torch.uint8)
    cache.mkdir(parents=True)
    (cache / "svhn-train-extra.packed").write_bytes(pixels.numpy().tobytes() + bytes(TAIL_BYTES))
    both, train = load("svhn", "train+valid"), load("svhn", "train")
    assert (len(both), both.shape) == (len(train) + len(load("svhn", "valid")), (3, 54, 54))
    assert torch.equal(both.pixels[len(both) - len(train) :], train.pixels)
    assert both.batch(torch.arange(2)).shape == (2, 3, 54, 54)


def test_the_images_are_mapped_not_read(tmp_path, cache):
    unpack(tmp_path, *COUNTS)
    before = maps().count("svhn-train-extra.packed")
    images = load("svhn", "train", data_dir=tmp_path)
    assert maps().count("svhn-train-extra.packed") == before + 1
    content = (cache / "svhn-train-extra.packed").read_bytes()
    images.pixels[0] = 0  # changes the memory, not the file
    assert (cache / "svhn-train-extra.packed").read_bytes() == content


def maps() -> str:
    path = Path("/proc/self/maps")
    if not path.exists():
        pytest.skip("this system does not list mapped files")
    return path.read_text()


def test_concurrent_starts_cut_out_the_house_numbers_once(tmp_path, cache, monkeypatch):
    unpack(tmp_path, *COUNTS)
    calls: list[str] = []

    def pack_slowly(sources: Any, packed: Path, progress: Any) -> None:
        calls.append(packed.name)
        time.sleep(0.2)  # so that the other thread starts meanwhile
        house_numbers.pack(sources, packed, progress)

    monkeypatch.setattr(svhn, "pack", pack_slowly)
    with ThreadPoolExecutor(2) as threads:
        one, other = threads.map(lambda _: load("svhn", "test", data_dir=tmp_path), range(2))
    assert torch.equal(one.pixels, other.pixels)
    assert calls == ["svhn-test.packed"]


def test_progress_reports_both_passes(tmp_path):
    unpack(tmp_path, "test")
    reports: list[tuple[str, int, int]] = []
    load("svhn", "test", data_dir=tmp_path, progress=lambda *report: reports.append(report))
    assert reports == [
        *(("boxes of house numbers", count, 3) for count in (1, 2, 3)),
        *(("house numbers", count, 3) for count in (1, 2, 3)),
    ]


@pytest.mark.parametrize("change", ["time", "size"])
def test_a_changed_source_is_read_again(tmp_path, change):
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


def test_a_truncated_cache_is_rebuilt_or_without_sources_an_error(tmp_path, cache):
    unpack(tmp_path, "test")
    load("svhn", "test", data_dir=tmp_path)
    packed = cache / "svhn-test.packed"
    os.truncate(packed, 3 * IMAGE_BYTES)
    with pytest.raises(DataError, match=r"svhn-test\.packed is incomplete"):
        load("svhn", "test")
    assert shades(load("svhn", "test", data_dir=tmp_path)) == in_hash_order("test")


def changed(part: str, **contents: bytes | None) -> bytes:
    """Build the archive of a part with some contents, named by stem, replaced or removed (None)."""
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
    ("content", "message"),
    [
        (WHOLE[:-100], "cannot be read"),
        (changed("test", digitStruct=None), r"lacks test/digitStruct\.mat"),
        (changed("test", **{"2": None}), r"lacks test/2\.png"),
        (changed("test", digitStruct=b"MATLAB 5"), r"test/digitStruct\.mat cannot be read"),
        (changed("test", digitStruct=OUTSIDE), r"test/1\.png: the box .* outside"),
        (changed("test", digitStruct=digit_struct({"1.png": [(5, 5, 9, 9)]})), ": 1 house numbers"),
        (changed("test", **{"2": b"no picture"}), r"test/2\.png cannot be decoded"),
        (changed("test", **{"2": bytes(1 << 17)}), r"test/2\.png has 131072 bytes"),
    ],
    ids=[
        *("cut", "no boxes", "no photograph", "other boxes", "box outside", "one number", "no PNG"),
        "a huge photograph",
    ],
)
def test_a_damaged_archive_is_an_error_and_leaves_no_cache(
    server, monkeypatch, cache, content, message
):
    monkeypatch.setattr(house_numbers, "MAX_PNG_BYTES", 1 << 16)
    publish(server, monkeypatch, test=content)
    with pytest.raises(DataError, match=message) as caught:
        load("svhn", "test")
    assert "\n" not in str(caught.value)
    assert list(cache.glob("*.packed")) == []


def test_a_missing_photograph_is_an_error_that_names_it(tmp_path):
    unpack(tmp_path, "test")
    missing = tmp_path / "test/3.png"
    missing.unlink()
    with pytest.raises(DataError, match=f"{missing} is missing"):
        load("svhn", "test", data_dir=tmp_path)


@pytest.mark.parametrize(
    ("name", "file", "size"),
    [("svhn", "test.tar.gz", 276_555_967), ("svhn-cropped", "test_32x32.mat", 64_275_384)],
)
def test_a_file_of_another_size_is_an_error(tmp_path, name, file, size):
    (tmp_path / file).write_bytes(WHOLE)
    with pytest.raises(DataError, match=f"{tmp_path / file} has .* has {size}"):
        load(name, "test", data_dir=tmp_path)


def test_without_h5py_the_error_names_the_extra_before_any_download(server, monkeypatch):
    publish(server, monkeypatch)
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(DataError, match=r"pip install 'draw\[svhn\]'"):
        load("svhn", "test")
    assert server.requests == []


# ---- single digits


def mat(count: int) -> tuple[bytes, np.ndarray, np.ndarray]:
    """A file as published: pixels [32, 32, 3, n], and labels 1 to 10 in a column."""
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3, count), np.uint8)
    labels = (1 + np.arange(count, dtype=np.uint8) % 10)[:, None]
    file = io.BytesIO()
    savemat(file, {"X": pixels, "y": labels}, do_compression=True)
    return file.getvalue(), pixels, labels


def test_single_digits_are_labelled_and_validation_is_the_end_of_the_training_set(
    server, monkeypatch
):
    monkeypatch.setattr(svhn, "VALIDATION_DIGITS", 6)
    contents = {"train": mat(20), "test": mat(5)}
    for part, (content, _, _) in contents.items():
        name = f"{part}_32x32.mat"
        file = remote(name, content, server.serve(name, content))
        monkeypatch.setitem(svhn.DIGITS, part, file)
    for split, rows in {"train": slice(14), "valid": slice(14, 20), "test": slice(5)}.items():
        _, pixels, labels = contents["test" if split == "test" else "train"]
        images = load("svhn-cropped", split, shape=(3, 32, 32))
        np.testing.assert_array_equal(images.pixels, pixels.transpose(3, 2, 0, 1)[rows])
        assert images.labels is not None
        assert images.labels.dtype == torch.int64
        assert images.labels.tolist() == (labels[rows, 0] % 10).tolist()
        assert images.binarisation == "none"
    assert [path for path, _ in server.requests] == ["/train_32x32.mat", "/test_32x32.mat"]


def test_without_scipy_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy.io", None)
    with pytest.raises(DataError, match=r"needs scipy.io: pip install 'draw\[svhn\]'"):
        load("svhn-cropped", "test")
