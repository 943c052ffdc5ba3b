"""The downloader and the search for files, against a real server on this machine."""

import gzip
import hashlib
import os
import socket
import tracemalloc
from pathlib import Path

import pytest
import requests

from draw.data import download as module
from draw.data.download import (
    RemoteFile,
    cache_dir,
    check,
    check_whole,
    download,
    find,
    locate,
    retrieve,
    search_path,
)
from draw.errors import DataError
from tests.data.conftest import Server, remote

BLOCK = 1 << 16  # what the downloader writes at once, so that a cut here loses nothing
CONTENT = hashlib.shake_256(b"draw").digest(5 * BLOCK - 100)


def kept() -> dict[str, int]:
    """The files in the cache and their sizes."""
    return {p.name: p.stat().st_size for p in cache_dir().rglob("*") if p.is_file()}


@pytest.fixture
def closed() -> str:
    """The address of a port at which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return f"http://127.0.0.1:{port}/"


def test_download_gives_the_bytes_and_keeps_the_file_in_the_cache(
    server: Server, cache: Path
) -> None:
    file = remote("digits", CONTENT, server.serve("digits", CONTENT))
    data, path = download(file)
    assert data == CONTENT
    assert path == cache / "digits"
    assert path.read_bytes() == CONTENT
    assert kept() == {"digits": len(CONTENT)}
    assert find(file) == CONTENT


def test_download_of_a_gz_is_kept_compressed_and_given_uncompressed(
    server: Server, cache: Path
) -> None:
    packed = gzip.compress(CONTENT)
    file = remote("digits", CONTENT, server.serve("digits.gz", packed))
    data, path = download(file)
    assert data == CONTENT
    assert path == cache / "digits.gz"
    assert path.read_bytes() == packed
    assert find(file) == CONTENT


def test_download_from_a_server_that_does_not_tell_the_length(server: Server) -> None:
    server.tells_length = False
    told = []
    file = remote("digits", CONTENT, server.serve("digits", CONTENT))
    data, _ = download(file, progress=lambda *report: told.append(report))
    assert data == CONTENT
    assert told[-1] == ("digits", len(CONTENT), 0)


def test_a_resumed_download_of_unknown_length_does_not_invent_a_total(server: Server) -> None:
    server.tells_length = False
    file = remote("digits", CONTENT, server.serve("digits", CONTENT))
    cache_dir().mkdir(parents=True)
    (cache_dir() / "digits.part").write_bytes(CONTENT[:BLOCK])
    told = []
    download(file, progress=lambda *report: told.append(report))
    assert {total for _, _, total in told} <= {0, len(CONTENT)}


def test_a_missing_file_is_an_error_that_tells_where_to_put_it(
    server: Server, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DRAW_DATA", str(tmp_path / "env"))
    file = remote("digits", CONTENT, server.url("digits"))
    with pytest.raises(DataError) as caught:
        download(file, tmp_path / "mine")
    message = str(caught.value)
    for part in ("digits", "digits.gz", server.url("digits"), "404", "--data-dir", "DRAW_DATA"):
        assert part in message
    for folder in (tmp_path / "mine", tmp_path / "env", cache):
        assert str(folder) in message
    assert "\n" not in message
    assert kept() == {}


@pytest.mark.parametrize(
    ("served", "told"),
    [
        (CONTENT[:-1] + b"?", "SHA-256"),
        (CONTENT[:-1], f"{len(CONTENT) - 1} bytes"),
        (CONTENT + b"?", f"more than {len(CONTENT)} bytes"),
        (b"<html>Log in</html>", "19 bytes"),
        (b"", "0 bytes"),
    ],
    ids=["altered", "cut", "padded", "web page", "empty"],
)
def test_a_download_with_a_wrong_checksum_is_an_error_and_is_not_kept(
    server: Server, served: bytes, told: str
) -> None:
    file = remote("digits", CONTENT, server.serve("digits", served))
    with pytest.raises(DataError, match=told):
        download(file)
    assert kept() == {}


def test_a_gz_with_wrong_content_or_none_is_an_error_and_is_not_kept(server: Server) -> None:
    file = remote("digits", CONTENT, server.serve("digits.gz", gzip.compress(CONTENT[1:])))
    with pytest.raises(DataError, match="uncompressed"):
        download(file)
    server.serve("digits.gz", CONTENT)  # not compressed at all
    with pytest.raises(DataError, match="cannot be read"):
        download(file)
    assert kept() == {}


def test_a_cut_download_goes_on_where_it_stopped(server: Server) -> None:
    server.cuts = [2 * BLOCK]
    file = remote("digits", CONTENT, server.serve("digits", CONTENT))
    data, _ = download(file)
    assert data == CONTENT
    assert server.ranges == [None, f"bytes={2 * BLOCK}-"]
    assert kept() == {"digits": len(CONTENT)}


def test_a_download_cut_twice_goes_on_twice(server: Server) -> None:
    server.cuts = [BLOCK, 2 * BLOCK]
    file = remote("digits", CONTENT, server.serve("digits", CONTENT))
    assert download(file)[0] == CONTENT
    assert server.ranges == [None, f"bytes={BLOCK}-", f"bytes={3 * BLOCK}-"]


def test_a_download_cut_before_the_first_byte_is_tried_again(server: Server) -> None:
    server.cuts = [0]
    file = remote("digits", CONTENT, server.serve("digits", CONTENT))
    assert download(file)[0] == CONTENT
    assert server.ranges == [None, None]


def test_a_cut_download_starts_again_where_the_server_knows_no_ranges(server: Server) -> None:
    server.cuts = [2 * BLOCK]
    server.knows_ranges = False
    file = remote("digits", CONTENT, server.serve("digits", CONTENT))
    assert download(file)[0] == CONTENT
    assert len(server.asked) == 2


def test_a_download_that_keeps_breaking_fails_but_a_later_one_goes_on_from_it(
    server: Server, cache: Path
) -> None:
    file = remote("digits", CONTENT, server.serve("digits", CONTENT))
    server.cuts = [BLOCK, BLOCK, BLOCK]
    with pytest.raises(DataError, match="digits") as caught:
        download(file)
    assert "\n" not in str(caught.value)
    assert server.cuts == []
    assert kept() == {"digits.part": 3 * BLOCK}
    assert (cache / "digits.part").read_bytes() == CONTENT[: 3 * BLOCK]
    assert find(file) is None

    server.asked.clear()
    assert download(file)[0] == CONTENT
    assert server.ranges == [f"bytes={3 * BLOCK}-"]
    assert kept() == {"digits": len(CONTENT)}


@pytest.mark.parametrize("surplus", [0, 10])
def test_a_partial_download_that_leaves_nothing_to_fetch_is_fetched_afresh(
    server: Server, cache: Path, surplus: int
) -> None:
    file = remote("digits", CONTENT, server.serve("digits", CONTENT))
    cache.mkdir(parents=True)
    (cache / "digits.part").write_bytes(bytes(len(CONTENT) + surplus))
    assert download(file)[0] == CONTENT
    assert server.ranges == [f"bytes={len(CONTENT) + surplus}-", None]
    assert kept() == {"digits": len(CONTENT)}


def test_a_partial_download_of_another_file_is_an_error_once_and_then_forgotten(
    server: Server, cache: Path
) -> None:
    file = remote("digits", CONTENT, server.serve("digits", CONTENT))
    cache.mkdir(parents=True)
    (cache / "digits.part").write_bytes(bytes(BLOCK))
    with pytest.raises(DataError, match="SHA-256"):
        download(file)
    assert kept() == {}
    assert download(file)[0] == CONTENT


def test_the_second_home_is_asked_when_the_first_has_no_such_file(server: Server) -> None:
    home = server.serve("b/digits", CONTENT)
    assert download(remote("digits", CONTENT, server.url("a/digits"), home))[0] == CONTENT
    assert [path for path, _ in server.asked] == ["/a/digits", "/b/digits"]


def test_the_second_home_is_asked_when_the_first_is_down(server: Server, closed: str) -> None:
    home = server.serve("digits", CONTENT)
    assert download(remote("digits", CONTENT, closed + "digits", home))[0] == CONTENT


def test_the_second_home_goes_on_where_the_first_kept_breaking(server: Server) -> None:
    homes = server.serve("a/digits", CONTENT), server.serve("b/digits", CONTENT)
    server.cuts = [BLOCK, 0, 0]
    assert download(remote("digits", CONTENT, *homes))[0] == CONTENT
    assert server.asked[-1] == ("/b/digits", f"bytes={BLOCK}-")


def test_where_fetching_is_forbidden_nobody_is_asked_and_the_error_says_where_to_put_it(
    server: Server, cache: Path
) -> None:
    file = remote("digits", CONTENT, server.serve("digits", CONTENT))
    with pytest.raises(DataError) as caught:
        download(file, fetch=False)
    message = str(caught.value)
    assert "downloaded" not in message
    for part in ("digits", str(cache), "--data-dir", "DRAW_DATA"):
        assert part in message
    assert server.asked == []


def test_without_a_network_the_error_is_one_line_that_names_every_home(closed: str) -> None:
    homes = (closed + "a/digits", closed + "b/digits")
    with pytest.raises(DataError) as caught:
        download(remote("digits", CONTENT, *homes))
    message = str(caught.value)
    assert "\n" not in message
    for part in (*homes, "no connection", "--data-dir", "DRAW_DATA"):
        assert part in message


def test_progress_never_falls_and_ends_at_the_total(server: Server) -> None:
    told = []
    file = remote("digits", CONTENT, server.serve("digits", CONTENT))
    download(file, progress=lambda *report: told.append(report))
    done = [so_far for _, so_far, _ in told]
    assert done == sorted(done)
    assert len(done) > 1
    assert {(name, total) for name, _, total in told} == {("digits", len(CONTENT))}
    assert done[-1] == len(CONTENT)


def test_progress_of_a_resumed_download_counts_what_was_there(server: Server) -> None:
    server.cuts = [2 * BLOCK]
    told = []
    file = remote("digits", CONTENT, server.serve("digits", CONTENT))
    download(file, progress=lambda *report: told.append(report))
    assert [so_far for _, so_far, _ in told] == [
        *(BLOCK, 2 * BLOCK, 3 * BLOCK, 4 * BLOCK),
        len(CONTENT),
    ]
    assert {total for _, _, total in told} == {len(CONTENT)}


def test_the_folders_are_searched_in_the_order_data_dir_environment_cache(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, env = tmp_path / "mine", tmp_path / "env"
    assert search_path(None) == [cache]
    assert search_path(mine) == [mine, cache]
    monkeypatch.setenv("DRAW_DATA", str(env))
    assert search_path(mine) == [mine, env, cache]
    monkeypatch.setenv("DRAW_DATA", "")
    assert search_path(None) == [cache]


def test_find_takes_the_first_folder_that_has_the_file(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, env = tmp_path / "mine", tmp_path / "env"
    monkeypatch.setenv("DRAW_DATA", str(env))
    file = remote("digits", CONTENT)
    assert find(file, mine) is None
    for folder in (cache, env, mine):  # the last in order first: each newcomer hides the others
        folder.mkdir(parents=True)
        (folder / "digits").write_bytes(CONTENT)
        assert find(file, mine) == CONTENT
        (folder / "digits").write_bytes(b"spoilt")
        with pytest.raises(DataError, match=str(folder / "digits")):
            find(file, mine)


def test_find_prefers_the_uncompressed_file(tmp_path: Path) -> None:
    file = remote("digits", CONTENT)
    (tmp_path / "digits.gz").write_bytes(b"spoilt")
    (tmp_path / "digits").write_bytes(CONTENT)
    assert find(file, tmp_path) == CONTENT


@pytest.mark.parametrize("level", [0, 9])
def test_find_checks_the_uncompressed_bytes_however_they_were_compressed(
    tmp_path: Path, level: int
) -> None:
    (tmp_path / "digits.gz").write_bytes(gzip.compress(CONTENT, level))
    assert find(remote("digits", CONTENT), tmp_path) == CONTENT


def test_find_ignores_a_folder_of_that_name(tmp_path: Path) -> None:
    (tmp_path / "digits").mkdir()
    assert find(remote("digits", CONTENT), tmp_path) is None


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("digits", CONTENT[:-1], f"holds {len(CONTENT) - 1} bytes"),
        ("digits", CONTENT + b"\0", f"holds more than {len(CONTENT)} bytes"),
        ("digits", b"", "holds 0 bytes"),
        ("digits", b"\0" + CONTENT[1:], "SHA-256"),
        ("digits.gz", gzip.compress(CONTENT)[:-1000], "cannot be read"),
        ("digits.gz", gzip.compress(CONTENT) + b"padding", "cannot be read"),
        ("digits.gz", gzip.compress(CONTENT + b"\0"), "holds more than"),
        ("digits.gz", gzip.compress(CONTENT[:-1]), f"holds {len(CONTENT) - 1} bytes"),
        ("digits.gz", gzip.compress(b"\0" + CONTENT[1:]), "SHA-256"),
        ("digits.gz", gzip.compress(b"a" * 99)[:10] + b"\xff" * 99, "cannot be read"),
        ("digits.gz", CONTENT, "cannot be read"),
    ],
)
def test_find_refuses_a_file_that_is_not_the_published_one(
    tmp_path: Path, name: str, content: bytes, told: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=told) as caught:
        find(remote("digits", CONTENT), tmp_path)
    assert str(tmp_path / name) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_find_does_not_unpack_more_than_the_file_should_hold(tmp_path: Path) -> None:
    (tmp_path / "digits.gz").write_bytes(gzip.compress(bytes(1 << 25), 1))  # 32 MiB of zeros
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match="more than 10 bytes"):
            find(remote("digits", bytes(10)), tmp_path)
        assert tracemalloc.get_traced_memory()[1] < 1 << 22  # the reader's buffers and to spare
    finally:
        tracemalloc.stop()


def test_check_accepts_the_published_bytes_only() -> None:
    file = remote("digits", CONTENT)
    check(file, CONTENT, "here")
    with pytest.raises(DataError, match="here has SHA-256"):
        check(file, os.urandom(len(CONTENT)), "here")


# ---- files that are used as they are


def test_retrieve_keeps_the_file_in_the_cache_as_it_is(server: Server, cache: Path) -> None:
    packed = gzip.compress(CONTENT)
    file = remote("set.tar.gz", packed, server.serve("set.tar.gz", packed))
    assert locate(file) is None
    assert retrieve(file) == cache / "set.tar.gz"
    assert locate(file) == cache / "set.tar.gz"
    assert (cache / "set.tar.gz").read_bytes() == packed


@pytest.mark.parametrize(
    ("served", "told"),
    [
        (CONTENT[:-1] + b"?", "SHA-256"),
        (CONTENT[:-1], f"holds {len(CONTENT) - 1} bytes"),
        (CONTENT + b"?", f"holds more than {len(CONTENT)} bytes"),
        (b"", "holds 0 bytes"),
    ],
    ids=["altered", "cut", "padded", "empty"],
)
def test_what_is_used_as_it_is_must_be_the_published_file(
    server: Server, tmp_path: Path, served: bytes, told: str
) -> None:
    file = remote("set", CONTENT, server.serve("set", served))
    with pytest.raises(DataError, match=told):
        retrieve(file)
    assert kept() == {}
    (tmp_path / "set").write_bytes(served)
    with pytest.raises(DataError, match=f"{tmp_path / 'set'}.*{told}") as caught:
        locate(file, tmp_path)
    assert "uncompressed" not in str(caught.value)
    assert (tmp_path / "set").read_bytes() == served


def test_where_no_checksum_was_published_the_size_alone_is_checked(tmp_path: Path) -> None:
    file = RemoteFile("set", len(CONTENT), None, ())
    path = tmp_path / "set"
    path.write_bytes(bytes(len(CONTENT)))
    check_whole(file, path, "here")
    assert locate(file, tmp_path) == path
    path.write_bytes(CONTENT[:-1])
    with pytest.raises(DataError, match="here holds"):
        check_whole(file, path, "here")


def test_locate_takes_the_first_folder_that_has_the_file_or_what_came_out_of_it(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, env = tmp_path / "mine", tmp_path / "env"
    monkeypatch.setenv("DRAW_DATA", str(env))
    file = remote("set", CONTENT)
    (cache / "unpacked").mkdir(parents=True)
    assert locate(file, mine) is None
    assert locate(file, mine, unpacked="unpacked") == cache / "unpacked"
    env.mkdir()
    (env / "set").write_bytes(CONTENT)
    assert locate(file, mine, unpacked="unpacked") == env / "set"
    (mine / "unpacked").mkdir(parents=True)
    assert locate(file, mine, unpacked="unpacked") == mine / "unpacked"
    (mine / "set").write_bytes(CONTENT)
    assert locate(file, mine, unpacked="unpacked") == mine / "set"


def test_a_missing_file_that_is_used_as_it_is_is_asked_for_under_its_name_alone(
    server: Server,
) -> None:
    file = remote("set.tar.gz", CONTENT, server.url("set.tar.gz"))
    for fetch in (True, False):
        with pytest.raises(DataError, match=r"set\.tar\.gz is in none of") as caught:
            retrieve(file, fetch=fetch)
        assert "set.tar.gz.gz" not in str(caught.value)
        assert ("404" in str(caught.value)) == fetch


def test_a_server_without_an_end_fills_no_disk(server: Server, monkeypatch) -> None:
    monkeypatch.setattr(module, "SLACK", 1 << 17)
    file = remote("digits", CONTENT, server.serve("digits", CONTENT + bytes(1 << 23)))
    told = []
    with pytest.raises(DataError, match=f"more than {len(CONTENT)} bytes"):
        download(file, progress=lambda *report: told.append(report))
    assert max(have for _, have, _ in told) <= len(CONTENT) + (1 << 17)
    assert kept() == {}


@pytest.mark.parametrize("length", ["many", "-5", "9" * 5_000, "\xb2"])
def test_a_length_that_is_none_is_not_believed(
    server: Server, length: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    get = requests.get

    def lying(*args: object, **options: object) -> requests.Response:
        response = get(*args, **options)
        response.headers["Content-Length"] = length
        return response

    monkeypatch.setattr(requests, "get", lying)
    told = []
    file = remote("digits", CONTENT, server.serve("digits", CONTENT))
    assert download(file, progress=lambda *report: told.append(report))[0] == CONTENT
    assert told[-1] == ("digits", len(CONTENT), 0)
