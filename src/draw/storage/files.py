"""Atomic writes of small files, and parsing of untrusted JSON."""

import errno
import json
import math
import os
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from reprlib import repr as short  # truncates large and deep values
from typing import Any

from draw.errors import ConfigError, one_line

PARTIAL = ".partial"
LOCK = ".lock"  # lock file of a run folder
MAX_JSON_BYTES = 1 << 16  # a configuration has a few hundred


def expand_user(path: str | Path) -> Path:
    """Replace `~` or `~user` at the start of a path with the user's home folder.

    Raises:
        ConfigError: if there is no such user or home folder.

    >>> expand_user("~/runs") == Path.home() / "runs", expand_user("a~/b")
    (True, PosixPath('a~/b'))
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise ConfigError(f"{path}: there is no such home folder; use a path without ~") from error


def cache_dir() -> Path:
    """Return the user's cache folder for downloads, decoded images and compiled kernels.

    If the user has no home folder, it is in the folder for temporary files.

    Raises:
        ConfigError: if other users can change this temporary folder.
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
    """Create a temporary cache folder that only this user can change, because it holds code."""
    folder = Path(tempfile.gettempdir(), f"draw-{os.getuid()}")
    folder.mkdir(mode=0o700, exist_ok=True)
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o022:
        raise ConfigError(f"other users can change {folder}; set XDG_CACHE_HOME to another folder")
    return folder


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary file, which replaces `path` atomically if the block succeeds.

    Readers of `path` see either the old or the new file, never part of one. Temporary files have
    unique names, so concurrent writers do not interfere. `~` stands for the user's home folder.

    Raises:
        ConfigError: if there is no such home folder.
        OSError: if the disk is full or not writable; the old file is then unchanged.
    """
    path = expand_user(path)
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
    mask = os.umask(0o077)  # it cannot be read without being set
    os.umask(mask)
    return mask


def is_partial(path: Path) -> bool:
    """Return whether this is a temporary file of `atomic_path`, left by a killed process."""
    return path.name.startswith(".") and path.suffix == PARTIAL


def is_vacant(folder: Path) -> bool:
    """Return whether a folder does not exist, or holds only hidden files such as .DS_Store."""
    if not folder.is_dir():
        return not folder.exists()
    return all(path.name.startswith(".") for path in folder.iterdir())


def check_replaceable(folder: Path, what: str, is_one: Callable[[Path], bool]) -> None:
    """Check that writing to a folder replaces no files of the user.

    Args:
        folder: new, empty or written by an earlier call.
        what: what earlier calls write, for the message.
        is_one: whether an earlier call wrote an existing folder.

    Raises:
        ConfigError: if the folder contains other files.
    """
    if folder.is_dir() and not is_vacant(folder) and not is_one(folder):
        raise ConfigError(f"{folder} contains files that are not {what}; choose a new folder")


def write_atomic(path: Path, data: bytes) -> None:
    """Write a file atomically; see `atomic_path`."""
    with atomic_path(path) as partial:
        partial.write_bytes(data)


def read_start(path: Path, size: int) -> bytes:
    """Read at most the first `size` bytes of a file.

    Raises:
        OSError: if the path is not a regular file (a pipe would block) or cannot be read.

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
    """Parse JSON from an untrusted source, which error messages call `name`.

    Raises:
        ConfigError: if the text is not JSON, is nested too deeply or repeats a key.

    >>> parse_json('{"height": 28, "height": 64}', "it")
    Traceback (most recent call last):
    draw.errors.ConfigError: it is not JSON: the key 'height' occurs twice
    """
    try:
        return json.loads(data, object_pairs_hook=_object)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{name} is not JSON: {one_line(error)}") from error


def dump_json(values: Any, indent: int | None = 2) -> str:
    """Convert values to valid JSON with a trailing newline; NaN and infinities become null.

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
