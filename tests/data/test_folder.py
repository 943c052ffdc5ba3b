"""A folder of images: its splits, its damaged files, and the cache of decoded images."""

import logging
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import torch
from PIL import Image

from draw.data import SPLITS, folder
from draw.data.dataset import Images
from draw.data.download import Progress, Source
from draw.data.packed import TAIL_BYTES
from draw.errors import DataError

Shape = tuple[int, int, int]


def load(
    path: Path, split: str = "train", shape: Shape = (1, 2, 2), progress: Progress | None = None
) -> Images:
    return folder.folder(split, Source(path, progress), shape)


def split_of(path: Path) -> dict[str, list[Path]]:
    """The paths of the pictures by split."""
    found = folder.split_pictures(path, Counter())
    return {split: [picture.path for picture in pictures] for split, pictures in found.items()}


def shades(images: Images) -> list[int]:
    """The numbers of the pictures created by `fill`."""
    return images.pixels[:, 0, 0, 0].tolist()


def all_shades(path: Path) -> list[int]:
    return sorted(chain(*(shades(load(path, split)) for split in SPLITS)))


def fill(path: Path, numbers: range) -> None:
    """Create pictures whose grey is their number."""
    path.mkdir(parents=True, exist_ok=True)
    for number in numbers:
        Image.new("L", (2, 2), number).save(path / f"{number}.png")


# ---- splits


@pytest.mark.parametrize("count", [3, 4, 9, 20, 29, 100])
def test_the_splits_are_disjoint_complete_and_not_empty(tmp_path, count):
    fill(tmp_path, range(count))
    parts = split_of(tmp_path)
    assert all(parts.values())
    assert sorted(chain(*parts.values())) == sorted(tmp_path.iterdir())


def test_each_tenth_picture_is_for_validation_and_for_the_test(tmp_path):
    for number in range(2000):
        (tmp_path / f"{number}.png").touch()
    sizes = {split: len(paths) for split, paths in split_of(tmp_path).items()}
    assert sum(sizes.values()) == 2000
    for part in ("valid", "test"):  # 200 expected, with a standard deviation of 13
        assert 150 < sizes[part] < 250
    held_out = [int(path.stem) for path in split_of(tmp_path)["test"]]
    assert max(held_out) - min(held_out) > 400  # not a run of neighbouring names


def test_a_picture_stays_in_its_split_when_others_are_added(tmp_path):
    """The test set must never contain pictures of an earlier training set."""
    fill(tmp_path, range(100))
    before = {split: set(paths) for split, paths in split_of(tmp_path).items()}
    fill(tmp_path, range(100, 200))
    for split, paths in split_of(tmp_path).items():
        assert before[split] <= set(paths)


def test_the_splits_depend_only_on_the_names(tmp_path):
    fill(tmp_path / "a", range(30))
    fill(tmp_path / "elsewhere" / "b", range(29, -1, -1))
    for split in SPLITS:
        expected = shades(load(tmp_path / "a", split))
        assert shades(load(tmp_path / "elsewhere" / "b", split)) == expected


# ---- which files are pictures


def test_nested_folders_unusual_names_and_capital_suffixes_are_found(tmp_path):
    names = [
        *("a.png", "b c.JPG", "d/e.Jpeg", "d/f/g h.webp", "ü/Ελλάδα.gif", "日本 1.PNG"),
        *("50%.png", "#1?.png", "[x].png", "-o.png", "two.dots.png"),
        os.fsdecode("Gemälde.png".encode("latin-1")),  # not valid Unicode
    ]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        with (tmp_path / name).open("wb") as file:
            Image.new("RGB", (5, 5)).save(file, "PNG")
    assert sum(len(load(tmp_path, split)) for split in SPLITS) == len(names)


def test_other_files_are_ignored(tmp_path, caplog):
    fill(tmp_path, range(3))
    for name in ("notes.txt", "movie.mp4", "png", "x.png.part", "Thumbs.db"):
        (tmp_path / name).write_bytes(b"no image")
    (tmp_path / "folder.png").mkdir()
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "zero.png").symlink_to("/dev/zero")
    assert all_shades(tmp_path) == [0, 1, 2]
    assert caplog.messages == []


def test_unsupported_formats_are_counted_in_one_warning(tmp_path, caplog):
    fill(tmp_path / "pictures", range(20))
    for name in ("a.HEIC", "b.heic", "pictures/c.bmp", "notes.txt"):
        (tmp_path / name).write_bytes(b"no image")
    assert all_shades(tmp_path) == list(range(20))
    formats = ".gif, .jfif, .jpe, .jpeg, .jpg, .png, .webp"
    assert caplog.messages == [
        f"skipped images in unsupported formats: 1 .bmp, 2 .heic (supported formats: {formats})"
    ]


def test_hidden_files_and_folders_are_ignored(tmp_path, caplog):
    album = tmp_path / ".album"  # a hidden folder can be named
    fill(album, range(30))
    hidden = album / ".ipynb_checkpoints"
    hidden.mkdir()
    for number in range(30):  # some of them would be in each split
        shutil.copy(album / f"{number}.png", hidden / f"{number}-checkpoint.png")
        (album / f"._{number}.png").write_bytes(b"\0\5\x16\7\0\2\0\0Mac OS X")
    (album / ".photo.heic").touch()
    assert all_shades(album) == list(range(30))
    assert caplog.messages == []


def test_links_to_pictures_are_followed(tmp_path):
    album = tmp_path / "album"
    fill(album / "deep", range(3))
    fill(tmp_path / "outside", range(100, 103))
    (album / "3.png").symlink_to(tmp_path / "outside" / "100.png")
    (album / "4.png").symlink_to("../outside/101.png")
    (album / "5.png").symlink_to("4.png")  # leads to the same picture
    (album / "6.png").symlink_to("deep/2.png")
    (album / "self.png").symlink_to("self.png")
    (album / "dangling.png").symlink_to("missing.png")
    assert all_shades(album) == [0, 1, 2, 100, 101]


def test_links_to_folders_are_followed_once(tmp_path):
    album, outside = tmp_path / "album", tmp_path / "outside"
    fill(album / "birds", range(3))
    fill(outside / "cats", range(100, 103))
    (album / "a").symlink_to(album / "birds")  # a second name of a folder
    (album / "birds" / "circle").symlink_to(album)
    (album / "cats").symlink_to(outside / "cats")
    (outside / "cats" / "again").symlink_to(outside / "cats")
    (album / "tabbies").symlink_to(outside / "cats")
    (album / "dangling").symlink_to(tmp_path / "missing")
    (album / ".hidden").symlink_to(outside)
    assert all_shades(album) == [0, 1, 2, 100, 101, 102]
    found = sorted(chain(*split_of(album).values()))
    assert {path.parent for path in found} == {album / "birds", album / "cats"}


@pytest.mark.parametrize("count", [0, 1, 2])
def test_fewer_than_three_pictures_are_an_error(tmp_path, count):
    fill(tmp_path, range(count))
    (tmp_path / "a.tiff").write_bytes(b"no image")
    message = (
        rf"has {count} images? \(.*\.png.* and 1 \.tiff \(not supported\); at least 3 are needed"
    )
    with pytest.raises(DataError, match=message):
        load(tmp_path)


def test_a_folder_that_does_not_exist_is_an_error(tmp_path):
    (tmp_path / "file").touch()
    for name in ("missing", "file"):
        with pytest.raises(DataError, match=f"{name} is not a folder"):
            load(tmp_path / name)
    with pytest.raises(DataError, match="needs --data-dir"):
        folder.folder("train", Source(), (1, 2, 2))


Lock = Callable[[Path, int], None]


@pytest.fixture
def lockable(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Path, Lock]]:
    """Pictures, some in a folder `locked`, and a function that changes permissions.

    Root can read everything, so that function also gives up its privileges.
    """
    with TemporaryDirectory() as name:
        path = Path(name)
        fill(path / "album", range(3))
        fill(path / "album" / "locked", range(100, 130))
        for made in [path, *path.rglob("*")]:
            made.chmod(0o777)
        monkeypatch.setenv("XDG_CACHE_HOME", str(path / "cache"))
        user = os.geteuid()

        def lock(locked: Path, mode: int) -> None:
            os.seteuid(user)
            locked.chmod(mode)
            if user == 0:
                os.seteuid(65534)

        yield path / "album", lock
        os.seteuid(user)
        (path / "album" / "locked").chmod(0o777)


@pytest.mark.parametrize(
    ("mode", "message"),
    [
        (0o000, "locked cannot be listed: Permission denied"),
        (0o444, "locked/129.png cannot be read: Permission denied"),
    ],
)
def test_a_folder_without_permission_is_skipped_with_a_warning(lockable, caplog, mode, message):
    album, lock = lockable
    lock(album / "locked", mode)
    assert load(album).pixels.max() < 3
    assert message in caplog.text


# ---- damaged images


@pytest.fixture
def album(tmp_path: Path) -> Path:
    fill(tmp_path / "album", range(60))
    return tmp_path / "album"


@pytest.fixture
def bad(album: Path) -> Path:
    """A training picture that cannot be decoded."""
    path = split_of(album)["train"][3]
    path.write_bytes(path.read_bytes()[:40])
    return path


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the pictures that are decoded from now on."""
    names: list[str] = []

    def counted(paths: Sequence[Path], shape: Shape) -> Any:
        names.extend(path.name for path in paths)
        return decode_all(paths, shape)

    decode_all = folder.decode_all
    monkeypatch.setattr(folder, "decode_all", counted)
    return names


def names(album: Path) -> list[str]:
    """List the names of the pictures for training, in order."""
    return [path.name for path in split_of(album)["train"]]


def assert_as_new(images: Images, album: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pixels, order and digest equal those of a folder that is loaded without a cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(album.parent / "another"))
    new = load(album, shape=images.shape)
    assert torch.equal(images.pixels, new.pixels)
    assert images.digest() == new.digest() == Images(pixels=new.pixels.clone()).digest()


def test_a_damaged_picture_is_skipped_with_a_warning_until_it_is_repaired(
    album, bad, decoded, cache, caplog, monkeypatch
):
    first = load(album)
    assert len(first) == len(names(album)) - 1
    assert int(bad.stem) not in shades(first)
    (packed,) = cache.glob("*.packed")
    inode = packed.stat().st_ino
    decoded.clear()
    second = load(album)
    assert decoded == [bad.name]
    assert torch.equal(first.pixels, second.pixels)
    assert packed.stat().st_ino == inode  # not written again
    assert len(caplog.messages) == 2
    assert all(message.startswith(f"skipped: {bad} cannot be") for message in caplog.messages)
    load(album, "valid")
    assert len(caplog.messages) == 2
    Image.new("L", (2, 2), 200).save(bad)
    repaired = load(album)
    assert shades(repaired)[3] == 200
    assert_as_new(repaired, album, monkeypatch)


def test_an_error_is_raised_if_no_picture_can_be_decoded(album):
    load(album)
    for path in album.iterdir():
        path.write_bytes(b"no image")
    for _ in range(2):
        with pytest.raises(DataError, match=rf"none of the {len(names(album))} training images"):
            load(album)


def test_a_picture_that_disappears_before_it_is_read_is_skipped(album, monkeypatch, caplog):
    found = folder.split_pictures(album, Counter())
    monkeypatch.setattr(folder, "split_pictures", lambda *_: found)
    last = found["train"][-1].path
    last.unlink()
    assert len(load(album)) == len(found["train"]) - 1
    assert caplog.messages == [f"skipped: {last}: no such image"]


@pytest.mark.parametrize("bad_count", [0, 3])
def test_progress_counts_every_picture(album, bad_count):
    for name in names(album)[:bad_count]:
        (album / name).write_bytes(b"no image")
    reports: list[tuple[str, int, int]] = []
    load(album, progress=lambda *report: reports.append(report))
    total = len(names(album))
    assert reports == [("training images", count, total) for count in range(1, total + 1)]


# ---- the cache


def test_a_second_start_decodes_nothing_and_equals_the_first(album, decoded, caplog):
    reports: list[object] = []
    with caplog.at_level(logging.INFO, "draw"):
        first = load(album, shape=(3, 2, 2))
        assert decoded == names(album)
        decoded.clear()
        second = load(album, shape=(3, 2, 2), progress=lambda *report: reports.append(report))
    assert decoded == reports == []
    assert torch.equal(first.pixels, second.pixels)
    assert first.known_digest == second.digest() == Images(pixels=first.pixels.clone()).digest()
    count = len(first)
    message = f"{count} training images: {count} converted to RGB"
    assert caplog.messages == [message] * 2


@pytest.mark.parametrize("channels", [1, 3])
def test_conversions_are_counted_and_transparency_becomes_white(tmp_path, caplog, channels):
    album = tmp_path / "album"
    fill(album, range(40))  # grey, 2 x 2
    for number in range(20):
        Image.new("RGB", (4 + number, 3), "red").save(album / f"red{number}.png")
        clear = Image.new("RGBA", (2, 2), (0, 0, 0, 0))
        clear.save(album / f"clear{number}.png")
    with caplog.at_level(logging.INFO, "draw"):
        images = load(album, shape=(channels, 2, 2))
    found = folder.split_pictures(album, Counter())["train"]
    grey, red, clear = (
        sum(p.path.name.startswith(start) for p in found) for start in ("", "red", "clear")
    )
    grey -= red + clear
    widths = [4 + int(p.path.stem[3:]) for p in found if p.path.name.startswith("red")]
    converted = {1: f"{red + clear} converted to grey", 3: f"{grey} converted to RGB"}[channels]
    assert caplog.messages == [
        f"{len(found)} training images: {red} resized and cropped to 2 x 2 (originals: 2 x 2 to "
        f"{max(widths)} x 3), {converted}, {clear} with transparency blended with white"
    ]
    white = (images.pixels == 255).flatten(1).all(1)
    assert int(white.sum()) == clear


def add(album: Path, chosen: Path) -> None:
    fill(album, range(60, 70))


def touch(album: Path, chosen: Path) -> None:
    """Change the content and the time, and keep the size."""
    before = chosen.stat()
    Image.new("L", (2, 2), 200).save(chosen)
    os.utime(chosen, ns=(0, before.st_mtime_ns + 1))
    assert chosen.stat().st_size == before.st_size


def resize(album: Path, chosen: Path) -> None:
    """Change the content and the size, and keep the time."""
    before = chosen.stat()
    Image.new("L", (2, 2), 200).save(chosen, compress_level=0)
    os.utime(chosen, ns=(0, before.st_mtime_ns))


def remove(album: Path, chosen: Path) -> None:
    chosen.unlink()


@pytest.mark.parametrize("change", [add, touch, resize, remove])
def test_only_new_and_changed_pictures_are_decoded(album, decoded, monkeypatch, change):
    load(album)
    before, chosen = names(album), album / names(album)[3]
    decoded.clear()
    change(album, chosen)
    images = load(album)
    new = [name for name in names(album) if name not in before]
    assert sorted(decoded) == sorted(new + [chosen.name] * (change in (touch, resize)))
    assert (len(new) > 0) == (change is add)
    assert_as_new(images, album, monkeypatch)


def test_renamed_pictures_keep_their_pixels(album, monkeypatch):
    load(album)
    one, other = (album / name for name in names(album)[3:5])
    one.rename(album / "x")
    other.rename(one)
    (album / "x").rename(other)
    assert_as_new(load(album), album, monkeypatch)


def test_each_folder_split_and_shape_has_its_own_cache(album, decoded, cache, monkeypatch):
    load(album)
    load(album, shape=(1, 3, 2))
    load(album, "valid")
    assert len(list(cache.glob("*.packed"))) == 3
    decoded.clear()
    monkeypatch.chdir(album)
    (album.parent / "link").symlink_to(album)
    for name in (".", "../album", "../link"):
        load(Path(name))
    assert decoded == []
    album.rename(album.parent / "moved")
    load(album.parent / "moved")
    assert len(list(cache.glob("*.packed"))) == 4


def test_another_decoder_decodes_everything_again(album, decoded, cache, monkeypatch):
    load(album)
    decoded.clear()
    monkeypatch.setattr(folder, "DECODER", "Pillow 99")
    load(album)
    assert decoded == names(album)
    assert len(list(cache.glob("*.packed"))) == 1


@pytest.mark.parametrize("size", [0, TAIL_BYTES + 37, -1])
def test_a_truncated_cache_is_rebuilt(album, cache, monkeypatch, size):
    load(album)
    (packed,) = cache.glob("*.packed")
    whole = packed.stat().st_size
    os.truncate(packed, size if size >= 0 else whole + size)
    images = load(album)
    assert packed.stat().st_size == whole
    assert_as_new(images, album, monkeypatch)


def test_an_interruption_leaves_no_cache(album, cache):
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        load(album, progress=interrupt)
    assert [path.name for path in cache.iterdir() if path.suffix != ".lock"] == []


def test_a_cache_that_cannot_be_written_is_an_error(album, cache):
    cache.parent.mkdir()
    cache.write_bytes(b"a file in its place")
    with pytest.raises(DataError, match=r"cannot be cached in .* XDG_CACHE_HOME"):
        load(album)


def test_concurrent_starts_decode_once(album, decoded):
    with ThreadPoolExecutor(2) as threads:
        one, other = threads.map(load, [album, album])
    assert torch.equal(one.pixels, other.pixels)
    assert sorted(decoded) == sorted(names(album))


MEASURE_MEMORY = """
import os, sys
from pathlib import Path
import torch
from draw.data import load

def anonymous():  # MiB; mapped pages of files can be dropped at any time
    status = Path("/proc/self/status").read_text()
    return int(status.partition("RssAnon:")[2].split()[0]) >> 10

os.cpu_count = lambda: 2
measured = [anonymous()]
for start in range(2):
    images = load(
        "folder",
        "train",
        shape=(3, 768, 768),
        data_dir=Path(sys.argv[1]),
        progress=lambda *_: measured.append(anonymous()),
    )
    assert images.reference_pixels() is images.pixels
    images.digest(), images.batch(torch.arange(2)), images.subset(2)
    measured.append(anonymous())
print(len(images), max(measured) - measured[0])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads the memory in use from Linux")
def test_the_memory_in_use_does_not_grow_with_the_number_of_pictures(album):
    """Caching and reading a hundred pictures of 1.7 MiB takes less than half of their size."""
    fill(album, range(60, 120))
    command = [sys.executable, "-c", MEASURE_MEMORY, str(album)]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    count, grown = map(int, output.split())
    assert count > 80
    assert grown < 1.7 * count / 2
