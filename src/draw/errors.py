"""Errors with one-line messages: what was given, what was expected and how to fix it.

The command line prints them as one line and exits with status 2.
"""

import re
from importlib import import_module
from types import ModuleType

MAX_MESSAGE = 500  # characters of another library's error message that are repeated


class DrawError(Exception):
    """Base class of all errors that this package raises deliberately."""


class ConfigError(DrawError):
    """A setting is unknown, of the wrong type or outside its range."""


class DataError(DrawError):
    """A data set or an image is missing, corrupt or of the wrong shape."""


class ModelError(DrawError):
    """A saved model is missing, corrupt or does not fit its configuration."""


class TraceError(DrawError):
    """A trace lacks the requested data: a bound, or the pictures of every glimpse."""


class RunError(DrawError):
    """A run folder is incomplete or in use, or training cannot continue."""


def one_line(error: Exception) -> str:
    r"""Return another library's error message as one line of limited length.

    >>> one_line(ValueError("it is\n  far too " + 1_000 * "long"))[:29], one_line(KeyError())
    ('it is; far too longlonglonglo', 'KeyError')
    """
    lines = [" ".join(line.split()) for line in str(error).splitlines()]
    text = "; ".join(filter(None, lines)) or type(error).__name__
    return text if len(text) <= MAX_MESSAGE else f"{text[: MAX_MESSAGE - 3]}..."


def require(
    module: str, extra: str, purpose: str, error: type[DrawError] = ConfigError
) -> ModuleType:
    """Import a module that only an extra of this package installs.

    Raises:
        ConfigError: if the module is not installed, or `error` instead.

    >>> require("no_such_module", "svhn", "the data set svhn")
    Traceback (most recent call last):
    draw.errors.ConfigError: the data set svhn needs no_such_module: pip install 'draw[svhn]'
    """
    try:
        return import_module(module)
    except ImportError as cause:
        raise error(f"{purpose} needs {module}: pip install 'draw[{extra}]'") from cause


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error means that memory ran out, on any device.

    >>> is_out_of_memory(RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"))
    True
    """
    words = "out of memory|allocate memory|enough memory|ALLOC_FAILED"
    return isinstance(error, MemoryError) or re.search(words, str(error)) is not None


def check_limits(prefix: str, values: object, **limits: tuple[int | float, int | float]) -> None:
    """Check that attributes, or all their items, are within their limits; None is allowed.

    Args:
        prefix: the prefix of the attribute names in the message; `--` for options.
        values: the object with the attributes.
        limits: the lowest and highest allowed value of each attribute.

    Raises:
        ConfigError: if an attribute is outside its limits.
    """
    for name, (low, high) in limits.items():
        shown = prefix + (name.replace("_", "-") if prefix == "--" else name)
        given = getattr(values, name)
        for value in given if isinstance(given, tuple) else (given,):
            if value is not None and not low <= value <= high:
                raise ConfigError(f"{shown} is {value}; it must be from {low:,} to {high:,}")
