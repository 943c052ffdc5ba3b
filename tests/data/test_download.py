"""Finding and downloading files, and reading archives."""

import gzip
import hashlib
import io
import os
import socket
import subprocess
import sys
import tarfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from draw.data import download
from draw.data.download import RemoteFile, Source, archive_members
from draw.errors import ConfigError, DataError
from draw.storage.files import cache_dir
from tests.data.conftest import Server, remote, tar_gz

BLOCK = download.CHUNK_BYTES  # cutting a response here loses no bytes
CONTENT = hashlib.shake_256(b"draw").digest(5 * BLOCK - 100)


def zipped(content: bytes, level: int = 9) -> bytes:
    """Compress bytes, always to the same bytes, because the names of tests contain them."""
    return gzip.compress(content, level, mtime=0)


def cached() -> dict[str, int]:
    """The files in the cache, without locks, and their sizes."""
    files = (path for path in cache_dir().rglob("*") if path.is_file() and path.suffix != ".lock")
    return {str(path.relative_to(cache_dir())): path.stat().st_size for path in files}


@pytest.fixture
def closed() -> str:
    """The address of a port without a server."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return f"http://127.0.0.1:{port}/"


@pytest.fixture
def file(server: Server) -> RemoteFile:
    """A file that the server offers."""
    return remote("digits", CONTENT, server.serve("digits", CONTENT))


# ---- finding


def test_the_cache_follows_xdg_and_the_platform(monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    assert cache_dir() == Path("/xdg/draw")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("LOCALAPPDATA", "/local")
    for platform, path in (
        ("linux", Path.home() / ".cache/draw"),
        ("darwin", Path.home() / "Library/Caches/draw"),
        ("win32", Path("/local/draw")),
    ):
        monkeypatch.setattr("sys.platform", platform)
        assert cache_dir() == path


def test_a_tilde_is_the_home_folder(cache, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("DRAW_DATA", "~/data")
    assert Source(Path("~/mine")).folders == [tmp_path / "mine", tmp_path / "data", cache]
    monkeypatch.setenv("XDG_CACHE_HOME", "~/caches")
    assert cache_dir() == tmp_path / "caches" / "draw"


def test_without_a_home_folder_the_cache_is_a_private_temporary_folder(tmp_path, monkeypatch):
    def fail() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", fail)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.delenv("XDG_CACHE_HOME")
    folder = tmp_path / f"draw-{os.getuid()}"
    for _ in range(2):
        assert cache_dir() == folder
        assert folder.stat().st_mode & 0o777 == 0o700
    for mode in (0o777, 0o770):  # a folder in which others can put compiled code
        folder.chmod(mode)
        with pytest.raises(ConfigError, match=r"other users can change .*; set XDG_CACHE_HOME"):
            cache_dir()
    folder.rmdir()
    folder.symlink_to(tmp_path)
    with pytest.raises(ConfigError, match="other users can change"):
        cache_dir()


def test_find_searches_data_dir_then_the_environment_then_the_cache(cache, tmp_path, monkeypatch):
    mine, environment = tmp_path / "mine", tmp_path / "environment"
    monkeypatch.setenv("DRAW_DATA", "")
    assert Source().folders == [cache]
    monkeypatch.setenv("DRAW_DATA", str(environment))
    file, source = remote("digits", CONTENT), Source(mine)
    assert source.find(file) is None
    for folder in (cache, environment, mine):  # each one hides those before it
        folder.mkdir(parents=True)
        (folder / "digits").write_bytes(CONTENT)
        assert source.find(file) == folder / "digits"
        (folder / "digits").write_bytes(b"damaged")
        with pytest.raises(DataError, match=str(folder / "digits")):
            source.find(file)


@pytest.mark.parametrize("level", [0, 9])
def test_find_checks_the_uncompressed_bytes_of_a_gz(tmp_path, level):
    (tmp_path / "digits.gz").write_bytes(zipped(CONTENT, level))
    file, source = remote("digits", CONTENT), Source(tmp_path)
    assert source.find(file) == tmp_path / "digits.gz"
    assert source.read(file) == CONTENT
    (tmp_path / "digits.gz").write_bytes(b"damaged")
    (tmp_path / "digits").write_bytes(CONTENT)  # preferred
    assert source.read(file) == CONTENT


def test_find_ignores_a_folder_with_the_name_of_the_file(tmp_path):
    (tmp_path / "digits").mkdir()
    assert Source(tmp_path).find(remote("digits", CONTENT)) is None


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("digits", CONTENT[:-1], f"has {len(CONTENT) - 1} bytes"),
        ("digits", CONTENT + b"\0", f"has more than {len(CONTENT)} bytes"),
        ("digits", b"", "has 0 bytes"),
        ("digits", b"\0" + CONTENT[1:], "SHA-256"),
        ("digits.gz", zipped(CONTENT)[:-1000], "cannot be decompressed"),
        ("digits.gz", zipped(CONTENT) + b"padding", "cannot be decompressed"),
        ("digits.gz", zipped(CONTENT + bytes(1 << 25), 1), "has more than"),
        ("digits.gz", zipped(CONTENT[:-1]), f"has {len(CONTENT) - 1} bytes"),
        ("digits.gz", zipped(b"\0" + CONTENT[1:]), "SHA-256"),
        ("digits.gz", zipped(b"a" * 99)[:10] + b"\xff" * 99, "cannot be decompressed"),
        ("digits.gz", CONTENT, "cannot be decompressed"),
    ],
)
def test_a_file_that_differs_from_the_published_one_is_an_error(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        Source(tmp_path).find(remote("digits", CONTENT))
    assert str(tmp_path / name) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_without_a_published_checksum_only_the_size_is_checked(tmp_path):
    file, path = RemoteFile("set.tar.gz", len(CONTENT), None), tmp_path / "set.tar.gz"
    path.write_bytes(bytes(len(CONTENT)))
    assert Source(tmp_path).find(file) == path
    path.write_bytes(CONTENT[:-1])
    with pytest.raises(DataError, match="bytes"):
        Source(tmp_path).find(file)


# ---- downloading


@pytest.mark.parametrize("name", ["digits", "digits.gz"])
def test_a_download_is_cached_as_served_and_used_again(server, cache, name):
    content = zipped(CONTENT) if name.endswith(".gz") else CONTENT
    file = remote("digits", CONTENT, server.serve(name, content))
    for _ in range(2):
        assert Source().get(file) == cache / name
        assert Source().read(file) == CONTENT
    assert cached() == {name: len(content)}
    assert len(server.requests) == 1


def test_an_archive_is_checked_and_cached_without_decompression(server, cache):
    packed = zipped(CONTENT)
    file = remote("set.tar.gz", packed, server.serve("set.tar.gz", packed))
    assert Source().get(file).read_bytes() == packed


def test_a_missing_file_is_an_error_that_says_where_to_copy_it(
    server, cache, tmp_path, monkeypatch
):
    monkeypatch.setenv("DRAW_DATA", str(tmp_path / "environment"))
    file = remote("digits", CONTENT, server.url("digits"))
    with pytest.raises(DataError) as caught:
        Source(tmp_path / "mine").get(file)
    message = str(caught.value)
    for part in ("digits", server.url("digits"), "404", "--data-dir", "DRAW_DATA"):
        assert part in message
    for folder in (tmp_path / "mine", tmp_path / "environment", cache):
        assert str(folder) in message
    assert "\n" not in message
    assert cached() == {}


def test_nothing_is_requested_if_downloads_are_forbidden(server, file, cache):
    with pytest.raises(DataError, match=f"digits was not found in {cache}") as caught:
        Source(fetch=False, name="mine").get(file)
    assert "; run draw data fetch mine, copy it into this folder, or set" in str(caught.value)
    assert "download" not in str(caught.value)
    assert server.requests == []


@pytest.mark.parametrize(
    ("name", "served", "message"),
    [
        ("digits", CONTENT[:-1] + b"?", "SHA-256"),
        ("digits", CONTENT[:-1], f"{len(CONTENT) - 1} bytes"),
        ("digits", CONTENT + b"?", f"more than {len(CONTENT)} bytes"),
        ("digits", b"<html>Log in</html>", "19 bytes"),
        ("digits", b"", "0 bytes"),
        ("digits.gz", zipped(CONTENT[1:]), "bytes"),
        ("digits.gz", CONTENT, "cannot be decompressed"),
    ],
)
def test_a_download_that_differs_from_the_published_file_is_discarded(
    server, name, served, message
):
    with pytest.raises(DataError, match=message):
        Source().get(remote("digits", CONTENT, server.serve(name, served)))
    assert cached() == {}


@pytest.mark.parametrize(
    ("cuts", "starts"), [([2], [None, 2]), ([1, 2], [None, 1, 3]), ([0], [None, None])]
)
def test_an_interrupted_download_resumes(server, file, cuts, starts):
    server.cuts = [cut * BLOCK for cut in cuts]
    assert Source().read(file) == CONTENT
    assert server.ranges == [start and f"bytes={start * BLOCK}-" for start in starts]
    assert cached() == {"digits": len(CONTENT)}


def test_a_download_starts_over_if_the_server_does_not_support_ranges(server, file):
    server.cuts, server.supports_ranges = [2 * BLOCK], False
    assert Source().read(file) == CONTENT
    assert len(server.requests) == 2


def test_a_download_that_fails_repeatedly_is_resumed_later(server, file):
    server.cuts = [BLOCK, BLOCK, BLOCK]
    with pytest.raises(DataError, match="connection closed") as caught:
        Source().get(file)
    assert "\n" not in str(caught.value)
    assert cached() == {"incomplete/digits": 3 * BLOCK}
    assert Source().find(file) is None
    server.requests.clear()
    assert Source().read(file) == CONTENT
    assert server.ranges == [f"bytes={3 * BLOCK}-"]


@pytest.mark.parametrize("surplus", [0, 10])
def test_a_partial_file_that_is_not_shorter_is_downloaded_again(server, file, cache, surplus):
    (cache / "incomplete").mkdir(parents=True)
    (cache / "incomplete" / "digits").write_bytes(bytes(len(CONTENT) + surplus))
    assert Source().read(file) == CONTENT
    assert server.ranges == [f"bytes={len(CONTENT) + surplus}-", None]


def test_a_partial_file_with_wrong_bytes_is_discarded(file, cache):
    (cache / "incomplete").mkdir(parents=True)
    (cache / "incomplete" / "digits").write_bytes(bytes(BLOCK))
    with pytest.raises(DataError, match="SHA-256"):
        Source().get(file)
    assert Source().read(file) == CONTENT


def test_the_second_mirror_is_used_if_the_first_lacks_the_file_or_is_down(server, closed):
    mirrors = closed + "digits", server.url("a/digits"), server.serve("b/digits", CONTENT)
    assert Source().read(remote("digits", CONTENT, *mirrors)) == CONTENT
    assert [path for path, _ in server.requests] == ["/a/digits", "/b/digits"]


def test_the_second_mirror_resumes_what_the_first_interrupted(server):
    mirrors = server.serve("a/digits", CONTENT), server.serve("b/digits", CONTENT)
    server.cuts = [BLOCK, 0, 0]
    assert Source().read(remote("digits", CONTENT, *mirrors)) == CONTENT
    assert server.requests[-1] == ("/b/digits", f"bytes={BLOCK}-")


def test_without_a_network_the_error_names_every_mirror_in_one_line(closed):
    mirrors = (closed + "a/digits", closed + "b/digits")
    with pytest.raises(DataError) as caught:
        Source().get(remote("digits", CONTENT, *mirrors))
    assert "\n" not in str(caught.value)
    assert all(mirror in str(caught.value) for mirror in mirrors)


def test_concurrent_requests_for_a_file_download_it_once(server, file):
    with ThreadPoolExecutor(4) as threads:
        assert set(threads.map(lambda _: Source().read(file), range(4))) == {CONTENT}
    assert len(server.requests) == 1


DOWNLOAD = """
import sys
from draw.data.download import RemoteFile, Source
name, size, sha256, url = sys.argv[1:]
print(Source().get(RemoteFile(name, int(size), sha256, (url,))))
"""


def test_two_processes_with_an_empty_cache_download_a_file_once(server, file, cache):
    arguments = [file.name, str(file.size), str(file.sha256), *file.urls]
    command = [sys.executable, "-c", DOWNLOAD, *arguments]
    pipes: Any = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    server.delay = 0.5  # seconds per response, so that both processes are downloading
    with subprocess.Popen(command, **pipes) as process:
        while not server.requests and process.poll() is None:
            time.sleep(0.01)
        assert Source().get(file) == cache / "digits"
        assert process.communicate(timeout=120) == (f"{cache / 'digits'}\n", "")
    assert process.returncode == 0
    assert cached() == {"digits": len(CONTENT)}
    assert len(server.requests) == 1


def test_progress_counts_bytes_including_those_of_a_resumed_download(server, file):
    server.cuts = [2 * BLOCK]
    reports: list[tuple[str, int, int]] = []
    Source(progress=lambda *report: reports.append(report)).get(file)
    counts = [BLOCK, 2 * BLOCK, 3 * BLOCK, 4 * BLOCK, len(CONTENT)]
    assert reports == [("digits", count, len(CONTENT)) for count in counts]


@pytest.mark.parametrize("length", [None, "many", "-5"])
def test_a_missing_or_invalid_length_leaves_the_total_unknown(server, file, length):
    server.content_length = length
    reports: list[Any] = []
    source = Source(progress=lambda *report: reports.append(report))
    assert source.read(file) == CONTENT
    assert reports[-1] == ("digits", len(CONTENT), 0)


def test_an_endless_response_does_not_fill_the_disk(server, monkeypatch):
    monkeypatch.setattr(download, "MAX_EXTRA_BYTES", 1 << 17)
    file = remote("digits", CONTENT, server.serve("digits", CONTENT + bytes(1 << 23)))
    reports: list[Any] = []
    with pytest.raises(DataError, match=f"more than {len(CONTENT)} bytes"):
        Source(progress=lambda *report: reports.append(report)).get(file)
    assert cached() == {}
    assert max(have for _, have, _ in reports) <= len(CONTENT) + (1 << 17) + BLOCK


# ---- archives

FILES = {"set/b": b"2nd" * 5000, "set/a": b"1st", "other": b"no", "set/c": b""}
GOOD = tar_gz(FILES)


def read(folder: Path, content: bytes, *names: str) -> list[tuple[str, bytes]]:
    path = folder / "set.tar.gz"
    path.write_bytes(content)
    return list(archive_members(path, names, max_bytes=1 << 16))


def test_members_come_in_the_order_of_the_archive(tmp_path):
    found = read(tmp_path, GOOD, "set/a", "set/c", "set/b")
    assert found == [(name, FILES[name]) for name in ("set/b", "set/a", "set/c")]
    assert read(tmp_path, tar_gz({"./set/a": b"1st"}), "set/a") == [("set/a", b"1st")]


@pytest.mark.parametrize("name", ["set/d", "a", "../set/a"])
def test_a_missing_member_is_an_error_that_names_it(tmp_path, name):
    with pytest.raises(DataError, match=f"set.tar.gz lacks {name}"):
        read(tmp_path, GOOD, "set/b", name)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE])
def test_links_and_folders_are_not_files(tmp_path, kind):
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        member = tarfile.TarInfo("a")
        member.type, member.linkname = kind, "/etc/hostname"
        tar.addfile(member)
    with pytest.raises(DataError, match="lacks a"):
        read(tmp_path, packed.getvalue(), "a")


def test_a_member_that_is_too_large_is_an_error(tmp_path):
    with pytest.raises(DataError, match=f"a has {1 << 20} bytes, but at most {1 << 16} "):
        read(tmp_path, tar_gz({"a": bytes(1 << 20)}), "a")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        GOOD[: len(GOOD) // 2],
        GOOD[:-1],
        GOOD[:-8] + bytes([GOOD[-8] ^ 1]) + GOOD[-7:],
        GOOD[:20] + bytes([GOOD[20] ^ 255]) + GOOD[21:],
        gzip.decompress(GOOD),
        zipped(b"no archive" * 1000),
        zipped(gzip.decompress(GOOD)[:700]),
        zipped(os.urandom(20 << 10)),
    ],
    ids=[
        *("empty", "cut in half", "last byte cut", "wrong checksum", "altered"),
        *("not compressed", "no archive", "cut before compression", "noise"),
    ],
)
def test_a_damaged_archive_is_an_error_that_names_it(tmp_path, content):
    with pytest.raises(DataError, match=r"set\.tar\.gz") as caught:
        read(tmp_path, content, "set/a", "set/b")
    assert "\n" not in str(caught.value)
