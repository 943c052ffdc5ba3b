"""Pictures of one shape packed into one file, which is mapped into memory and not read.

A file is n pictures, then for each of them a record of so many bytes that tell where it is from,
then the tail, a SHA-256 that its writer chooses.
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

TAIL = hashlib.sha256().digest_size  # bytes
NORESERVE = 0x4000  # on Linux; mmap.MAP_NORESERVE since Python 3.13


class Packed(NamedTuple):
    """What a packed file holds; a picture is read when it is used."""

    pixels: UInt8[Tensor, "n C H W"]  # what is written here does not reach the file
    records: UInt8[Tensor, "n record"]
    tail: bytes


def unpack(path: Path, shape: tuple[int, int, int], *, record: int = 0, least: int = 1) -> Packed:
    """Map a packed file into memory; it may be larger than the memory.

    Args:
        shape: (C, H, W) of each picture.
        record: bytes of each record.
        least: pictures that there must be.

    Raises:
        DataError: the file was cut or padded.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "two.packed"
    >>> _ = path.write_bytes(bytes([1, 2, 3, 4]) + bytes(TAIL))
    >>> unpack(path, (1, 1, 2)).pixels.tolist()
    [[[[1, 2]]], [[[3, 4]]]]
    """
    with path.open("rb") as file:
        size = file.seek(0, 2)
        count, rest = divmod(size - TAIL, prod(shape) + record)
        if count < least or rest:
            raise DataError(
                f"{path} is not {least} or more pictures of {prod(shape)} bytes, and {TAIL} bytes: "
                f"it was cut or padded; delete it, and it is made again"
            )
        content = torch.frombuffer(_map(file, size), dtype=torch.uint8)
    pixels, records, tail = torch.split(content, [count * prod(shape), count * record, TAIL])
    return Packed(pixels.view(-1, *shape), records.view(count, record), tail.numpy().tobytes())


def _map(file: IO[bytes], size: int) -> mmap.mmap:
    """Copy on write. Linux refuses it beyond the memory's size unless no copies are provided for,
    and `torch.from_file` cannot tell it so."""
    if sys.platform == "linux":
        return mmap.mmap(file.fileno(), size, flags=mmap.MAP_PRIVATE | NORESERVE)
    return mmap.mmap(file.fileno(), size, access=mmap.ACCESS_COPY)
