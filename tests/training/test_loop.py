"""The training loop: events, log, exact resume, and runs that were killed or damaged."""

import errno
import json
import math
import resource
import signal
import subprocess
import sys
import tempfile
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

import draw
from draw.errors import ConfigError, RunError
from draw.evaluation import EvalResult, evaluate
from draw.storage.run_folder import RunFolder, saved_validation
from draw.training import loop
from draw.training.loop import Validation, train
from draw.training.state import TrainState
from draw.training.step import StepResult
from tests.training.tiny import ADAM, CONFIG, BrokenBatches, assert_equal, random_images, run_to_end

ROOT = Path(__file__).parent.parent.parent
LAST = "000000012.safetensors"
VARIANTS = {"adam": ADAM, "muon": CONFIG, "antithetic": replace(CONFIG, antithetic=True)}


@cache
def uninterrupted(variant: str = "muon") -> tuple[TrainState, bytes]:
    """Train without interruption; return the last state and the saved weights."""
    with tempfile.TemporaryDirectory() as folder:
        state = run_to_end(VARIANTS[variant], Path(folder, "run"))
        return state, Path(folder, "run/model/model.safetensors").read_bytes()


def assert_resumes_exactly(path: Path, variant: str = "muon") -> None:
    """Resume a run, and check its weights, its log, and that no partial file remains."""
    state, weights = uninterrupted(variant)
    assert_equal(run_to_end(VARIANTS[variant], path), state)
    assert (path / "model/model.safetensors").read_bytes() == weights
    records = RunFolder(path).records()
    assert [r["step"] for r in records if "valid_elbo_nats" in r] == [4, 8, 12]
    assert [r["step"] for r in records if "train_elbo_nats" in r] == [12]
    assert not list(path.rglob(".*.partial"))


# ---------------------------------------------------------------------- an undisturbed run


def test_events_log_and_files_agree(tmp_path):
    run = RunFolder(tmp_path / "run")
    events = list(train(CONFIG, run, random_images(), random_images()))
    steps = [e for e in events if isinstance(e, StepResult)]
    validations = [e for e in events if isinstance(e, Validation)]
    assert [e.step for e in steps] == list(range(1, 13))
    assert [e.step for e in validations] == [4, 8, 12]
    best = max(e.result.nats for e in validations)
    assert [e for e in validations if e.is_saved][-1].result.nats == best
    first, *_, last = (json.loads(line) for line in run.log_file.read_text().splitlines())
    assert first["valid_elbo_nats"] == validations[0].result.nats
    logged = next(r for r in run.records() if "train_elbo_nats" in r)
    assert logged["train_elbo_nats"] == pytest.approx(np.mean([e.train_nats for e in steps]))
    names = sorted(path.name for path in run.checkpoints.iterdir())
    assert names == ["000000009.safetensors", LAST]
    ema = validations[-1].ema  # the EMA is validated, on the same images each time
    images = random_images().subset(CONFIG.eval_images, CONFIG.seed)
    assert last["valid_elbo_nats"] == evaluate(ema, images, seed=CONFIG.seed).elbo_nats


def test_a_run_on_the_validation_images_saves_its_last_model(tmp_path, monkeypatch):
    falling = iter([-1.0, -2.0, -3.0])

    def validate(*_: object, **__: object) -> EvalResult:
        return EvalResult(nats=next(falling), stderr=0.1, images=8, extra={})

    monkeypatch.setattr(loop, "validate", validate)
    run, images = RunFolder(tmp_path / "run"), random_images()
    events = list(train(replace(CONFIG, train_on="train+valid"), run, images, images))
    assert [event.is_saved for event in events if isinstance(event, Validation)] == [True] * 3
    saved = draw.load(run.path).state_dict()
    assert all(torch.equal(saved[name], v) for name, v in events[-1].ema.state_dict().items())


def test_a_run_saves_the_classifier_with_the_lowest_error(tmp_path, monkeypatch):
    """Even if its log likelihood is lower."""
    errors = iter([0.3, 0.1, 0.2])

    def validate(*_: object, **__: object) -> EvalResult:
        error = next(errors)
        return EvalResult(nats=error - 1, stderr=0.1, images=8, extra={"error": error})

    monkeypatch.setattr(loop, "validate", validate)
    run, images = RunFolder(tmp_path / "run"), random_images()
    events = list(train(CONFIG, run, images, images))
    is_saved = [event.is_saved for event in events if isinstance(event, Validation)]
    assert is_saved == [True, True, False]
    record = saved_validation(run.records(), CONFIG.model.metric, held_out=True)
    assert record["valid_error"] == 0.1


def test_skipped_steps_do_not_count_in_the_means_of_the_log(tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "LOG_EVERY", 2)
    monkeypatch.setattr(loop, "Batches", lambda *_: BrokenBatches({1, 2, 3}))
    run, images = RunFolder(tmp_path / "run"), random_images()
    events = list(train(replace(CONFIG, steps=4), run, images, images))
    first, second = (r for r in run.records() if "images_per_second" in r)
    assert first["train_elbo_nats"] == events[0].train_nats
    assert first["gradient_norm"] == events[0].gradient_norm
    assert (second["train_elbo_nats"], second["gradient_norm"]) == (None, None)
    assert second["skipped"] == 3
    assert "NaN" not in run.log_file.read_text()


def test_a_step_with_a_finite_loss_but_an_infinite_gradient_does_not_count_either():
    steps = [
        StepResult(
            step=i,
            train_nats=nats,
            gradient_norm=norm,
            learning_rate=1.0,
            skipped=0,
            seconds=1.0,
            cpu_seconds=2.0,
        )
        for i, (nats, norm) in enumerate([(-100.0, 2.0), (-1e30, math.inf)])
    ]
    record = loop._summary(steps, CONFIG)
    assert (record["train_elbo_nats"], record["gradient_norm"]) == (-100, 2)


def test_training_does_not_change_the_global_random_state(tmp_path):
    before = torch.get_rng_state()
    run_to_end(CONFIG, tmp_path / "run")
    assert torch.equal(torch.get_rng_state(), before)


# ---------------------------------------------------------------------- interruptions


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("stop_at", [1, 4, 11])
def test_a_resumed_run_has_the_same_weights(tmp_path, stop_at, variant):
    state = run_to_end(VARIANTS[variant], tmp_path / "run", stop_at)
    assert state.step == stop_at
    assert_resumes_exactly(tmp_path / "run", variant)


KILL_WHILE_WRITING = """
import os, signal, sys
from pathlib import Path
import torch
from tests.training.tiny import CONFIG, run_to_end

torch.set_num_threads(1)
write_bytes, file = Path.write_bytes, sys.argv[2]

def write(self, data):
    if not self.name.startswith("." + file):
        return write_bytes(self, data)
    write_bytes(self, data[: len(data) // 2])
    os.kill(os.getpid(), signal.SIGKILL)

Path.write_bytes = write
run_to_end(CONFIG, Path(sys.argv[1]))
"""


@pytest.mark.parametrize("file", ["000000006", "model.safetensors"])  # in steps 6 and 4
def test_a_run_killed_while_writing_a_file_resumes_exactly(tmp_path, file):
    path = tmp_path / "run"
    command = [sys.executable, "-c", KILL_WHILE_WRITING, str(path), file]
    assert subprocess.run(command, cwd=ROOT).returncode == -signal.SIGKILL
    assert [p.name for p in RunFolder(path).saved_checkpoints()] == ["000000003.safetensors"]
    assert len(list(path.rglob(".*.partial"))) == 1
    assert_resumes_exactly(path)


def full_disk(patch: pytest.MonkeyPatch) -> None:
    """Let writes fail after 4,000 bytes of a file."""
    _, limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4_000, limit))


def read_only_folder(patch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    patch.setattr("draw.storage.files.tempfile.mkstemp", fail)


@pytest.mark.parametrize("failure", [full_disk, read_only_folder])
def test_a_run_that_could_not_write_resumes_exactly(tmp_path, failure):
    """The old files are intact and complete."""
    run, images = RunFolder(tmp_path / "run"), random_images()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    def train_until_failure(patch: pytest.MonkeyPatch) -> None:
        for event in train(CONFIG, run, images, images):
            if event.step == 5:
                failure(patch)

    try:
        with (
            pytest.MonkeyPatch.context() as patch,
            pytest.raises(OSError, match=r"File too large|Read-only"),
        ):
            train_until_failure(patch)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    names = sorted(p.name for p in run.path.rglob("*") if p.is_file())
    assert names == [
        ".lock",
        "000000003.safetensors", "config.json", "metrics.jsonl", "model.safetensors", "run.json"
    ]  # fmt: skip
    assert_resumes_exactly(run.path)


@pytest.mark.parametrize("size", [0, 100, -1])
def test_a_truncated_checkpoint_is_named_and_its_deletion_resumes_from_the_previous_one(
    tmp_path, size
):
    run_to_end(CONFIG, tmp_path / "run", stop_at=7)
    run, images = RunFolder(tmp_path / "run"), random_images()
    newest = run.saved_checkpoints()[-1]
    newest.write_bytes(newest.read_bytes()[:size])
    message = rf"{newest} is not a checkpoint of this run .* delete it to resume from the previous"
    with pytest.raises(RunError, match=message):
        next(train(CONFIG, run, images, images))
    newest.unlink()
    assert next(train(CONFIG, run, images, images)).step == 7
    assert_resumes_exactly(run.path)


# ---------------------------------------------------------------------- who may resume a run


def test_a_run_with_another_configuration_is_an_error(tmp_path):
    run_to_end(CONFIG, tmp_path / "run", stop_at=1)
    other = replace(CONFIG, steps=24)
    with pytest.raises(ConfigError, match=r"a different configuration \(steps was 12\)"):
        next(train(other, RunFolder(tmp_path / "run"), random_images(), random_images()))


def test_a_second_process_in_the_same_run_folder_is_an_error(tmp_path):
    run, images = RunFolder(tmp_path / "run"), random_images()
    first = train(CONFIG, run, images, images)
    next(first)
    with pytest.raises(RunError, match=r"another process is training in .*run; wait until it ends"):
        next(train(CONFIG, RunFolder(run.path), images, images))
    first.close()
    run_to_end(CONFIG, run.path)


def test_a_run_that_fails_before_its_first_step_leaves_no_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "Stepper", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        next(train(CONFIG, RunFolder(tmp_path / "run"), random_images(), random_images()))
    assert not (tmp_path / "run").exists()


def test_a_fresh_start_from_changed_weights_is_an_error(tmp_path):
    images = random_images()
    CONFIG.model.build().save(tmp_path / "start")
    config = replace(CONFIG, start_from=str(tmp_path / "start"))
    run = RunFolder(tmp_path / "run")
    next(train(config, run, images, images))  # closed before its first checkpoint
    CONFIG.model.build().save(tmp_path / "start")  # other random weights
    with pytest.raises(RunError, match=r"different data \(start changed\)"):
        next(train(config, run, images, images))
