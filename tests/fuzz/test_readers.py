"""Whatever a file holds, reading it gives what it says or an error of ours, and takes no room.

The suite tries the same few files each time; `make fuzz` looks for new ones, thousands a reader.
"""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from draw.errors import DrawError
from tests.fuzz.readers import READERS, Reader

ROOM = 1 << 28  # bytes that reading a small file may take,
PATIENCE = 60  # and seconds
THOROUGH = settings.default.max_examples > 100
EXAMPLES = settings.default.max_examples if THOROUGH else 40


@pytest.mark.parametrize("name", READERS)
def test_any_file_gives_what_it_says_or_an_error_of_ours(name: str, tmp_path: Path) -> None:
    reader = READERS[name]

    @settings(
        max_examples=EXAMPLES,
        derandomize=not THOROUGH,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(data=reader.files(tmp_path))
    def try_one(data: bytes) -> None:
        path = tmp_path / reader.name
        path.write_bytes(data)
        with bounded_memory(), bounded_time():
            assert_refused_in_one_line_or_read(reader, path)

    try_one()


def assert_refused_in_one_line_or_read(reader: Reader, path: Path) -> None:
    told = ""
    try:
        reader.read(path)
    except DrawError as error:
        told = str(error)
    assert len(told.splitlines()) <= 1
    assert len(told) < 10_000


@contextmanager
def bounded_memory() -> Iterator[None]:
    """Whoever takes it, Python or a library in C: what counts is what becomes resident."""
    if sys.platform != "linux":
        yield
        return
    Path("/proc/self/clear_refs").write_text("5")  # forget the highest so far
    before = memory("VmHWM")
    yield
    assert memory("VmHWM") < before + ROOM


def memory(kind: str) -> int:
    """What Linux counts for this process, bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith(kind))


@contextmanager
def bounded_time() -> Iterator[None]:
    signal.alarm(PATIENCE)  # which ends the process with a word
    try:
        yield
    finally:
        signal.alarm(0)
