"""Errors that tell what was given, what was expected and how to mend it.

The command line prints any of them as one line and ends with exit status 2.
"""

import re


class DrawError(Exception):
    """Base of every error that this package raises on purpose."""


class ConfigError(DrawError):
    """A setting is unknown, of the wrong type or outside its range."""


class DataError(DrawError):
    """A data set or a picture is missing, corrupt or of the wrong shape."""


class ModelError(DrawError):
    """A saved model is missing, corrupt or does not fit its configuration."""


class TraceError(DrawError):
    """A trace does not hold what is asked of it: a bound, or the pictures of every step."""


class RunError(DrawError):
    """A run folder is incomplete or occupied, or a training cannot go on."""


def is_lack_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out; PyTorch has other words for it on each device.

    >>> is_lack_of_memory(RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"))
    True
    """
    words = "out of memory|allocate memory|enough memory|ALLOC_FAILED"
    return isinstance(error, MemoryError) or re.search(words, str(error)) is not None


def check_limits(prefix: str, values: object, **limits: tuple[int, int]) -> None:
    """Refuse attributes outside their range; None, where it stands for something, is inside.

    Args:
        prefix: what the names of the attributes stand after in the message.
        limits: the lowest and the highest value of each.

    Raises:
        ConfigError: one is outside.
    """
    for name, (low, high) in limits.items():
        value = getattr(values, name)
        if value is not None and not low <= value <= high:
            raise ConfigError(f"{prefix}{name} is {value}; it must be from {low:,} to {high:,}")


def check_images(given: tuple[int, ...], taken: tuple[int, int, int]) -> None:
    """Refuse a batch of images of another shape than a model takes.

    Args:
        given: the shape of the batch.
        taken: (C, H, W).

    Raises:
        ConfigError: they differ.
    """
    if given[1:] != taken:
        raise ConfigError(
            f"images of shape {given} given; this model takes (batch, {', '.join(map(str, taken))})"
        )
