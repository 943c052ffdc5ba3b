"""The harness of faults runs, and sees what is lost."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tests.torture import __main__ as torture
from tests.torture.folders import differences
from tests.torture.trials import ROOT, Lab, Recipe, Tally, Trial


def test_a_training_killed_between_its_changes_and_in_a_write_loses_nothing():
    """As from the command line: in this process others may have started threads."""
    command = [sys.executable, "-m", "tests.torture", "--times", "3", "--only", "each change"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert "(1 in the middle of a write) | 3 | 3 | 0 | 0 |" in done.stdout


@pytest.fixture
def right(tmp_path: Path) -> Path:
    """What an undisturbed run leaves, in short."""
    run = tmp_path / "right"
    (run / "checkpoints").mkdir(parents=True)
    (run / "model").mkdir()
    for name in ("checkpoints/000000005", "checkpoints/000000010", "model/model"):
        save_file({"weight": torch.ones(3)}, run / f"{name}.safetensors")
    lines = [{"step": step, "valid_elbo_nats": -1.0 / step} for step in (5, 10)]
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (run / "curves.png").write_bytes(b"\x89PNG\r\n\x1a\n and the speed")
    return run


@pytest.fixture
def trial(right: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Trial:
    """Of a run like that, which lies there as it was left by a kill."""
    monkeypatch.setattr(Lab, "__init__", lambda self, *_: None)
    monkeypatch.setattr(Lab, "undisturbed", lambda *_: (right, 1.0))
    lab = Lab(tmp_path, 0)
    lab.scratch, lab.seed = tmp_path, 0
    trial = Trial(lab, Recipe(steps=10, checkpoint_every=5, eval_every=5), "trial")
    shutil.copytree(right, trial.run)
    return trial


class Ended:
    """A life that has ended, for a trial to judge."""

    def __init__(self, status: int | None, *complaints: str) -> None:
        self.status, self.complaints = status, list(complaints)

    def end(self) -> int | None:
        return self.status


DAMAGES = {
    "model/model.safetensors": lambda path: save_file({"weight": torch.zeros(3)}, path),
    "the newest checkpoint": lambda path: save_file(
        {"weight": torch.zeros(3)}, path.parent / "checkpoints/000000010.safetensors"
    ),
    "metrics.jsonl": lambda path: path.write_text(path.read_text().splitlines()[1]),
    "curves.png": lambda path: path.unlink(),
    "checkpoints/.000000007.safetensors.partial": lambda path: path.touch(),
}


def test_a_finished_run_is_compared_in_all_that_it_should_share(right, tmp_path):
    run = shutil.copytree(right, tmp_path / "run")
    (run / "curves.png").write_bytes(b"\x89PNG\r\n\x1a\n and another speed")
    (run / "checkpoints/000000005.safetensors").unlink()
    with (run / "metrics.jsonl").open("a") as log:
        log.write('{"st')
    assert differences(run, right) == []


@pytest.mark.parametrize("name", DAMAGES)
def test_what_differs_is_named_and_lost_with_all_that_the_run_met(name, trial, right):
    trial.count("interrupted")
    trial.count("stopped")
    DAMAGES[name](trial.run / name)
    assert differences(trial.run, right) == [name]
    assert trial.end(Ended(0)) == "lost"
    assert (trial.tally.resumed, trial.tally.stopped, len(trial.tally.lost)) == (0, 0, 2)
    assert name in trial.tally.lost[0]


def test_what_ends_as_it_should_is_not_lost(trial):
    assert trial.end(Ended(-9)) == "interrupted"
    assert trial.end(Ended(143)) == "interrupted"
    assert trial.end(Ended(2, "draw: No space left on device")) == "stopped"
    assert trial.end(Ended(0)) == "finished"
    assert trial.tally == Tally(resumed=2, stopped=1)


@pytest.mark.parametrize(
    "ended",
    [
        Ended(1, "Traceback (most recent call last):"),
        Ended(2),
        Ended(2, "draw: one line", "and another"),
        Ended(2, "No space left on device"),
        Ended(130, "Traceback (most recent call last):"),
        Ended(-11),
        Ended(None),
    ],
)
def test_a_life_that_ends_in_another_way_is_lost(ended, trial):
    assert trial.end(ended) == "lost"
    assert trial.times == len(trial.tally.lost) == 1


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda run: os.truncate(run / "checkpoints/000000010.safetensors", 80), "is not whole"),
        (lambda run: (run / "checkpoints/000000010.safetensors").unlink(), "was of step 10"),
        (lambda run: (run / "metrics.jsonl").write_text(""), "the log differs before step 10"),
    ],
)
def test_an_interrupted_run_that_went_back_is_lost(damage, told, trial):
    assert trial.end(Ended(-9)) == "interrupted"
    damage(trial.run)
    assert trial.end(Ended(-9)) == "lost"
    assert len(trial.tally.lost) == 2
    assert told in trial.tally.lost[0]


def test_the_table_counts_and_goes_between_its_marks(tmp_path):
    tallies = {"one": Tally(resumed=2, notes="why"), "two": None, "three": Tally(stopped=1)}
    text = torture.table(tallies | {"four": Tally(lost=["all"])})
    assert "| one (why) | 2 | 2 | 0 | 0 |\n| two | not possible here" in text
    assert text.endswith("| **all** | 4 | 2 | 1 | 1 |\n")
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- written by make torture -->\nold\n<!-- end -->\nafter\n")
    torture.write_page(page, text, seed=3, seconds=90)
    assert page.read_text().startswith(
        f"before\n<!-- written by make torture -->\n{text}\n1.5 minutes; seed 3; "
    )
    assert page.read_text().endswith("\n<!-- end -->\nafter\n")
    assert "old" not in page.read_text()


def test_what_is_lost_decides_the_exit_status(monkeypatch, capsys):
    monkeypatch.setattr(Lab, "__init__", lambda self, *_: None)
    monkeypatch.setattr(torture, "FAULTS", {"loses": loses, "does not": keeps})
    assert torture.main(["--only", "loses"]) == 1
    assert capsys.readouterr().err == "the weights\n"
    assert torture.main(["--only", "does not"]) == 0


def loses(_: Lab) -> Tally:
    return Tally(lost=["the weights"])


def keeps(_: Lab) -> Tally:
    return Tally(resumed=1)
