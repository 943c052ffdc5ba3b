"""Finds a data file where the user keeps it, or downloads it; checks it in either case."""

import gzip
import hashlib
import os
import re
import shutil
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pooch
import requests

from draw.errors import DataError, one_line

T = TypeVar("T")
Progress = Callable[
    [str, int, int], None
]  # what, done, in all (0: unknown): bytes of a file, or pictures

SLACK = 1 << 20  # bytes that a download may have more than the file, as a .gz of noise has

pooch.get_logger().setLevel("WARNING")


@dataclass(frozen=True)
class RemoteFile:
    """A published file: its name, size and SHA-256, and its homes.

    `find` and `download` give its uncompressed bytes, and both are of these; `locate` and
    `retrieve` tell where a file lies that is used as it is, such as an archive.
    """

    name: str
    size: int
    sha256: str | None  # None where none was published; then the size alone is checked
    urls: tuple[str, ...]


def cache_dir() -> Path:
    """The user's cache for data: `$XDG_CACHE_HOME/draw` or what the system uses instead."""
    return Path(pooch.os_cache("draw"))


def search_path(data_dir: Path | None) -> list[Path]:
    """The folders in which a data file is looked for, in order."""
    from_environment = os.environ.get("DRAW_DATA")
    folders = [data_dir, Path(from_environment) if from_environment else None, cache_dir()]
    return [folder for folder in folders if folder is not None]


def find(file: RemoteFile, data_dir: Path | None = None) -> bytes | None:
    """The uncompressed bytes of `NAME` or `NAME.gz` from the search path; None if not there.

    Raises:
        DataError: the file is there but not the published one.
    """
    for folder in search_path(data_dir):
        for path in (folder / file.name, folder / f"{file.name}.gz"):
            if path.is_file():
                data = read_bounded(path, file.size)
                check(file, data, str(path))
                return data
    return None


def locate(file: RemoteFile, data_dir: Path | None = None, unpacked: str = "") -> Path | None:
    """Where a file lies in the search path that is used as it is; None if not there.

    Args:
        unpacked: what came out of it and does as well, by its name; it cannot be checked.

    Raises:
        DataError: the file is there but not the published one.
    """
    for folder in search_path(data_dir):
        path = folder / file.name
        if path.is_file():
            check_whole(file, path, str(path))
            return path
        loose = folder / unpacked
        if unpacked and (loose.is_dir() or loose.is_file()):
            return loose
    return None


def download(
    file: RemoteFile,
    data_dir: Path | None = None,
    progress: Progress | None = None,
    fetch: bool = True,
) -> tuple[bytes, Path]:
    """Fetch a file into the cache: its uncompressed bytes, and where the download lies.

    A download that was cut short goes on where it stopped, if the server allows it.

    Raises:
        DataError: no home gave the published file, or `fetch` forbids to ask.
    """

    def checked(path: Path, url: str) -> tuple[bytes, Path]:
        data = read_bounded(path, file.size)
        check(file, data, url)
        return data, path

    return _fetched(file, f"{file.name} (or {file.name}.gz)", data_dir, progress, fetch, checked)


def retrieve(
    file: RemoteFile,
    data_dir: Path | None = None,
    progress: Progress | None = None,
    fetch: bool = True,
) -> Path:
    """Fetch a file that is used as it is into the cache: where it lies; otherwise as `download`."""

    def checked(path: Path, url: str) -> Path:
        check_whole(file, path, url)
        return path

    return _fetched(file, file.name, data_dir, progress, fetch, checked)


def _fetched(
    file: RemoteFile,
    wanted: str,
    data_dir: Path | None,
    progress: Progress | None,
    fetch: bool,
    checked: Callable[[Path, str], T],
) -> T:
    """What `checked` makes of a download and its URL; if it refuses one, the next home is asked."""
    reasons = []
    for url in file.urls if fetch else ():
        name = url.rsplit("/", 1)[-1]
        try:
            path = Path(
                pooch.retrieve(
                    url,
                    known_hash=None,  # it is checked below
                    fname=name,
                    path=cache_dir(),
                    downloader=_Resuming(cache_dir() / f"{name}.part", file.size, progress),
                )
            )
        except requests.RequestException as error:
            reasons.append(f"{url}: {_reason(error)}")
            continue
        try:
            return checked(path, url)
        except DataError as error:
            path.unlink()
            reasons.append(str(error))
    looked = ", ".join(map(str, search_path(data_dir)))
    tried = f", and could not be downloaded ({'; '.join(reasons)})" if fetch else ""
    raise DataError(
        f"{wanted} is in none of {looked}{tried}. Put it into one of these folders, or name its "
        f"folder with --data-dir or DRAW_DATA"
    )


def check(file: RemoteFile, data: bytes, origin: str) -> None:
    """Compare uncompressed bytes with the published file.

    Raises:
        DataError: the size or the SHA-256 differs.
    """
    _compare(file, len(data), lambda: hashlib.sha256(data).hexdigest(), origin, " uncompressed")


def check_whole(file: RemoteFile, path: Path, origin: str) -> None:
    """Compare a file as it is with the published one; see `check`."""

    def sha256() -> str:
        with path.open("rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest()

    _compare(file, path.stat().st_size, sha256, origin, "")


def _compare(file: RemoteFile, size: int, sha256: Callable[[], str], origin: str, how: str) -> None:
    if size != file.size:
        shown = f"more than {file.size}" if size > file.size else str(size)
        raise DataError(
            f"{origin} holds {shown} bytes{how}, but {file.name} has {file.size}; "
            f"it was cut or altered: delete it and fetch it again"
        )
    if file.sha256 is not None and (digest := sha256()) != file.sha256:
        raise DataError(
            f"{origin} has SHA-256 {digest}{how}, but {file.name} has {file.sha256}; "
            f"it was damaged or altered: delete it and fetch it again"
        )


def read_bounded(path: Path, size: int) -> bytes:
    """At most `size` + 1 bytes of a file, decompressed if its name says so.

    Raises:
        DataError: it cannot be decompressed.
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            data: bytes = file.read(size + 1)
        return data
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(
            f"{path} cannot be read: {one_line(error)}; delete it and fetch it again"
        ) from error


class _Resuming:
    """A downloader for pooch that keeps what came of a cut download and asks for the rest."""

    attempts = 3

    def __init__(self, part: Path, size: int, progress: Progress | None) -> None:
        self.part = part
        self.largest = size + SLACK
        self.progress = progress

    def __call__(self, url: str, output_file: Any, pooch: Any) -> None:
        for attempt in range(self.attempts):
            try:
                self._fetch_rest(url)
                break
            except (requests.ConnectionError, requests.exceptions.ChunkedEncodingError):
                if attempt == self.attempts - 1 or not self.part.exists():
                    raise
        shutil.move(self.part, output_file)

    def _fetch_rest(self, url: str) -> None:
        have = self.part.stat().st_size if self.part.exists() else 0
        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
        with requests.get(url, headers=headers, stream=True, timeout=(10, 60)) as response:
            if have and response.status_code == requests.codes.requested_range_not_satisfiable:
                self.part.unlink()  # nothing is left to fetch: it is whole, or another file's
                return self._fetch_rest(url)
            response.raise_for_status()
            if response.status_code != requests.codes.partial_content:
                have = 0  # the server sends all of it again
            length = response.headers.get("Content-Length", "")
            total = have + int(length) if re.fullmatch("[0-9]{1,18}", length) else 0
            self.part.parent.mkdir(parents=True, exist_ok=True)
            with self.part.open("ab" if have else "wb") as file:
                for chunk in response.iter_content(1 << 16):
                    file.write(chunk)
                    have += len(chunk)
                    if have > self.largest:
                        break  # it is another file, and may have no end
                    if self.progress:
                        self.progress(self.part.stem, have, total)


def _reason(error: requests.RequestException) -> str:
    if error.response is not None:
        return f"HTTP status {error.response.status_code}"
    return "no connection" if isinstance(error, requests.ConnectionError) else one_line(error)
