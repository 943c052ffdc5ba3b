"""Files out of a .tar.gz, and what an archive must not do."""

import errno
import gzip
import io
import os
import tarfile
import tracemalloc
from pathlib import Path

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
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("shutil.copyfileobj", full)
    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
        read(written(tmp_path, GOOD), "set/a")
