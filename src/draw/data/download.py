"""Find or download data files, and compare them with their published SHA-256."""

import gzip
import hashlib
import itertools
import os
import ssl
import tarfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from filelock import FileLock

from draw.errors import DataError, one_line
from draw.storage.files import cache_dir, expand_user

Progress = Callable[[str, int, int], None]  # (what, done, total); total is 0 if unknown

ATTEMPTS = 3  # per URL, if the connection breaks
TIMEOUT_SECONDS = 30
CHUNK_BYTES = 1 << 16
MAX_EXTRA_BYTES = 1 << 20  # a .gz file of incompressible data is slightly larger than the data
NETWORK_ERRORS = URLError, ConnectionError, TimeoutError, HTTPException, ssl.SSLError


@dataclass(frozen=True)
class RemoteFile:
    """A published file.

    It may be stored as `NAME` or `NAME.gz`; size and SHA-256 are those of the uncompressed bytes.
    If `NAME` itself ends in `.gz`, they are those of the compressed archive.
    """

    name: str
    size: int  # bytes
    sha256: str | None  # if None (not published), only the size is checked
    urls: tuple[str, ...] = ()  # mirrors, in order of preference
    other_names: tuple[str, ...] = ()  # file names that other programs use


@dataclass(frozen=True)
class Source:
    """The folders to search for data files, and how to download missing ones."""

    data_dir: Path | None = None  # searched first, before $DRAW_DATA and the user's cache
    progress: Progress | None = None
    fetch: bool = True  # download missing files
    name: str = "NAME"  # name of the data set, for messages

    @property
    def folders(self) -> list[Path]:
        """The folders to search, in order."""
        named = self.data_dir, os.environ.get("DRAW_DATA")
        return [*(expand_user(folder) for folder in named if folder), cache_dir()]

    def find(self, file: RemoteFile) -> Path | None:
        """Search the folders for a file, under any of its names, and check it.

        Returns:
            The path of the file, which may end in `.gz`, or None if it does not exist.

        Raises:
            DataError: if the file exists but differs from the published one.
        """
        suffixes = ("",) if file.name.endswith(".gz") else ("", ".gz")
        names = [name + suffix for name in (file.name, *file.other_names) for suffix in suffixes]
        for folder, name in itertools.product(self.folders, names):
            path = folder / name
            if path.is_file():
                check(file, path, str(path))
                return path
        return None

    def get(self, file: RemoteFile) -> Path:
        """Find a file, or download it into the cache.

        Raises:
            DataError: if the file exists but differs from the published one, or if it is missing
                and cannot be downloaded.
        """
        if (found := self.find(file)) is not None:
            return found
        failures = []
        if self.fetch:
            cache_dir().mkdir(parents=True, exist_ok=True)
            with FileLock(cache_dir() / f"{file.name}.lock"):
                if (found := self.find(file)) is not None:  # downloaded by another process
                    return found
                for url in file.urls:
                    try:
                        return self._download(file, url)
                    except DataError as error:
                        failures.append(str(error))
        failed = f", and its download failed ({'; '.join(failures)})" if failures else ""
        fetch = "" if self.fetch else f"run draw data fetch {self.name}, "
        folders = "this folder" if len(self.folders) == 1 else "one of these folders"
        raise DataError(
            f"{file.name} was not found in {', '.join(map(str, self.folders))}{failed}; {fetch}"
            f"copy it into {folders}, or set --data-dir or $DRAW_DATA to its folder"
        )

    def read(self, file: RemoteFile) -> bytes:
        """Find or download a file (see `get`) and return its uncompressed bytes."""
        return read_data(self.get(file))

    def _download(self, file: RemoteFile, url: str) -> Path:
        """Download a file from one mirror; the caller must hold the lock of the file."""
        name = url.rsplit("/", 1)[-1]
        partial = cache_dir() / "incomplete" / name
        partial.parent.mkdir(exist_ok=True)
        for attempt in range(1, ATTEMPTS + 1):
            try:
                _resume(url, partial, file.size + MAX_EXTRA_BYTES, self.progress)
                break
            except NETWORK_ERRORS as error:
                if isinstance(error, HTTPError) or attempt == ATTEMPTS or not partial.exists():
                    raise DataError(f"{url}: {_cause(error)}") from error
        try:
            check(file, partial, url)
        except DataError:
            partial.unlink()
            raise
        return partial.replace(cache_dir() / name)


def check(file: RemoteFile, path: Path, origin: str) -> None:
    """Compare a stored file with the published one.

    Args:
        origin: the path or URL, for error messages.

    Raises:
        DataError: if the size or the SHA-256 of the uncompressed bytes differs, or if the file
            cannot be decompressed.
    """
    size, sha256 = path.stat().st_size, hashlib.sha256()
    if path.suffix == ".gz" and not file.name.endswith(".gz"):
        size = 0
        try:
            with gzip.open(path) as unzipped:
                while size <= file.size and (chunk := unzipped.read(CHUNK_BYTES)):
                    size += len(chunk)
                    sha256.update(chunk)
        except (OSError, EOFError, zlib.error) as error:
            raise DataError(
                f"{origin} cannot be decompressed: {one_line(error)}; download it again"
            ) from error
    elif size == file.size and file.sha256 is not None:
        with path.open("rb") as opened:
            sha256 = hashlib.file_digest(opened, "sha256")
    if size != file.size:
        shown = f"more than {file.size}" if size > file.size else str(size)
        raise DataError(
            f"{origin} has {shown} bytes, but the published {file.name} has {file.size}; "
            f"download it again"
        )
    if file.sha256 is not None and sha256.hexdigest() != file.sha256:
        raise DataError(
            f"{origin} has SHA-256 {sha256.hexdigest()}, but the published {file.name} has "
            f"{file.sha256}; download it again"
        )


def read_data(path: Path) -> bytes:
    """Read a file that has been checked, and decompress it if its name ends in `.gz`."""
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
        return file.read()


def archive_members(
    archive: Path, names: Iterable[str], max_bytes: int
) -> Iterator[tuple[str, bytes]]:
    """Read files of at most `max_bytes` from a .tar.gz archive, in the order of the archive.

    The whole archive is read, so that gzip verifies its checksum.

    Raises:
        DataError: if the archive is damaged, lacks one of the files or holds a larger one.
    """
    missing = set(names)
    try:
        with gzip.open(archive) as unzipped, tarfile.open(fileobj=unzipped, mode="r:") as tar:
            for member in tar:
                name = member.name.removeprefix("./")
                if name not in missing or not member.isreg():
                    continue
                if member.size > max_bytes:
                    raise DataError(
                        f"{archive}: {name} has {member.size} bytes, but at most {max_bytes} are "
                        f"expected; download the archive again"
                    )
                missing.remove(name)
                content = tar.extractfile(member)
                assert content is not None
                yield name, content.read()
            while unzipped.read(CHUNK_BYTES):
                pass
    except (gzip.BadGzipFile, EOFError, zlib.error, tarfile.TarError) as error:
        raise DataError(
            f"{archive} cannot be read: {one_line(error)}; delete it and download it again"
        ) from error
    if missing:
        raise DataError(f"{archive} lacks {min(missing)}; delete it and download it again")


def _cause(error: Exception) -> str:
    """Describe a network error, without urllib's wrapper and the error number.

    >>> _cause(URLError(OSError(-2, "Name or service not known")))
    'Name or service not known'
    """
    if type(error) is URLError and isinstance(error.reason, OSError):
        return error.reason.strerror or one_line(error.reason)
    return one_line(error)


def _resume(url: str, partial: Path, max_bytes: int, progress: Progress | None) -> None:
    """Download the rest of a partial file, or all of it if the server does not support ranges."""
    have = partial.stat().st_size if partial.exists() else 0
    headers = {"User-Agent": "draw"} | ({"Range": f"bytes={have}-"} if have else {})
    try:
        response = urlopen(Request(url, headers=headers), timeout=TIMEOUT_SECONDS)
    except HTTPError as error:
        if not have or error.code != 416:  # range not satisfiable: no bytes left to download
            raise
        partial.unlink()
        return _resume(url, partial, max_bytes, progress)
    with response:
        have = have if response.status == 206 else 0
        total = have + response.length if response.length else 0
        with partial.open("ab" if have else "wb") as file:
            while have <= max_bytes and (chunk := response.read(CHUNK_BYTES)):
                file.write(chunk)
                have += len(chunk)
                if progress:
                    progress(partial.name, have, total)
        if have < total and have <= max_bytes:
            raise ConnectionError(f"the connection closed after {have} of {total} bytes")
