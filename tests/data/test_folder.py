"""A folder of pictures: its splits, its bad ones, and the packed form in which it is kept."""

import logging
import os
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import torch
from PIL import Image

from draw.data.folder import _split, folder
from draw.errors import DataError

SPLITS = ("train", "valid", "test")


def split_of(path: Path) -> dict[str, list[Path]]:
    """The pictures of a folder by split."""
    found = _split(path, pytest.fail, Counter())
    return {split: [picture.path for picture in pictures] for split, pictures in found.items()}


def shades(split: str, path: Path) -> list[int]:
    """Which of the pictures made by `fill` are in a split."""
    return sorted(folder(split, path, (1, 2, 2)).pixels[:, 0, 0, 0].tolist())


def fill(path: Path, numbers: range) -> None:
    """Pictures whose grey is their number."""
    path.mkdir(parents=True, exist_ok=True)
    for number in numbers:
        Image.new("L", (2, 2), number).save(path / f"{number}.png")


def test_the_pictures_are_in_the_range_0_to_255_and_never_binarised(tmp_path: Path) -> None:
    fill(tmp_path, range(3))
    images = folder("train", tmp_path, (3, 8, 5))
    assert images.pixels.dtype == torch.uint8
    assert images.shape == (3, 8, 5)
    assert images.binarisation == "none"
    assert images.labels is None


@pytest.mark.parametrize("count", [3, 4, 9, 20, 29, 100])
def test_the_splits_are_disjoint_complete_and_never_empty(tmp_path: Path, count: int) -> None:
    fill(tmp_path, range(count))
    parts = [shades(split, tmp_path) for split in SPLITS]
    assert all(parts)
    assert sorted(chain(*parts)) == list(range(count))


def test_one_picture_in_ten_is_for_validation_and_one_for_the_test(tmp_path: Path) -> None:
    for number in range(2000):
        (tmp_path / f"{number}.png").touch()
    sizes = {split: len(paths) for split, paths in split_of(tmp_path).items()}
    assert sizes["train"] + sizes["valid"] + sizes["test"] == 2000
    for part in ("valid", "test"):  # 200 in expectation, with a standard deviation of 13
        assert 150 < sizes[part] < 250


def test_a_picture_stays_in_its_split_when_others_are_added(tmp_path: Path) -> None:
    """Or else pictures that were trained on would be tested on."""
    fill(tmp_path, range(100))
    before = {split: set(shades(split, tmp_path)) for split in SPLITS}
    fill(tmp_path, range(100, 200))
    for split, pictures in before.items():
        assert pictures <= set(shades(split, tmp_path))


def test_the_splits_depend_on_the_names_alone(tmp_path: Path) -> None:
    fill(tmp_path / "a", range(30))
    fill(tmp_path / "elsewhere" / "b", range(29, -1, -1))
    for split in SPLITS:
        assert shades(split, tmp_path / "a") == shades(split, tmp_path / "elsewhere" / "b")
        assert shades(split, tmp_path / "a") == shades(split, tmp_path / "a")


def test_the_split_is_no_run_of_neighbouring_names(tmp_path: Path) -> None:
    fill(tmp_path, range(100))
    held = shades("test", tmp_path)
    assert max(held) - min(held) > 20


def test_nested_folders_odd_names_and_capital_suffixes_are_found(tmp_path: Path) -> None:
    names = [
        *("a.png", "b c.JPG", "d/e.Jpeg", "d/f/g h.webp", "ü/Ελλάδα.gif", "日本 1.PNG"),
        *("50%.png", "#1?.png", "[x].png", "-o.png", ".hidden.png", "two.dots.png"),
    ]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (5, 5)).save(tmp_path / name)
    assert sum(len(folder(split, tmp_path, (3, 5, 5))) for split in SPLITS) == len(names)


def test_a_name_that_is_not_unicode_is_found(tmp_path: Path) -> None:
    fill(tmp_path, range(3))
    old_name = os.fsdecode("Gemälde.png".encode("latin-1"))  # as an old archive unpacks it
    (tmp_path / "0.png").rename(tmp_path / old_name)
    assert sorted(chain(*(shades(split, tmp_path) for split in SPLITS))) == [0, 1, 2]


def test_what_is_no_picture_by_its_name_is_ignored(tmp_path: Path) -> None:
    fill(tmp_path, range(3))
    for name in ("notes.txt", "movie.mp4", "png", "x.png.part", "Thumbs.db"):
        (tmp_path / name).write_bytes(b"no picture")
    (tmp_path / "folder.png").mkdir()
    assert [len(folder(split, tmp_path, (1, 2, 2))) for split in SPLITS] == [1, 1, 1]


def test_pictures_of_kinds_that_are_not_read_are_counted_once_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fill(tmp_path / "pictures", range(20))
    for name in ("a.HEIC", "b.heic", "pictures/c.bmp", "notes.txt"):
        (tmp_path / name).write_bytes(b"no picture")
    with caplog.at_level(logging.WARNING, "draw"):
        counts = [len(folder(split, tmp_path, (1, 2, 2))) for split in SPLITS]
    assert sum(counts) == 20
    kinds = ".gif, .jfif, .jpe, .jpeg, .jpg, .png, .webp"
    assert caplog.messages == [f"left out, as only {kinds} are read: 1 .bmp, 2 .heic"]


def test_too_few_pictures_are_told_with_those_of_kinds_that_are_not_read(tmp_path: Path) -> None:
    (tmp_path / "a.tiff").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"; it also holds 1 \.tiff, which are not read$"):
        folder("train", tmp_path, (1, 2, 2))


@pytest.mark.parametrize("count", [0, 1, 2])
def test_fewer_than_three_pictures_are_an_error_that_tells_their_number(
    tmp_path: Path, count: int
) -> None:
    fill(tmp_path, range(count))
    with pytest.raises(DataError, match=rf"holds {count} pictures .*\.png.* at least one each"):
        folder("train", tmp_path, (1, 2, 2))


def test_a_missing_folder_or_a_file_in_its_place_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone is not a folder; --data-dir"):
        folder("train", tmp_path / "gone", (1, 2, 2))
    fill(tmp_path, range(1))
    with pytest.raises(DataError, match=r"0\.png is not a folder; --data-dir"):
        folder("train", tmp_path / "0.png", (1, 2, 2))


def test_no_folder_at_all_is_an_error_that_names_the_option() -> None:
    with pytest.raises(DataError, match="needs --data-dir"):
        folder("train", None, (1, 2, 2))


@pytest.fixture
def with_a_bad_one(tmp_path: Path) -> tuple[Path, str]:
    """Twenty pictures of which one of the training set is damaged, and its name."""
    fill(tmp_path, range(20))
    bad = tmp_path / f"{shades('train', tmp_path)[5]}.png"
    bad.write_bytes(bad.read_bytes()[:40])
    return tmp_path, bad.name


def test_an_undecodable_picture_is_an_error_that_names_it_and_the_way_out(
    with_a_bad_one: tuple[Path, str],
) -> None:
    path, bad = with_a_bad_one
    with pytest.raises(DataError, match="--skip-bad") as caught:
        folder("train", path, (1, 2, 2))
    assert str(path / bad) in str(caught.value)


def test_an_undecodable_picture_spoils_its_own_split_only(with_a_bad_one: tuple[Path, str]) -> None:
    path, _ = with_a_bad_one
    assert len(folder("valid", path, (1, 2, 2))) == len(split_of(path)["valid"])
    assert len(folder("test", path, (1, 2, 2))) == len(split_of(path)["test"])


def test_skip_bad_leaves_it_out_with_a_warning_that_names_it(
    with_a_bad_one: tuple[Path, str], caplog: pytest.LogCaptureFixture
) -> None:
    path, bad = with_a_bad_one
    with caplog.at_level(logging.WARNING, "draw"):
        images = folder("train", path, (1, 2, 2), skip_bad=True)
    assert len(images) == len(split_of(path)["train"]) - 1
    assert int(bad.removesuffix(".png")) not in images.pixels.flatten().tolist()
    (warning,) = caplog.messages
    assert str(path / bad) in warning


def test_skip_bad_warns_of_nothing_where_all_is_well(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fill(tmp_path, range(5))
    with caplog.at_level(logging.WARNING, "draw"):
        assert len(folder("train", tmp_path, (1, 2, 2), skip_bad=True)) == 3
    assert caplog.messages == []


def test_skip_bad_with_nothing_left_is_an_error(tmp_path: Path) -> None:
    for number in range(20):
        (tmp_path / f"{number}.png").write_bytes(b"no picture")
    count = len(split_of(tmp_path)["train"])
    with pytest.raises(DataError, match=f"none of the {count} train pictures"):
        folder("train", tmp_path, (1, 2, 2), skip_bad=True)


def test_the_log_tells_how_many_pictures_were_converted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fill(tmp_path, range(20))
    with caplog.at_level(logging.INFO, "draw"):
        folder("train", tmp_path, (1, 2, 2))
        assert caplog.messages == []
        folder("train", tmp_path, (3, 2, 2))
    (line,) = caplog.messages
    count = len(split_of(tmp_path)["train"])
    assert line.startswith(f"{count} of {count} train pictures")
    assert line.endswith("2 x 2 RGB")


@pytest.mark.parametrize("bad", [0, 3])
def test_progress_counts_every_picture_even_those_left_out(tmp_path: Path, bad: int) -> None:
    fill(tmp_path, range(20))
    for number in shades("train", tmp_path)[:bad]:
        (tmp_path / f"{number}.png").write_bytes(b"no picture")
    told: list[tuple[str, int, int]] = []
    folder("train", tmp_path, (3, 2, 2), lambda *report: told.append(report), skip_bad=True)
    total = len(split_of(tmp_path)["train"])
    assert told == [("train pictures", count, total) for count in range(1, total + 1)]


# ---- hostile folders


def test_links_to_pictures_are_followed_and_links_to_folders_are_not(tmp_path: Path) -> None:
    album = tmp_path / "album"
    fill(album, range(3))
    fill(tmp_path / "outside", range(100, 103))
    (album / "3.png").symlink_to(tmp_path / "outside" / "100.png")
    (album / "4.png").symlink_to("../outside/101.png")
    (album / "outside").symlink_to(tmp_path / "outside")
    assert sorted(chain(*(shades(split, album) for split in SPLITS))) == [0, 1, 2, 100, 101]


def test_links_in_a_circle_and_to_nowhere_are_no_pictures(tmp_path: Path) -> None:
    fill(tmp_path / "deep" / "er", range(3))
    (tmp_path / "deep" / "er" / "round").symlink_to(tmp_path)
    (tmp_path / "self.png").symlink_to("self.png")
    (tmp_path / "one.png").symlink_to("other.png")
    (tmp_path / "other.png").symlink_to("one.png")
    (tmp_path / "nowhere.png").symlink_to("gone.png")
    assert sorted(chain(*(shades(split, tmp_path) for split in SPLITS))) == [0, 1, 2]


def test_what_is_no_file_is_no_picture(tmp_path: Path) -> None:
    """Or else a pipe would be waited for."""
    fill(tmp_path, range(3))
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "null.png").symlink_to("/dev/null")
    (tmp_path / "zero.png").symlink_to("/dev/zero")
    assert sorted(chain(*(shades(split, tmp_path) for split in SPLITS))) == [0, 1, 2]


@pytest.mark.parametrize("name", ["two\nlines", "\x1b[2J", "\r", os.fsdecode(b"\xe4\xff"), "--out"])
def test_an_odd_name_is_told_in_one_line(tmp_path: Path, name: str) -> None:
    fill(tmp_path, range(30))
    for part in range(10):  # one of them is for training
        (tmp_path / f"{name}{part}.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match="cannot be decoded") as caught:
        folder("train", tmp_path, (1, 2, 2))
    assert str(caught.value).isprintable()
    assert repr(name).strip("'") in str(caught.value)
    assert len(folder("train", tmp_path, (1, 2, 2), skip_bad=True)) >= 20


Lock = Callable[[Path, int], None]


@pytest.fixture
def lockable(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Path, Lock]]:
    """Pictures, some of them in a folder `locked`, and what changes permissions.

    From then on nobody's permissions count: those of root would let it read everything.
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
    ("mode", "told"),
    [
        (0o000, "locked cannot be listed: Permission denied; --skip-bad"),
        (0o444, r"locked/\d+\.png cannot be read: Permission denied; --skip-bad"),
    ],
    ids=["not listed", "listed and not read"],
)
def test_a_folder_without_permission_is_named(
    lockable: tuple[Path, Lock], mode: int, told: str
) -> None:
    album, lock = lockable
    lock(album / "locked", mode)
    with pytest.raises(DataError, match=told):
        folder("train", album, (1, 2, 2))
    assert folder("train", album, (1, 2, 2), skip_bad=True).pixels.max() < 3


def test_a_picture_without_permission_is_named(lockable: tuple[Path, Lock]) -> None:
    album, lock = lockable
    train = split_of(album)["train"]
    lock(train[0], 0o000)
    with pytest.raises(DataError, match=rf"{train[0]} cannot be decoded.* Permission denied"):
        folder("train", album, (1, 2, 2))
    assert len(folder("train", album, (1, 2, 2), skip_bad=True)) == len(train) - 1
