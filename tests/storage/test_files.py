"""Atomic writes, bounded reads and JSON."""

import errno
import json
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from draw.errors import ConfigError
from draw.storage.files import (
    atomic_path,
    dump_json,
    is_partial,
    is_vacant,
    read_json,
    read_start,
    write_atomic,
)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """Create a file that a test replaces."""
    path = tmp_path / "x.bin"
    path.write_bytes(b"the old content")
    return path


# ---------------------------------------------------------------------- atomic writes


def test_write_atomic_creates_the_file_and_its_parent_folders(tmp_path):
    write_atomic(tmp_path / "a" / "b" / "x.bin", b"new")
    assert (tmp_path / "a" / "b" / "x.bin").read_bytes() == b"new"
    assert names(tmp_path / "a" / "b") == ["x.bin"]


def test_a_tilde_is_the_home_folder(tmp_path, monkeypatch):
    """Every function that saves a picture, a film or a model writes through `atomic_path`."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    write_atomic(Path("~/films/a.gif"), b"film")
    assert (tmp_path / "films/a.gif").read_bytes() == b"film"
    assert names(tmp_path) == ["films"]


@pytest.mark.parametrize("data", [b"new", b""])
def test_write_atomic_replaces_a_longer_file(old, data):
    write_atomic(old, data)
    assert old.read_bytes() == data
    assert names(old.parent) == ["x.bin"]


def test_the_old_file_exists_until_the_block_ends(old):
    with atomic_path(old) as partial:
        partial.write_bytes(b"new")
        assert old.read_bytes() == b"the old content"
        assert partial.parent == old.parent  # a rename across file systems is not atomic
        assert is_partial(partial)
    assert old.read_bytes() == b"new"
    assert names(old.parent) == ["x.bin"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_a_block_that_fails_leaves_the_old_file(old, error):
    def fail() -> None:
        with atomic_path(old) as partial:
            partial.write_bytes(b"half")
            raise error

    with pytest.raises(error):
        fail()
    assert old.read_bytes() == b"the old content"
    assert names(old.parent) == ["x.bin"]


def test_a_full_disk_leaves_the_old_file(old, monkeypatch):
    def write_half(self: Path, data: bytes) -> int:
        with self.open("wb") as file:
            file.write(data[: len(data) // 2])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self))

    monkeypatch.setattr(Path, "write_bytes", write_half)
    with pytest.raises(OSError, match="No space left"):
        write_atomic(old, b"a new content")
    assert old.read_bytes() == b"the old content"
    assert names(old.parent) == ["x.bin"]


def test_a_folder_in_place_of_the_file_is_an_error(tmp_path):
    (tmp_path / "x.bin").mkdir()
    with pytest.raises(OSError, match=r"x\.bin"):
        write_atomic(tmp_path / "x.bin", b"new")
    assert names(tmp_path) == ["x.bin"]


def test_concurrent_writers_never_mix_their_contents(tmp_path):
    """Each writer has a temporary file with a unique name."""
    path = tmp_path / "x.bin"
    with atomic_path(path) as one, atomic_path(path) as other:
        assert one != other
        one.write_bytes(b"1" * 10)
        other.write_bytes(b"2" * 10)
    assert path.read_bytes() == b"1" * 10  # the inner block ended first
    contents = [bytes([65 + i]) * 100_000 for i in range(4)]
    with ThreadPoolExecutor(4) as threads:
        for _ in range(10):
            results = [threads.submit(write_atomic, path, content) for content in contents]
            assert path.read_bytes() in (b"1" * 10, *contents)
            assert [result.result() for result in results] == [None] * 4
    assert path.read_bytes() in contents
    assert names(tmp_path) == ["x.bin"]


def test_the_permissions_of_new_files_follow_the_umask(tmp_path):
    before = os.umask(0o027)
    try:
        write_atomic(tmp_path / "x.bin", b"new")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "x.bin").stat().st_mode) == 0o640


def test_a_vacant_folder_holds_at_most_hidden_files(tmp_path):
    assert is_vacant(tmp_path / "missing")
    (tmp_path / ".run.json.x1.partial").write_text("{")
    (tmp_path / ".DS_Store").touch()
    (tmp_path / ".ipynb_checkpoints").mkdir()
    assert is_vacant(tmp_path)
    (tmp_path / "run.partial").touch()
    assert not is_vacant(tmp_path)
    assert not is_vacant(tmp_path / "run.partial")


# ---------------------------------------------------------------------- reading


def test_read_start_reads_at_most_the_given_size(tmp_path):
    (tmp_path / "x").write_bytes(b"12345")
    assert read_start(tmp_path / "x", 3) == b"123"
    assert read_start(tmp_path / "x", 9) == b"12345"


@pytest.mark.parametrize("name", ["pipe", "missing", ""])
def test_read_start_never_waits_for_a_pipe(tmp_path, name):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(FileNotFoundError, match="there is no such file"):
        read_start(tmp_path / name, 3)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is not JSON: Expecting value"),
        (b"{" + b" " * (1 << 16), "is larger than the limit of 65,536 bytes"),
        (b"[" * (1 << 16), "is not JSON: maximum recursion depth"),
        (b"9" * 5_000, "is not JSON: Exceeds the limit"),
        (b"\xff", "is not JSON: 'utf-8' codec"),
        (b'[{"a": 1, "b": 2, "a": 1}]', "is not JSON: the key 'a' occurs twice"),
    ],
)
def test_invalid_json_is_an_error(tmp_path, data, message):
    (tmp_path / "x.json").write_bytes(data)
    with pytest.raises(ConfigError) as caught:
        read_json(tmp_path / "x.json")
    assert f"{tmp_path / 'x.json'} {message}" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_json_that_cannot_be_read_is_an_error(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read: there is no such file"):
        read_json(tmp_path)


@pytest.mark.parametrize("number", [float("inf"), -float("inf"), float("nan")])
def test_written_json_has_no_infinity_or_nan(number):
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    text = dump_json({"a": number, "b": [1.5, {"c": (number, "Infinity")}]})
    read = json.loads(text, parse_constant=refuse)
    assert read == {"a": None, "b": [1.5, {"c": [None, "Infinity"]}]}
