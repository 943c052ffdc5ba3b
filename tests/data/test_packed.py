"""Packed files: what they hold, mapped and not read."""

import os
import sys
from pathlib import Path

import pytest
import torch

from draw.data.packed import TAIL, unpack
from draw.errors import DataError

SHAPE = 3, 4, 5
NOISE = torch.randint(0, 256, (7, *SHAPE), dtype=torch.uint8)
RECORDS = torch.randint(0, 256, (7, 9), dtype=torch.uint8)
END = bytes(range(TAIL))


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    path = tmp_path / "x.packed"
    path.write_bytes(NOISE.numpy().tobytes() + RECORDS.numpy().tobytes() + END)
    return path


def test_a_packed_file_is_pictures_records_and_a_tail(packed: Path) -> None:
    pixels, records, tail = unpack(packed, SHAPE, record=9)
    assert torch.equal(pixels, NOISE)
    assert torch.equal(records, RECORDS)
    assert tail == END


def test_there_may_be_no_records(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(NOISE.numpy().tobytes() + END)
    pixels, records, tail = unpack(tmp_path / "x", SHAPE)
    assert torch.equal(pixels, NOISE)
    assert records.shape == (7, 0)
    assert tail == END


@pytest.mark.parametrize("size", [0, TAIL - 1, TAIL, TAIL + 68, TAIL + 70, 7 * 69 + TAIL - 1])
def test_a_file_that_was_cut_is_an_error_that_names_it(packed: Path, size: int) -> None:
    os.truncate(packed, size)
    with pytest.raises(DataError, match=r"x\.packed .* cut or padded"):
        unpack(packed, SHAPE, record=9)


def test_fewer_pictures_than_there_must_be_are_an_error(packed: Path) -> None:
    assert len(unpack(packed, SHAPE, record=9, least=7).pixels) == 7
    with pytest.raises(DataError, match="not 8 or more pictures of 60 bytes"):
        unpack(packed, SHAPE, record=9, least=8)


def test_what_is_written_to_the_pixels_does_not_reach_the_file(packed: Path) -> None:
    before = packed.read_bytes()
    pixels = unpack(packed, SHAPE, record=9).pixels
    pixels[:] = 0
    assert packed.read_bytes() == before
    assert torch.equal(unpack(packed, SHAPE, record=9).pixels, NOISE)


def test_the_pixels_stay_when_the_file_is_replaced_or_deleted(packed: Path) -> None:
    pixels = unpack(packed, SHAPE, record=9).pixels
    packed.with_name("y").write_bytes(bytes(packed.stat().st_size))
    packed.with_name("y").replace(packed)
    assert torch.equal(pixels, NOISE)
    packed.unlink()
    assert torch.equal(pixels, NOISE)


@pytest.mark.skipif(sys.platform != "linux", reason="asks for the memory's size as Linux tells it")
def test_a_file_larger_than_the_memory_is_mapped(tmp_path: Path) -> None:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    count = 2 * memory >> 20
    path = tmp_path / "holes.packed"
    with path.open("wb") as file:
        file.truncate(count * (1 << 20) + TAIL)  # takes no room on the disk
        file.seek((count - 1) << 20)
        file.write(b"last")
    pixels = unpack(path, (1, 1024, 1024)).pixels
    assert len(pixels) == count
    assert bytes(pixels[-1, 0, 0, :4]) == b"last"
    assert int(pixels[count // 2].max()) == 0
