"""A dozen tiny pictures, a tiny run on them that is finished, and two ways to call `draw`."""

import contextlib
import io
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from draw import cli

TINY_MODEL = "--model.glimpses 3 --model.hidden-size 8 --model.latent-size 3".split()
TINY = [
    *"--steps 4 --batch-size 4 --eval-every 2 --eval-images 8 --checkpoint-every 2".split(),
    *TINY_MODEL,
]


@dataclass
class Finished:
    """What a call of `draw` did."""

    status: int
    out: str
    err: str


@dataclass
class Run:
    """A finished run, not to be written to."""

    path: Path
    out: str  # what its training printed

    def weights(self) -> bytes:
        return weights(self.path)


def weights(run: Path) -> bytes:
    return (run / "model" / "model.safetensors").read_bytes()


def checkpoints(run: Path) -> list[str]:
    return sorted(path.name for path in (run / "checkpoints").iterdir())


def contents(folder: Path) -> dict[Path, bytes | None]:
    """Everything in a folder: the bytes of its files, None for its folders."""
    return {p: p.read_bytes() if p.is_file() else None for p in sorted(folder.rglob("*"))}


def frame_count(film: Path) -> int:
    with Image.open(film) as opened:
        return opened.n_frames


@pytest.fixture(autouse=True)
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Each test works in an empty folder of its own, on the CPU, and sees no data of the user's.

    A GPU need not give the same bits twice, and many tests compare them.
    """
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DRAW_DATA", raising=False)
    return tmp_path


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve grey pictures of 12 x 12 pixels: one for validation, one for the test."""
    folder = tmp_path_factory.mktemp("pictures")
    noise = np.random.default_rng(0).integers(0, 256, (12, 12, 12), dtype=np.uint8)
    for number, pixels in enumerate(noise):
        Image.fromarray(pixels).save(folder / f"{number:02d}.png")
    return folder


@pytest.fixture(scope="session")
def training(pictures: Path) -> list[str]:
    """The command line of a tiny training on the pictures, but for --out."""
    size = ["--image-size", "12", "--model.read-size", "2", "--model.write-size", "3"]
    return ["train", "folder", "--data-dir", str(pictures), *TINY, *size, "--device", "cpu"]


@pytest.fixture(scope="session")
def finished(training: list[str], tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The run of that command line: trained once, for all tests that only look at it."""
    path = tmp_path_factory.mktemp("finished") / "run"
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(io.StringIO()):
        assert cli.main([*training, "--out", str(path)]) == 0
    return Run(path, printed.getvalue())


@pytest.fixture
def run(finished: Run, workplace: Path) -> Path:
    """A copy of the finished run, `run` in the current folder, to be damaged at will."""
    shutil.copytree(finished.path, workplace / "run")
    return Path("run")


@pytest.fixture
def draw(capsys: pytest.CaptureFixture[str]) -> Callable[..., Finished]:
    """Calls `draw` as the shell would."""

    def call(*arguments: object) -> Finished:
        status = cli.main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Finished(status, captured.out, captured.err)

    return call


@pytest.fixture
def refused(draw: Callable[..., Finished], workplace: Path) -> Callable[..., str]:
    """Calls `draw` with something wrong: one line of error, exit status 2, not a file touched.

    Returns the line.
    """

    def call(*arguments: object) -> str:
        before = contents(workplace)
        result = draw(*arguments)
        assert result.status == 2, result
        lines = result.err.splitlines()
        assert len(lines) == 1, lines
        assert lines[0].startswith("draw: ")
        assert contents(workplace) == before
        return lines[0]

    return call
