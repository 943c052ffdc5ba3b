"""Small files written whole or not at all, and JSON of anybody's read strictly into dataclasses."""

import errno
import json
import os
import types
import typing
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from reprlib import repr as short  # of a value of any size and depth
from typing import Any, TypeVar

from draw.errors import ConfigError

T = TypeVar("T")

PARTIAL = ".partial"
LARGEST_JSON = 1 << 16  # bytes; a configuration takes hundreds
LARGEST_MESSAGE = 500  # characters that are passed on of another library's error
EXACT = 1 << 53  # a float holds all whole numbers up to here


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Write to the path given; `path` is replaced in one step when the block ends well.

    Whoever reads `path`, at any moment, finds the old file or the new one.

    Raises:
        OSError: the disk is full or not writable; the old file is then untouched.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}{PARTIAL}")
    partial.unlink(missing_ok=True)  # a link would be followed to what it points to
    try:
        yield partial
        with partial.open("rb+") as file:
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def is_partial(path: Path) -> bool:
    """Whether it is what a kill left of a file that was being written."""
    return path.name.startswith(".") and path.suffix == PARTIAL


def is_vacant(folder: Path) -> bool:
    """Whether it is not there, or holds nothing but what kills left."""
    return not folder.exists() or (folder.is_dir() and all(map(is_partial, folder.iterdir())))


def write_atomic(path: Path, data: bytes) -> None:
    """Replace a file's content by `data`, whole or not at all; see `atomic_path`."""
    with atomic_path(path) as partial:
        partial.write_bytes(data)


def read_start(path: Path, size: int) -> bytes:
    """The first `size` bytes of a file, or all, if it has fewer.

    Raises:
        OSError: it cannot be read, or is no file; a pipe is not waited for.

    >>> len(read_start(Path(__file__), 5))
    5
    """
    if not path.is_file():
        raise FileNotFoundError(errno.ENOENT, "there is no such file", str(path))
    with path.open("rb") as file:
        return file.read(size)


def read_json(path: Path) -> Any:
    """What a small JSON file holds; anybody may have written it.

    Raises:
        ConfigError: it cannot be read, has more than 64 KiB or is not JSON.

    >>> read_json(Path("gone.json"))
    Traceback (most recent call last):
    draw.errors.ConfigError: gone.json cannot be read: there is no such file
    """
    try:
        data = read_start(path, LARGEST_JSON + 1)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    if len(data) > LARGEST_JSON:
        raise ConfigError(f"{path} has more than the {LARGEST_JSON:,} bytes that are read of it")
    return parse_json(data, str(path))


def parse_json(data: str | bytes, name: str) -> Any:
    """What a JSON text holds; no object may have a key twice.

    Args:
        name: how an error calls the source.

    Raises:
        ConfigError: it is not JSON, or nested too deeply.

    >>> parse_json('{"height": 28, "height": 64}', "it")
    Traceback (most recent call last):
    draw.errors.ConfigError: it is not JSON: the key 'height' is there twice
    """
    try:
        return json.loads(data, object_pairs_hook=_object)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{name} is not JSON: {one_line(error)}") from error


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for key, value in pairs:
        if key in values:
            raise ValueError(f"the key {short(key)} is there twice")
        values[key] = value
    return values


def from_dict(cls: type[T], values: object, name: str) -> T:
    """Build a dataclass from parsed JSON; unknown or missing keys and wrong types are errors.

    Args:
        values: what `parse_json` gave; nested dataclasses are nested objects.
        name: how an error calls the source.

    Raises:
        ConfigError: a key is unknown, missing or of the wrong type.
    """
    if not isinstance(values, dict):
        raise ConfigError(f"{name} must hold a JSON object, not {type(values).__name__}")
    known = {field.name: field for field in fields(cls)}  # type: ignore[arg-type]
    for key in values:
        if key not in known:
            raise ConfigError(
                f"{name} has the unknown key {short(key)}; known are {', '.join(known)}"
            )
    arguments = {}
    for key, field in known.items():
        if key in values:
            arguments[key] = _convert(field.type, values[key], f"{name}: {key}")
        elif field.default is MISSING and field.default_factory is MISSING:
            raise ConfigError(f"{name} lacks the key {key!r}")
    return cls(**arguments)


def knows_keys(cls: type, values: object) -> bool:
    """Whether `values` is a JSON object whose keys are all fields of the dataclass."""
    return isinstance(values, dict) and values.keys() <= {field.name for field in fields(cls)}


def _convert(expected: Any, value: Any, name: str) -> Any:
    choices = typing.get_args(expected) if isinstance(expected, types.UnionType) else (expected,)
    structures = [choice for choice in choices if is_dataclass(choice)]
    if structures:  # the first that knows all keys, else the first, which says what is wrong
        fitting = [cls for cls in structures if knows_keys(cls, value)]  # type: ignore[arg-type]
        return from_dict((*fitting, structures[0])[0], value, name)  # type: ignore[arg-type]
    for choice in choices:
        if choice is Path and isinstance(value, str):
            return Path(value)
        if choice is float and type(value) is int and abs(value) <= EXACT:
            return float(value)
        if type(value) is choice:
            return value
        if typing.get_origin(choice) is typing.Literal and value in typing.get_args(choice):
            return value
    raise ConfigError(f"{name} is {short(value)}, which is not of type {expected}")


def one_line(error: Exception) -> str:
    r"""What another library's error says, in one line and not too long a one.

    >>> one_line(ValueError("it is\n  far too " + 1_000 * "long"))[:29], one_line(KeyError())
    ('it is; far too longlonglonglo', 'KeyError')
    """
    lines = [" ".join(line.split()) for line in str(error).splitlines()]
    text = "; ".join(filter(None, lines)) or type(error).__name__
    return text if len(text) <= LARGEST_MESSAGE else f"{text[: LARGEST_MESSAGE - 3]}..."
