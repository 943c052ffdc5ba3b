"""Convert dataclasses to JSON values and back, with strict checks."""

import types
import typing
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from reprlib import repr as short
from types import NoneType
from typing import Any, TypeVar

import numpy as np

from draw.errors import ConfigError
from draw.storage.files import expand_user

T = TypeVar("T")

MAX_EXACT_INT = 1 << 53  # a float represents all integers up to this one
TYPE = "type"  # the key that names the network of a configuration


def to_dict(config: Any) -> dict[str, Any]:
    """Convert a dataclass to JSON values.

    The attribute `network` of a network configuration is stored under "type".

    >>> from draw.model import DRAWConfig
    >>> to_dict(DRAWConfig())["type"]
    'DRAW'
    """
    values = {TYPE: config.network} if hasattr(config, "network") else {}
    for field in fields(config):
        value = getattr(config, field.name)
        if is_dataclass(value):
            value = to_dict(value)
        values[field.name] = str(value) if isinstance(value, Path) else value
    return values


def from_dict(cls: type[T], values: object, name: str) -> T:
    """Build a dataclass, and its nested dataclasses, from parsed JSON.

    Error messages refer to the JSON as `name`.

    Raises:
        ConfigError: if a key is unknown or missing, or has a value of the wrong type.
    """
    if not isinstance(values, dict):
        raise ConfigError(f"{name} must hold a JSON object, not {type(values).__name__}")
    network = getattr(cls, "network", None)
    if network is not None:
        if values.get(TYPE) != network:
            raise ConfigError(f"{name}: type is {short(values.get(TYPE))}; it must be {network!r}")
        values = {key: value for key, value in values.items() if key != TYPE}
    known = {field.name: field for field in fields(cls)}  # type: ignore[arg-type]
    for key in values:
        if key not in known:
            raise ConfigError(
                f"{name} has the unknown key {short(key)}; known keys are {', '.join(known)}"
            )
    arguments = {}
    for key, field in known.items():
        if key in values:
            arguments[key] = _convert(field.type, values[key], f"{name}: {key}")
        elif field.default is MISSING and field.default_factory is MISSING:
            raise ConfigError(f"{name} lacks the key {key!r}")
    return cls(**arguments)


def convert_fields(config: Any, prefix: str = "") -> None:
    """Convert the fields of a frozen dataclass to their declared types, in `__post_init__`.

    Integral floats, NumPy scalars and path strings are converted; other types are errors. Error
    messages put `prefix` before the names of fields.

    Raises:
        ConfigError: if a value cannot be converted.
    """
    for field in fields(config):
        value = _convert(field.type, getattr(config, field.name), prefix + field.name)
        object.__setattr__(config, field.name, value)


def _convert(expected: Any, value: Any, name: str) -> Any:
    choices = typing.get_args(expected) if isinstance(expected, types.UnionType) else (expected,)
    structures: list[Any] = [choice for choice in choices if is_dataclass(choice)]
    if structures:
        if isinstance(value, tuple(structures)):
            return value
        if not isinstance(value, dict):
            known = " or ".join(cls.__name__ for cls in structures)
            raise ConfigError(f"{name} is {short(value)}; it must be a {known}")
        if len(structures) > 1:  # the recorded type selects one of them
            networks = [cls.network for cls in structures]
            if value.get(TYPE) not in networks:
                known = " or ".join(map(repr, networks))
                raise ConfigError(f"{name}: type is {short(value.get(TYPE))}; it must be {known}")
            structures = [structures[networks.index(value[TYPE])]]
        return from_dict(structures[0], value, name)
    if isinstance(value, np.generic):
        value = value.item()
    for choice in choices:
        if type(value) is choice:
            return value
        if choice is Path and isinstance(value, str | Path):
            return expand_user(value)
        if typing.get_origin(choice) is typing.Literal and value in typing.get_args(choice):
            return value
    for choice in choices:
        if choice is float and type(value) is int and abs(value) <= MAX_EXACT_INT:
            return float(value)
        if choice is int and type(value) is float and value.is_integer():
            return int(value)
    raise ConfigError(f"{name} is {short(value)}; it must be {_describe(choices)}")


def _describe(choices: tuple[Any, ...]) -> str:
    """Describe the types of a field for an error message."""
    words = {int: "an integer", float: "a number", str: "a string", bool: "true or false"}
    words |= {Path: "a path", NoneType: "null"}
    described = []
    for choice in choices:
        if typing.get_origin(choice) is typing.Literal:
            described += [str(value) for value in typing.get_args(choice)]
        else:
            described.append(words.get(choice, str(choice)))
    return " or ".join(described)
