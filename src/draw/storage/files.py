"""Atomic writes of small files, and parsing of untrusted JSON."""

import errno
import json
import math
import os
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from reprlib import repr as short  # truncates values of any size and depth
from typing import Any

from draw.errors import ConfigError, one_line

PARTIAL = ".partial"
LOCK = ".lock"  # of a run folder, held while a process trains in it
MAX_JSON_BYTES = 1 << 16  # a configuration needs a few hundred


def expand_user(path: str | Path) -> Path:
    """Replace `~` or `~user` at the start of a path by that user's home folder.

    Raises:
        ConfigError: if there is no such user or home folder.

    >>> expand_user("~/runs") == Path.home() / "runs", expand_user("a~/b")
    (True, PosixPath('a~/b'))
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise ConfigError(f"{path}: there is no such home folder; pass a path without ~") from error


def cache_dir() -> Path:
    """Return the user's cache folder for downloads, decoded images and compiled kernels.

    A user without a home folder has it among the temporary files.

    Raises:
        ConfigError: if another user could change that temporary folder.
    """
    if base := os.environ.get("XDG_CACHE_HOME"):
        return expand_user(base) / "draw"
    if sys.platform == "win32" and (base := os.environ.get("LOCALAPPDATA")):
        return Path(base, "draw")
    try:
        home = Path.home()
    except RuntimeError:
        return _temporary_cache_dir()
    if sys.platform == "darwin":
        return home / "Library" / "Caches" / "draw"
    if sys.platform == "win32":
        return home / "AppData" / "Local" / "draw"
    return home / ".cache" / "draw"


def _temporary_cache_dir() -> Path:
    """Create the temporary cache folder, which contains compiled code, for this user only."""
    folder = Path(tempfile.gettempdir(), f"draw-{os.getuid()}")
    folder.mkdir(mode=0o700, exist_ok=True)
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o022:
        raise ConfigError(f"other users can change {folder}; set XDG_CACHE_HOME to another folder")
    return folder


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path that replaces `path` in one step when the block ends normally.

    Readers of `path` see the old file or the new one, never a part of it. Every writer has a
    temporary file with a unique name, so concurrent writers cannot mix their contents.

    Raises:
        OSError: if the disk is full or not writable; the old file is left as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=PARTIAL, dir=path.parent)
    os.close(handle)
    partial = Path(name)
    try:
        partial.chmod(0o666 & ~_umask())  # mkstemp creates private files
        yield partial
        with partial.open("rb+") as file:
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def _umask() -> int:
    mask = os.umask(0o077)  # there is no way to read it without setting it
    os.umask(mask)
    return mask


def is_partial(path: Path) -> bool:
    """Return whether a killed process left this file while writing."""
    return path.name.startswith(".") and path.suffix == PARTIAL


def is_vacant(folder: Path) -> bool:
    """Return whether a folder does not exist, or holds only hidden files such as .DS_Store."""
    if not folder.is_dir():
        return not folder.exists()
    return all(path.name.startswith(".") for path in folder.iterdir())


def write_atomic(path: Path, data: bytes) -> None:
    """Replace the content of a file; see `atomic_path`."""
    with atomic_path(path) as partial:
        partial.write_bytes(data)


def read_start(path: Path, size: int) -> bytes:
    """Read the first `size` bytes of a file, or all of a shorter file.

    Raises:
        OSError: if the path cannot be read or is not a regular file (a pipe would block).

    >>> len(read_start(Path(__file__), 5))
    5
    """
    if not path.is_file():
        raise FileNotFoundError(errno.ENOENT, "there is no such file", str(path))
    with path.open("rb") as file:
        return file.read(size)


def read_json(path: Path) -> Any:
    """Read a small JSON file from an untrusted source.

    Raises:
        ConfigError: if the file cannot be read, is larger than 64 KiB or is not JSON.

    >>> read_json(Path("gone.json"))
    Traceback (most recent call last):
    draw.errors.ConfigError: gone.json cannot be read: there is no such file
    """
    try:
        data = read_start(path, MAX_JSON_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    if len(data) > MAX_JSON_BYTES:
        raise ConfigError(f"{path} is larger than the limit of {MAX_JSON_BYTES:,} bytes")
    return parse_json(data, str(path))


def parse_json(data: str | bytes, name: str) -> Any:
    """Parse JSON from an untrusted source; duplicate keys are errors.

    Args:
        data: the JSON text.
        name: the name of the source in error messages.

    Raises:
        ConfigError: if the text is not JSON or is nested too deeply.

    >>> parse_json('{"height": 28, "height": 64}', "it")
    Traceback (most recent call last):
    draw.errors.ConfigError: it is not JSON: the key 'height' occurs twice
    """
    try:
        return json.loads(data, object_pairs_hook=_object)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{name} is not JSON: {one_line(error)}") from error


def dump_json(values: Any, indent: int | None = 2) -> str:
    """Format values as valid JSON with a trailing newline; NaN and infinities become null.

    >>> dump_json({"loss": float("-inf"), "errors": [1.0, float("nan")]}, indent=None)
    '{"loss": null, "errors": [1.0, null]}\\n'
    """
    return json.dumps(_finite(values), indent=indent, allow_nan=False) + "\n"


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for key, value in pairs:
        if key in values:
            raise ValueError(f"the key {short(key)} occurs twice")
        values[key] = value
    return values
