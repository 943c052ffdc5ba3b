"""Files out of a .tar.gz, and what an archive must not do."""

import errno
import gzip
import io
import os
import tarfile
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import SpooledTemporaryFile

import pytest

from draw.data import archive
from draw.data.archive import members
from draw.errors import DataError
from tests.data.conftest import tar_gz

FILES = {"set/b": b"2nd" * 5000, "set/a": b"1st", "other": b"no", "set/c": b""}


def written(folder: Path, content: bytes) -> Path:
    path = folder / "set.tar.gz"
    path.write_bytes(content)
    return path


def read(path: Path, *names: str, largest: int = 1 << 16) -> list[tuple[str, bytes]]:
    return [(name, file.read()) for name, file in members(path, names, largest)]


@pytest.mark.parametrize("in_memory", [1 << 26, 10])
def test_the_files_asked_for_come_in_the_order_of_the_archive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_memory: int
) -> None:
    monkeypatch.setattr(archive, "IN_MEMORY", in_memory)
    path = written(tmp_path, tar_gz(FILES))
    found = read(path, "set/a", "set/c", "set/b")
    assert found == [(name, FILES[name]) for name in ("set/b", "set/a", "set/c")]
    assert list(tmp_path.iterdir()) == [path]


def test_names_may_begin_with_the_current_folder(tmp_path: Path) -> None:
    path = written(tmp_path, tar_gz({"./set/a": b"1st"}))
    assert read(path, "set/a") == [("set/a", b"1st")]


def test_of_two_files_of_one_name_the_first_counts(tmp_path: Path) -> None:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for content in (b"1", b"2"):
            member = tarfile.TarInfo("a")
            member.size = 1
            tar.addfile(member, io.BytesIO(content))
    assert read(written(tmp_path, packed.getvalue()), "a") == [("a", b"1")]


@pytest.mark.parametrize("name", ["set/d", "a", "../set/a"])
def test_a_missing_file_is_an_error_that_names_it(tmp_path: Path, name: str) -> None:
    path = written(tmp_path, tar_gz(FILES))
    with pytest.raises(DataError, match=f"set.tar.gz lacks {name}"):
        read(path, "set/b", name)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE])
def test_links_and_folders_are_no_files(tmp_path: Path, kind: bytes) -> None:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        member = tarfile.TarInfo("a")
        member.type, member.linkname = kind, "/etc/hostname"
        tar.addfile(member)
    with pytest.raises(DataError, match="lacks a"):
        read(written(tmp_path, packed.getvalue()), "a")


def test_too_large_a_file_is_an_error_before_it_is_read(tmp_path: Path) -> None:
    member = tarfile.TarInfo("a")
    member.size = 1 << 25  # 32 MiB of zeros
    path = written(tmp_path, gzip.compress(member.tobuf() + bytes(1 << 25), 1))
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match=f"a has {1 << 25} bytes, where at most 100 "):
            read(path, "a", largest=100)
        assert tracemalloc.get_traced_memory()[1] < 1 << 22
    finally:
        tracemalloc.stop()
    assert len(read(path, "a", largest=1 << 25)[0][1]) == 1 << 25


GOOD = tar_gz(FILES)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        GOOD[: len(GOOD) // 2],
        GOOD[:-1],
        GOOD[:-8] + bytes([GOOD[-8] ^ 1]) + GOOD[-7:],
        GOOD[:20] + bytes([GOOD[20] ^ 255]) + GOOD[21:],
        b"?" + GOOD[1:],
        gzip.decompress(GOOD),
        gzip.compress(b"no archive" * 1000),
        gzip.compress(gzip.decompress(GOOD)[:700]),
    ],
    ids=[
        *("empty", "cut in half", "last byte cut", "wrong checksum", "altered", "wrong magic"),
        *("not compressed", "no archive", "cut before it was compressed"),
    ],
)
def test_a_damaged_archive_is_an_error_that_names_it(tmp_path: Path, content: bytes) -> None:
    path = written(tmp_path, content)
    with pytest.raises(DataError, match=r"set\.tar\.gz") as caught:
        read(path, "set/a", "set/b")
    assert "\n" not in str(caught.value)


def test_a_full_disk_is_no_fault_of_the_archive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full(SpooledTemporaryFile):
        def write(self, *_: object) -> int:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(archive, "SpooledTemporaryFile", Full)
    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
        read(written(tmp_path, GOOD), "set/a")


# ---- hostile archives


def entry(name: str, size: int, kind: bytes = tarfile.REGTYPE) -> bytes:
    """A header, whatever follows it."""
    member = tarfile.TarInfo(name)
    member.size, member.type = size, kind
    return member.tobuf(tarfile.GNU_FORMAT)


@contextmanager
def little_memory() -> Iterator[None]:
    """A list of ten thousand entries would be more."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < 1 << 22
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME])
def test_a_header_of_any_length_takes_no_memory(tmp_path: Path, kind: bytes) -> None:
    content = entry("long", 1 << 25, kind) + bytes(1 << 25) + entry("a", 0)
    path = written(tmp_path, gzip.compress(content, 1))
    with little_memory():
        assert read(path, "a") == [("a", b"")]


def test_any_number_of_entries_takes_no_memory(tmp_path: Path) -> None:
    path = written(tmp_path, gzip.compress(10_000 * entry("b", 0) + entry("a", 0), 1))
    with little_memory():
        assert read(path, "a") == [("a", b"")]


@pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.XHDTYPE])
@pytest.mark.parametrize("size", [-1, -512, -(1 << 60), 1 << 40, 1 << 60])
def test_a_size_that_cannot_be_is_an_error(tmp_path: Path, kind: bytes, size: int) -> None:
    content = entry("b", 0) + entry("b", size, kind) + entry("a", 0)
    with pytest.raises(DataError, match=f"{size} bytes are no size of anything"):
        read(written(tmp_path, gzip.compress(content)), "a")


def test_headers_upon_headers_are_passed_over(tmp_path: Path) -> None:
    content = 5_000 * entry("x", 0, tarfile.XHDTYPE) + entry("a", 0)
    assert read(written(tmp_path, gzip.compress(content)), "a") == [("a", b"")]


def test_an_archive_that_unpacks_to_far_too_much_is_not_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive, "SMALL", 1 << 21)
    for content in (entry("b", 1 << 22) + bytes(1 << 22), entry("a", 0) + bytes(1 << 22)):
        with pytest.raises(DataError, match="cannot be read: "):
            read(written(tmp_path, gzip.compress(content)), "a")
    fitting = entry("a", 0) + bytes(1 << 20)
    assert read(written(tmp_path, gzip.compress(fitting)), "a") == [("a", b"")]


def test_a_file_that_is_cut_within_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="it ends within a"):
        read(written(tmp_path, gzip.compress(entry("a", 1000) + bytes(700))), "a")
