"""Packed files: their contents, which are mapped, not read."""

import os
import sys
from pathlib import Path

import pytest
import torch

from draw.data.packed import TAIL_BYTES, unpack
from draw.errors import DataError

SHAPE = 3, 4, 5
NOISE = torch.randint(0, 256, (7, *SHAPE), dtype=torch.uint8)
RECORDS = torch.randint(0, 256, (7, 9), dtype=torch.uint8)
TAIL = bytes(range(TAIL_BYTES))


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    path = tmp_path / "x.packed"
    path.write_bytes(NOISE.numpy().tobytes() + RECORDS.numpy().tobytes() + TAIL)
    return path


@pytest.mark.parametrize("record_bytes", [0, 9])
def test_a_packed_file_is_images_records_and_a_tail(tmp_path, record_bytes):
    records = RECORDS[:, :record_bytes]
    content = NOISE.numpy().tobytes() + records.contiguous().numpy().tobytes() + TAIL
    (tmp_path / "x").write_bytes(content)
    unpacked = unpack(tmp_path / "x", SHAPE, record_bytes=record_bytes)
    assert torch.equal(unpacked.pixels, NOISE)
    assert torch.equal(unpacked.records, records)
    assert unpacked.tail == TAIL


@pytest.mark.parametrize("size", [0, TAIL_BYTES - 1, TAIL_BYTES, TAIL_BYTES + 68, 7 * 69 + 31])
def test_a_file_of_the_wrong_size_is_an_error_that_names_it(packed, size):
    os.truncate(packed, size)
    with pytest.raises(DataError, match=r"x\.packed is incomplete"):
        unpack(packed, SHAPE, record_bytes=9)


def test_the_pixels_are_independent_of_later_changes_to_the_file(packed):
    before = packed.read_bytes()
    pixels = unpack(packed, SHAPE, record_bytes=9).pixels
    unpack(packed, SHAPE, record_bytes=9).pixels[:] = 0
    assert packed.read_bytes() == before
    packed.with_name("y").write_bytes(bytes(packed.stat().st_size))
    packed.with_name("y").replace(packed)
    assert torch.equal(pixels, NOISE)
    packed.unlink()
    assert torch.equal(pixels, NOISE)


@pytest.mark.skipif(sys.platform != "linux", reason="reads the size of the memory from Linux")
def test_a_file_larger_than_the_memory_can_be_mapped(tmp_path):
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    count = 2 * memory >> 20
    path = tmp_path / "sparse.packed"
    with path.open("wb") as file:
        file.truncate(count * (1 << 20) + TAIL_BYTES)  # a hole that needs no space on the disk
        file.seek((count - 1) << 20)
        file.write(b"last")
    pixels = unpack(path, (1, 1024, 1024)).pixels
    assert len(pixels) == count
    assert bytes(pixels[-1, 0, 0, :4]) == b"last"
    assert int(pixels[count // 2].max()) == 0
