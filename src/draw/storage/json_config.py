"""Dataclasses to JSON and back, strictly."""

import types
import typing
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from reprlib import repr as short
from typing import Any, TypeVar

from draw.errors import ConfigError

T = TypeVar("T")

MAX_EXACT_INT = 1 << 53  # a float represents all integers up to this one
TYPE = "type"  # the key that names the network of a configuration


def to_dict(config: Any) -> dict[str, Any]:
    """Convert a dataclass to plain JSON values.

    A configuration of a network, which has a `network` attribute, records it under "type".

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
    """Build a dataclass from parsed JSON.

    Args:
        cls: the dataclass; fields that are dataclasses are nested objects.
        values: the parsed JSON.
        name: the name of the source in error messages.

    Raises:
        ConfigError: if a key is unknown, missing or has a value of the wrong type.
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


def _convert(expected: Any, value: Any, name: str) -> Any:
    choices = typing.get_args(expected) if isinstance(expected, types.UnionType) else (expected,)
    structures: list[Any] = [choice for choice in choices if is_dataclass(choice)]
    if len(structures) > 1 and isinstance(value, dict):  # the recorded type selects one of them
        networks = [cls.network for cls in structures]
        if value.get(TYPE) not in networks:
            known = " or ".join(map(repr, networks))
            raise ConfigError(f"{name}: type is {short(value.get(TYPE))}; it must be {known}")
        structures = [structures[networks.index(value[TYPE])]]
    if structures:
        return from_dict(structures[0], value, name)
    for choice in choices:
        if choice is Path and isinstance(value, str):
            return Path(value)
        if choice is float and type(value) is int and abs(value) <= MAX_EXACT_INT:
            return float(value)
        if type(value) is choice:
            return value
        if typing.get_origin(choice) is typing.Literal and value in typing.get_args(choice):
            return value
    raise ConfigError(f"{name} is {short(value)}, which is not of type {expected}")
