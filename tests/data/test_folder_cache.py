"""The packed form in which a folder's pictures are kept: what is decoded again, and when."""

import importlib
import logging
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from draw.data.images import Images
from draw.data.packed import TAIL
from draw.errors import DataError

module = importlib.import_module("draw.data.folder")  # draw.data.folder is its function
SHAPE = 1, 2, 2


@pytest.fixture
def album(tmp_path: Path) -> Path:
    """Sixty pictures whose grey is their number."""
    (tmp_path / "album").mkdir()
    for number in range(60):
        Image.new("L", (2, 2), number).save(tmp_path / "album" / f"{number}.png")
    return tmp_path / "album"


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the pictures that are decoded from now on."""
    names: list[str] = []

    def counted(paths: Sequence[Path], shape: tuple[int, int, int]) -> Any:
        names.extend(path.name for path in paths)
        return decode_all(paths, shape)

    decode_all = module.decode_all
    monkeypatch.setattr(module, "decode_all", counted)
    return names


def load(album: Path, shape: tuple[int, int, int] = SHAPE, **options: Any) -> Images:
    return module.folder("train", album, shape, **options)


def names(album: Path) -> list[str]:
    """The training pictures' names in their order."""
    return [picture.path.name for picture in module._split(album, pytest.fail, Counter())["train"]]


def shades(images: Images) -> list[int]:
    return images.pixels[:, 0, 0, 0].tolist()


def assert_as_new(images: Images, album: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pictures, their order and digest are those of a folder that was never seen before."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(album.parent / "another"))
    new = load(album, images.shape)
    assert torch.equal(images.pixels, new.pixels)
    assert images.digest() == new.digest() == Images(pixels=new.pixels.clone()).digest()


def packed(cache: Path) -> Path:
    (path,) = cache.glob("*.packed")
    return path


def test_the_second_start_decodes_nothing_and_is_like_the_first(
    album: Path, decoded: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    told: list[object] = []
    with caplog.at_level(logging.INFO, "draw"):
        first = load(album, (3, 2, 2))
        assert decoded == names(album)
        decoded.clear()
        second = load(album, (3, 2, 2), progress=lambda *report: told.append(report))
    assert decoded == told == []
    assert torch.equal(first.pixels, second.pixels)
    assert first.digest() == second.digest()
    count = len(first)
    assert (
        caplog.messages
        == [f"{count} of {count} train pictures resized, cropped or converted to 2 x 2 RGB"] * 2
    )


def test_the_digest_is_that_of_the_pixels_and_not_computed_at_a_start(album: Path) -> None:
    images = load(album)
    assert images.known_digest == Images(pixels=images.pixels.clone()).digest()


def test_a_picture_that_is_added_is_decoded_alone(
    album: Path, decoded: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    load(album)
    before = names(album)
    decoded.clear()
    for number in range(60, 70):
        Image.new("L", (2, 2), number).save(album / f"{number}.png")
    images = load(album)
    assert sorted(decoded) == sorted(set(names(album)) - set(before))
    assert decoded
    assert shades(images) == [int(name.removesuffix(".png")) for name in names(album)]
    assert_as_new(images, album, monkeypatch)


def test_a_picture_that_is_removed_goes_without_anything_decoded(
    album: Path, decoded: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    load(album)
    decoded.clear()
    gone = names(album)[3]
    (album / gone).unlink()
    images = load(album)
    assert decoded == []
    assert int(gone.removesuffix(".png")) not in shades(images)
    assert_as_new(images, album, monkeypatch)


@pytest.mark.parametrize("change", ["time", "size"])
def test_a_picture_that_is_changed_is_decoded_alone(
    album: Path, decoded: list[str], monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    load(album)
    decoded.clear()
    path = album / names(album)[3]
    before = path.stat()
    Image.new("L", (2, 2), 200).save(path, compress_level=0 if change == "size" else 6)
    if change == "time":
        assert path.stat().st_size == before.st_size
    os.utime(path, ns=(0, before.st_mtime_ns + (change == "time")))
    images = load(album)
    assert decoded == [path.name]
    assert shades(images)[3] == 200
    assert_as_new(images, album, monkeypatch)


def test_pictures_that_change_their_names_stay_with_them(
    album: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load(album)
    one, other = (album / name for name in names(album)[3:5])
    one.rename(album / "x")
    other.rename(one)
    (album / "x").rename(other)
    assert_as_new(load(album), album, monkeypatch)


def test_another_shape_split_or_folder_is_kept_beside_it(
    album: Path, decoded: list[str], cache: Path
) -> None:
    load(album)
    load(album, (1, 3, 2))
    module.folder("valid", album, SHAPE)
    album.rename(album.parent / "moved")
    load(album.parent / "moved")
    assert len(list(cache.glob("*.packed"))) == 4
    decoded.clear()
    load(album.parent / "moved", (1, 2, 2))
    assert decoded == []


def test_a_folder_is_the_same_however_it_is_named(
    album: Path, decoded: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    load(album)
    decoded.clear()
    monkeypatch.chdir(album)
    (album.parent / "link").symlink_to(album)
    for name in (".", "../album", "../link"):
        load(Path(name))
    assert decoded == []


def test_another_decoder_decodes_all_again_in_the_same_place(
    album: Path, decoded: list[str], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load(album)
    decoded.clear()
    monkeypatch.setattr(module, "DECODER", "Pillow 99")
    load(album)
    assert decoded == names(album)
    assert packed(cache)


@pytest.mark.parametrize("size", [0, 10, TAIL, TAIL + 37, TAIL + 370, -37, -1])
def test_a_packed_file_that_was_cut_is_made_again(
    album: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    load(album)
    whole = packed(cache).stat().st_size
    os.truncate(packed(cache), size if size >= 0 else whole + size)
    images = load(album)
    assert packed(cache).stat().st_size == whole
    assert_as_new(images, album, monkeypatch)


@pytest.fixture
def bad(album: Path) -> Path:
    """One of the training pictures, which is none."""
    path = album / names(album)[3]
    path.write_bytes(b"no picture")
    return path


def test_a_bad_picture_is_told_at_each_start_and_alone_tried_again(
    album: Path, bad: Path, decoded: list[str], cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = load(album, skip_bad=True)
    made = packed(cache).stat()
    decoded.clear()
    second = load(album, skip_bad=True)
    assert decoded == [bad.name]
    assert torch.equal(first.pixels, second.pixels)
    assert caplog.messages == [caplog.messages[0]] * 2
    assert packed(cache).stat().st_ino == made.st_ino  # and not written again
    with pytest.raises(DataError, match=f"{bad.name} cannot be decoded.* --skip-bad"):
        load(album)


def test_a_bad_picture_that_was_mended_is_there_again(
    album: Path, bad: Path, decoded: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    load(album, skip_bad=True)
    decoded.clear()
    Image.new("L", (2, 2), 200).save(bad)
    images = load(album)
    assert decoded == [bad.name]
    assert shades(images)[3] == 200
    assert_as_new(images, album, monkeypatch)


def test_pictures_that_all_went_bad_are_an_error(album: Path) -> None:
    load(album)
    for path in album.iterdir():
        path.write_bytes(b"no picture")
    for _ in range(2):
        with pytest.raises(DataError, match=r"none of the \d+ train pictures"):
            load(album, skip_bad=True)


def test_an_error_half_way_leaves_no_packed_file(album: Path, bad: Path, cache: Path) -> None:
    with pytest.raises(DataError, match=bad.name):
        load(album)
    assert [path.name for path in cache.iterdir() if path.suffix != ".lock"] == []


def test_a_picture_that_vanishes_before_it_is_read_is_named(
    album: Path, caplog: pytest.LogCaptureFixture
) -> None:
    last = album / names(album)[-1]
    with pytest.raises(DataError, match=f"{last.name}: no such picture; --skip-bad"):
        load(album, progress=lambda *_: last.unlink(missing_ok=True))
    Image.new("L", (2, 2), 200).save(last)
    count = len(names(album))
    told = load(album, skip_bad=True, progress=lambda *_: last.unlink(missing_ok=True))
    assert len(told) == count - 1
    assert f"{last.name}: no such picture" in caplog.text


def test_a_cache_that_cannot_be_written_is_an_error_that_tells_of_another(
    album: Path, cache: Path
) -> None:
    cache.parent.mkdir()
    cache.write_bytes(b"a file in its place")
    with pytest.raises(DataError, match=r"cannot be written.* XDG_CACHE_HOME"):
        load(album)


def test_of_two_that_start_at_once_one_decodes(album: Path, decoded: list[str]) -> None:
    with ThreadPoolExecutor(2) as threads:
        one, other = threads.map(load, [album, album])
    assert torch.equal(one.pixels, other.pixels)
    assert sorted(decoded) == sorted(names(album))


MEASURED = """
import sys
from pathlib import Path
import torch
from draw.data import load

def own():  # MiB that are no file's: mapped pages of a file are given up at any time
    status = Path("/proc/self/status").read_text()
    return int(status.partition("RssAnon:")[2].split()[0]) >> 10

def tell(*_):
    seen.append(own())

seen = [own()]
for start in range(2):
    album = Path(sys.argv[1])
    images = load("folder", "train", shape=(3, 1024, 1024), data_dir=album, progress=tell)
    tell()
    assert images.pictures() is images.pixels
    images.digest(), images.batch(torch.arange(2)), images.subset(2)
    tell()
print(len(images), max(seen) - seen[0])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="asks for memory as Linux tells it")
def test_the_memory_needed_does_not_grow_with_the_pictures(album: Path) -> None:
    """Of some fifty pictures of 3 MiB, neither packing nor a new start takes half of their size."""
    call = [sys.executable, "-c", MEASURED, str(album)]
    told = subprocess.run(call, check=True, capture_output=True, text=True).stdout
    count, grown = map(int, told.split())
    assert count > 40
    assert grown < 3 * count / 2
