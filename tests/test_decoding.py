"""Pictures decoded by several processes: in order, few at a time, and no process stays behind."""

import contextlib
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import closing
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from draw import decoding
from draw.decoding import AHEAD, FEW, Decoded, decode_all
from draw.errors import DataError

SHAPE = 3, 4, 6
NOISE = np.random.default_rng(0).integers(0, 256, (FEW + 50, 4, 6, 3), np.uint8)


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    """More than a few pictures; the eleventh is none, and the twelfth needs to be converted."""
    made = [tmp_path / f"{number}.png" for number in range(len(NOISE))]
    for path, pixels in zip(made, NOISE, strict=True):
        Image.fromarray(pixels).save(path)
    made[10].write_bytes(b"no picture")
    Image.new("L", (9, 9)).save(made[11])
    return made


def test_a_process_that_decodes_does_without_pytorch() -> None:
    asked = "import sys, draw.decoding; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", asked], check=False).returncode == 0


@pytest.fixture
def message_of_four(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "MESSAGE", 4 * NOISE[0].size)


def same(one: Decoded | DataError, other: Decoded | DataError) -> bool:
    if isinstance(one, DataError) or isinstance(other, DataError):
        return type(one) is type(other) and str(one) == str(other)
    return one.note == other.note and np.array_equal(one.pixels, other.pixels)


def test_a_few_pictures_are_decoded_in_their_order_without_other_processes(
    paths: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoding, "ProcessPoolExecutor", None)  # would be called
    results = list(decode_all(paths[: FEW - 1], SHAPE))
    assert len(results) == FEW - 1
    for number, (pixels, result) in enumerate(zip(NOISE, results, strict=False)):
        if number == 10:
            assert isinstance(result, DataError)
        else:
            assert isinstance(result, Decoded)
            assert (result.note is not None) == (number == 11)
            assert number == 11 or np.array_equal(result.pixels, pixels.transpose(2, 0, 1))


def test_many_are_decoded_by_other_processes_just_as_by_this_one(
    paths: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoding, "_cpus", lambda: 3)
    with closing(decode_all(paths, SHAPE)) as results:
        by_others = [next(results)]
        assert len(multiprocessing.active_children()) == 3
        by_others += results
    assert multiprocessing.active_children() == []
    monkeypatch.setattr(decoding, "FEW", len(paths) + 1)
    by_this = decode_all(paths, SHAPE)
    assert all(same(one, other) for one, other in zip(by_others, by_this, strict=True))


@pytest.mark.usefixtures("message_of_four")
def test_no_process_is_left_when_the_work_is_abandoned(
    paths: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoding, "_cpus", lambda: 1)
    with closing(decode_all(paths, SHAPE)) as results:
        next(results)
        (worker,) = multiprocessing.active_children()
    assert not worker.is_alive()


@pytest.mark.usefixtures("message_of_four")
def test_a_process_that_dies_is_an_error(
    paths: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the system kills one where memory is short."""
    monkeypatch.setattr(decoding, "_cpus", lambda: 1)
    with closing(decode_all(paths, SHAPE)) as results:
        next(results)
        (worker,) = multiprocessing.active_children()
        worker.kill()
        with pytest.raises(DataError, match=r"has died.* too little memory"):
            list(results)


class Pool:
    """Decodes here and at once; counts the messages that were asked for."""

    asked = 0

    def __init__(self, *_: object, **__: object) -> None:
        Pool.asked = 0

    def submit(self, call: Callable[..., object], *arguments: object) -> Future[object]:
        Pool.asked += 1
        future: Future[object] = Future()
        future.set_result(call(*arguments))
        return future

    def shutdown(self, **_: object) -> None:
        pass


@pytest.mark.usefixtures("message_of_four")
def test_only_so_many_pictures_are_decoded_ahead_of_those_taken(
    paths: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoding, "_cpus", lambda: 5)
    monkeypatch.setattr(decoding, "ProcessPoolExecutor", Pool)
    for taken, _ in enumerate(decode_all(paths, SHAPE)):
        assert Pool.asked <= taken // 4 + 5 * AHEAD
    assert Pool.asked == -(-len(paths) // 4)
    assert taken + 1 == len(paths)


def test_a_message_holds_fewer_pictures_where_they_are_large(
    paths: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoding, "ProcessPoolExecutor", Pool)
    for shape, size in (((1, 8, 8), 16), ((3, 128, 128), 5), ((3, 1024, 1024), 1)):
        with closing(decode_all(paths, shape)) as results:
            next(results)
        assert Pool.asked == AHEAD * decoding._cpus()
        monkeypatch.setattr(decoding, "FEW", 1)
        assert len(list(decode_all(paths[:17], shape))) == 17
        assert Pool.asked == -(-17 // size)


@pytest.fixture
def album(tmp_path: Path) -> Path:
    """Thousands of names of a picture that takes a while to decode."""
    folder = tmp_path / "album"
    folder.mkdir()
    Image.new("L", (1000, 1000)).save(folder / "0.png")
    for number in range(1, 4000):
        (folder / f"{number}.png").hardlink_to(folder / "0.png")
    return folder


@pytest.mark.skipif(sys.platform != "linux", reason="finds the processes of a session in /proc")
@pytest.mark.parametrize(
    ("number", "moment"),
    [(signal.SIGINT, "lock"), (signal.SIGINT, "partial"), (signal.SIGKILL, "partial")],
    ids=["Ctrl-C while starting", "Ctrl-C while working", "kill"],
)
def test_a_signal_ends_every_process_and_leaves_nothing_packed(
    tmp_path: Path,
    album: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: signal.Signals,
    moment: str,
) -> None:
    """Ctrl-C reaches all processes of the terminal, a kill the first one alone."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    command = [sys.executable, "-m", "draw", "train", "folder", "--data-dir", str(album)]
    heard = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # a shell may have had it ignored
    with subprocess.Popen(
        [*command, "--out", str(tmp_path / "run")],
        preexec_fn=heard,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    ) as process:
        while not list(tmp_path.glob(f"cache/draw/*.{moment}")) or not others(process.pid):
            assert process.poll() is None
            time.sleep(0.01)
        if number == signal.SIGINT:
            os.killpg(process.pid, number)
        else:
            process.send_signal(number)
        said = process.communicate(timeout=60)
    assert process.returncode == (130 if number == signal.SIGINT else -number)
    if number == signal.SIGINT:
        assert said == (b"", b"")
    deadline = time.monotonic() + 60
    while others(process.pid):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert list(tmp_path.glob("cache/draw/*.packed")) == []


def others(session: int) -> list[str]:
    """The processes that one of this session has started."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _, _, its_session = status.read_text().rpartition(")")[2].split()[:4]
            command = status.with_name("cmdline").read_bytes()
            if int(its_session) == session and state != "Z" and b"spawn_main" in command:
                found.append(command.decode())
    return found
