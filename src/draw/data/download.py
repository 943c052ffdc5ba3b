"""Finds a data file where the user keeps it, or downloads it; checks it in either case."""

import gzip
import hashlib
import os
import shutil
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pooch
import requests

from draw.errors import DataError

Progress = Callable[[str, int, int], None]  # file name, bytes so far, bytes in all (0: unknown)

pooch.get_logger().setLevel("WARNING")


@dataclass(frozen=True)
class RemoteFile:
    """A published file: its name, size and SHA-256 when uncompressed, and its homes."""

    name: str
    size: int
    sha256: str
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
                data = _read(path, file.size)
                check(file, data, str(path))
                return data
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
    reasons = []
    for url in file.urls if fetch else ():
        name = url.rsplit("/", 1)[-1]
        try:
            path = Path(
                pooch.retrieve(
                    url,
                    known_hash=None,  # the uncompressed bytes are checked below
                    fname=name,
                    path=cache_dir(),
                    downloader=_Resuming(cache_dir() / f"{name}.part", progress),
                )
            )
        except requests.RequestException as error:
            reasons.append(f"{url}: {_one_line(error)}")
            continue
        try:
            data = _read(path, file.size)
            check(file, data, url)
        except DataError as error:
            path.unlink()
            reasons.append(str(error))
            continue
        return data, path
    looked = ", ".join(map(str, search_path(data_dir)))
    tried = f", and could not be downloaded ({'; '.join(reasons)})" if fetch else ""
    raise DataError(
        f"{file.name} (or {file.name}.gz) is in none of {looked}{tried}. Put it into one of these "
        f"folders, or name its folder with --data-dir or DRAW_DATA"
    )


def check(file: RemoteFile, data: bytes, origin: str) -> None:
    """Compare with the published file.

    Raises:
        DataError: the size or the SHA-256 differs.
    """
    if len(data) != file.size:
        shown = f"more than {file.size}" if len(data) > file.size else str(len(data))
        raise DataError(
            f"{origin} holds {shown} bytes uncompressed, but {file.name} has {file.size}; "
            f"it was cut or altered: delete it and fetch it again"
        )
    digest = hashlib.sha256(data).hexdigest()
    if digest != file.sha256:
        raise DataError(
            f"{origin} has SHA-256 {digest} uncompressed, but {file.name} has {file.sha256}; "
            f"it was damaged or altered: delete it and fetch it again"
        )


def _read(path: Path, size: int) -> bytes:
    """At most `size` + 1 bytes of a file, decompressed if its name says so."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            data: bytes = file.read(size + 1)
        return data
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} cannot be read: {error}; delete it and fetch it again") from error


class _Resuming:
    """A downloader for pooch that keeps what came of a cut download and asks for the rest."""

    attempts = 3

    def __init__(self, part: Path, progress: Progress | None) -> None:
        self.part = part
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
            length = int(response.headers.get("Content-Length", 0))
            total = have + length if length else 0
            self.part.parent.mkdir(parents=True, exist_ok=True)
            with self.part.open("ab" if have else "wb") as file:
                for chunk in response.iter_content(1 << 16):
                    file.write(chunk)
                    have += len(chunk)
                    if self.progress:
                        self.progress(self.part.stem, have, total)


def _one_line(error: requests.RequestException) -> str:
    if error.response is not None:
        return f"HTTP status {error.response.status_code}"
    return "no connection" if isinstance(error, requests.ConnectionError) else str(error)
