"""Tiny images, a finished tiny run, and fixtures that call the command line."""

import contextlib
import io
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from draw.commands.main import main
from draw.kernels.cpu import build

TINY_MODEL = "--model.glimpses 3 --model.hidden-size 8 --model.latent-size 3".split()
TINY = [
    *"--steps 4 --batch-size 4 --eval-every 2 --eval-images 8 --checkpoint-every 2".split(),
    *TINY_MODEL,
]


@dataclass
class Finished:
    """The result of a command."""

    status: int
    out: str
    err: str


@dataclass
class Run:
    """A finished run, which tests must not change."""

    path: Path
    out: str  # printed while training

    def weights(self) -> bytes:
        return weights(self.path)


def weights(run: Path) -> bytes:
    return (run / "model" / "model.safetensors").read_bytes()


def checkpoints(run: Path) -> list[str]:
    return sorted(path.name for path in (run / "checkpoints").iterdir())


def contents(folder: Path) -> dict[Path, bytes | None]:
    """Return the contents of every file in a folder, and None for every subfolder."""
    return {p: p.read_bytes() if p.is_file() else None for p in sorted(folder.rglob("*"))}


def change_run(run: Path, **config: object) -> None:
    """Change the training configuration recorded in a run folder."""
    values = json.loads((run / "run.json").read_text())
    values["config"] |= config
    (run / "run.json").write_text(json.dumps(values))


def frame_count(film: Path) -> int:
    with Image.open(film) as opened:
        return opened.n_frames


@pytest.fixture(scope="session", autouse=True)
def _engine(_cache: None) -> None:
    """Build the fused engine, so that no command reports that it does."""
    build.load.cache_clear()  # it may be in the cache of another test
    build.load()


@pytest.fixture(autouse=True)
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Run each test in an empty folder, on the CPU and without the user's data sets.

    Many tests compare bits, which a GPU does not always reproduce.
    """
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DRAW_DATA", raising=False)
    return tmp_path


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Create twelve grey 12 x 12 images: ten for training, one for validation, one for testing."""
    folder = tmp_path_factory.mktemp("pictures")
    noise = np.random.default_rng(0).integers(0, 256, (12, 12, 12), dtype=np.uint8)
    for number, pixels in enumerate(noise):
        Image.fromarray(pixels).save(folder / f"{number:02d}.png")
    return folder


@pytest.fixture(scope="session")
def training(pictures: Path) -> list[str]:
    """Return the arguments of a tiny training run, without --out."""
    size = ["--image-size", "12", "--model.read-size", "2", "--model.write-size", "3"]
    size += ["--mirror", "no", "--model.likelihood", "bernoulli", "--optimizer", "adam"]
    return ["train", "folder", "--data-dir", str(pictures), *TINY, *size, "--device", "cpu"]


def train(arguments: list[str], path: Path) -> Run:
    """Train into a new run folder."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(io.StringIO()):
        assert main([*arguments, "--out", str(path)]) == 0
    return Run(path, printed.getvalue())


@pytest.fixture(scope="session")
def finished(training: list[str], tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Train once, for all tests that only read the run."""
    return train(training, tmp_path_factory.mktemp("finished") / "run")


@pytest.fixture(scope="session")
def unattentive(training: list[str], tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Train a model without attention once."""
    arguments = [*training, "--model.read-size", "None", "--model.write-size", "None"]
    return train(arguments, tmp_path_factory.mktemp("unattentive") / "plain")


@pytest.fixture
def run(finished: Run, workplace: Path) -> Path:
    """Copy the finished run to `run` in the current folder."""
    shutil.copytree(finished.path, workplace / "run")
    return Path("run")


@pytest.fixture
def draw(capsys: pytest.CaptureFixture[str]) -> Callable[..., Finished]:
    """Return a function that runs `draw` with these arguments."""

    def call(*arguments: object) -> Finished:
        status = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Finished(status, captured.out, captured.err)

    return call


@pytest.fixture
def refused(draw: Callable[..., Finished], workplace: Path) -> Callable[..., str]:
    """Return a function that runs `draw`, expects a one-line error and returns that line.

    The exit status must be 2, and no file may change.
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
