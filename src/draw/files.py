"""Small files written whole or not at all, and dataclasses read strictly from JSON."""

import os
import types
import typing
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar

from draw.errors import ConfigError

T = TypeVar("T")

PARTIAL = ".partial"


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Write to the path given; `path` is replaced in one step when the block ends well.

    Whoever reads `path`, at any moment, finds the old file or the new one.

    Raises:
        OSError: the disk is full or not writable; the old file is then untouched.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}{PARTIAL}")
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


def write_atomic(path: Path, data: bytes) -> None:
    """Replace a file's content by `data`, whole or not at all; see `atomic_path`."""
    with atomic_path(path) as partial:
        partial.write_bytes(data)


def from_dict(cls: type[T], values: object, name: str) -> T:
    """Build a dataclass from parsed JSON; unknown or missing keys and wrong types are errors.

    Args:
        values: what `json.loads` gave; nested dataclasses are nested objects.
        name: how an error calls the source.

    Raises:
        ConfigError: a key is unknown, missing or of the wrong type.
    """
    if not isinstance(values, dict):
        raise ConfigError(f"{name} must hold a JSON object, not {type(values).__name__}")
    known = {field.name: field for field in fields(cls)}  # type: ignore[arg-type]
    for key in values:
        if key not in known:
            raise ConfigError(f"{name} has the unknown key {key!r}; known are {', '.join(known)}")
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
        if choice is float and type(value) is int:
            return float(value)
        if type(value) is choice:
            return value
        if typing.get_origin(choice) is typing.Literal and value in typing.get_args(choice):
            return value
    raise ConfigError(f"{name} is {value!r}, which is not of type {expected}")


def one_line(error: Exception) -> str:
    """What an error says, in one line; of PyTorch's list of wrong tensors, the list."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return "; ".join(lines[1:] or lines) or type(error).__name__
