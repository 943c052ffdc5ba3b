"""A file of decoded images of one size, which is mapped into memory instead of being read.

The file holds n images, then n records that identify their sources, then a SHA-256 that the writer
chooses. It can be written in one pass, without knowing n in advance.
"""

import hashlib
import mmap
import sys
from math import prod
from pathlib import Path
from typing import IO, NamedTuple

import torch
from jaxtyping import UInt8
from torch import Tensor

from draw.errors import DataError

TAIL_BYTES = hashlib.sha256().digest_size
MAP_NORESERVE = 0x4000  # on Linux; mmap.MAP_NORESERVE since Python 3.13


class Packed(NamedTuple):
    """The contents of a packed file; pixels are read from disk when they are used."""

    pixels: UInt8[Tensor, "n C H W"]  # copy-on-write: changes do not reach the file
    records: UInt8[Tensor, "n record"]
    tail: bytes


def unpack(path: Path, shape: tuple[int, int, int], *, record_bytes: int = 0) -> Packed:
    """Map a packed file, which may be larger than memory.

    Args:
        shape: (C, H, W) of each image.

    Raises:
        DataError: if the size of the file does not match, or if it holds no image.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "two.packed"
    >>> _ = path.write_bytes(bytes([1, 2, 3, 4]) + bytes(TAIL_BYTES))
    >>> unpack(path, (1, 1, 2)).pixels.tolist()
    [[[[1, 2]]], [[[3, 4]]]]
    """
    with path.open("rb") as file:
        size = file.seek(0, 2)
        count, rest = divmod(size - TAIL_BYTES, prod(shape) + record_bytes)
        if count < 1 or rest:
            raise DataError(f"{path} is incomplete or damaged; delete it to have it rebuilt")
        content = torch.frombuffer(_map(file, size), dtype=torch.uint8)
    sizes = [count * prod(shape), count * record_bytes, TAIL_BYTES]
    pixels, records, tail = torch.split(content, sizes)
    return Packed(pixels.view(-1, *shape), records.view(count, -1), tail.numpy().tobytes())


def _map(file: IO[bytes], size: int) -> mmap.mmap:
    # Linux refuses a private mapping larger than memory unless the flag NORESERVE is set, which
    # `torch.from_file` does not support.
    if sys.platform == "linux":
        return mmap.mmap(file.fileno(), size, flags=mmap.MAP_PRIVATE | MAP_NORESERVE)
    return mmap.mmap(file.fileno(), size, access=mmap.ACCESS_COPY)
