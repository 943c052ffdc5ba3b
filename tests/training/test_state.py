"""Checkpoints: what they hold, what a resumed run restores, and damaged ones."""

import errno
import json
from dataclasses import replace
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch.optim import AdamW

from draw.errors import ConfigError, RunError
from draw.storage.run_folder import RunFolder
from draw.storage.tensors import read_metadata
from draw.training.state import (
    TrainState,
    check_same_config,
    check_same_data,
    restore_checkpoint,
    save_checkpoint,
)
from draw.training.step import Stepper
from tests.training.tiny import ADAM, CONFIG, BrokenBatches, assert_equal, take_steps

COUNTERS = {"step": 0, "best_score": -1.5, "skipped": 0, "skipped_in_row": 0}


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    run = RunFolder(tmp_path / "run")
    run.create(CONFIG.to_dict(), {"training": "12ab", "validation": "34cd"})
    return run


def restore(run: RunFolder, metadata: str) -> TrainState:
    """Restore a checkpoint with the given metadata."""
    tensors = TrainState.create(CONFIG).tensors()
    run.add_checkpoint(1, safetensors.torch.save(tensors, {"draw": metadata}))
    state = TrainState.create(CONFIG)
    restore_checkpoint(run, state)
    return state


@pytest.mark.parametrize("config", [ADAM, CONFIG], ids=["adam", "muon"])
@pytest.mark.parametrize("steps", [0, 1, 3])  # the gradient of the first is not finite
def test_a_checkpoint_restores_everything(run, config, steps):
    state = TrainState.create(config)
    take_steps(Stepper(state, config, BrokenBatches({0})), steps)
    save_checkpoint(run, state)
    restored = TrainState.create(config)
    with torch.no_grad():
        restored.model.canvas_0.add_(1)
    assert restore_checkpoint(run, restored)
    assert_equal(restored, state)
    assert (restored.skipped, restored.skipped_in_row) == (min(steps, 1), int(steps == 1))


def test_the_counters_are_restored(run):
    state = restore(run, json.dumps(COUNTERS | {"skipped_in_row": 3}))
    assert (state.step, state.best_score, state.skipped_in_row) == (0, -1.5, 3)


def test_the_counters_before_the_first_validation_are_valid_json(run):
    """There is no best result yet, and JSON has no -Infinity."""
    save_checkpoint(run, TrainState.create(CONFIG))
    text = read_metadata(run.saved_checkpoints()[0])["draw"]
    assert json.loads(text)["best_score"] is None
    assert "Infinity" not in text
    state = TrainState.create(CONFIG)
    assert restore_checkpoint(run, state)
    assert state.best_score is None


class NewAdamW(AdamW):
    """AdamW of a future version of PyTorch, which keeps another tensor per parameter."""

    def step(self, closure=None):
        super().step(closure)
        for parameter, state in self.state.items():
            state.setdefault("trend", torch.zeros_like(parameter)).add_(1)


def test_the_state_of_an_optimizer_is_saved_under_the_names_that_it_uses(run):
    def create() -> TrainState:
        state = TrainState.create(ADAM)
        state.optimizers = (NewAdamW(state.model.parameters()),)
        return state

    state = create()
    take_steps(Stepper(state, ADAM, BrokenBatches(set())), 2)
    save_checkpoint(run, state)
    restored = create()
    restore_checkpoint(run, restored)
    assert_equal(restored, state)
    assert restored.tensors()["optimizer.canvas_0.trend"].eq(2).all()


# ---------------------------------------------------------------------- damaged checkpoints


@pytest.mark.parametrize("prefix", ["ema.canvas_0", "optimizer.canvas_0.exp_avg", "optimizer."])
def test_an_incomplete_checkpoint_is_an_error(run, prefix):
    """Without its moments an optimizer could continue, but not exactly."""
    state = TrainState.create(CONFIG)
    take_steps(Stepper(state, CONFIG, BrokenBatches(set())))
    save_checkpoint(run, state)
    [path] = run.saved_checkpoints()
    metadata = read_metadata(path)
    kept = {k: v for k, v in safetensors.torch.load_file(path).items() if not k.startswith(prefix)}
    safetensors.torch.save_file(kept, path, metadata)
    with pytest.raises(RunError, match=rf"\(.*{prefix}.* is missing"):
        restore_checkpoint(run, TrainState.create(CONFIG))


def test_a_checkpoint_of_another_network_is_an_error(run):
    save_checkpoint(run, TrainState.create(CONFIG))
    other = TrainState.create(replace(CONFIG, model=replace(CONFIG.model, latent_size=5)))
    message = r"posterior\.weight has shape \[8, 8\] instead of \[10, 8\]"
    with pytest.raises(RunError, match=message):
        restore_checkpoint(run, other)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"step": -1}, "step is -1; it must be from 0"),
        ({"step": 10**400}, "step is 1000"),
        ({"step": 1.5}, "step is 1.5; it must be an integer"),
        ({"step": "1"}, "step is '1'; it must be an integer"),
        ({"skipped": True}, "skipped is True; it must be an integer"),
        ({"best_score": 10**400}, "best_score is 1000"),
        ({"best_score": [[[[]]] * 9_999]}, "best_score is [["),
        ({"more": 1}, "unknown key 'more'"),
        ({"step": 1}, ".exp_avg_sq is missing"),
    ],
)
def test_invalid_counters_are_an_error(run, change, message):
    with pytest.raises(RunError, match="is not a checkpoint of this run") as caught:
        restore(run, json.dumps(COUNTERS | change))
    assert message in str(caught.value)
    assert len(str(caught.value)) < 1_000


@pytest.mark.parametrize("text", ["", "[]", "{}", "[" * 100_000, '{"step": 0, "step": 1}'])
def test_invalid_metadata_are_an_error(run, text):
    with pytest.raises(RunError, match="is not a checkpoint of this run"):
        restore(run, text)


def test_a_checkpoint_that_cannot_be_read_is_not_called_damaged(run, monkeypatch):
    """The message does not suggest to delete it."""

    def fail(*_: object) -> bytes:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr("draw.storage.tensors.read_start", fail)
    with pytest.raises(RunError, match=r"cannot be read: Input/output error$"):
        restore(run, json.dumps(COUNTERS))


# ---------------------------------------------------------------------- another run


def test_another_configuration_is_an_error_that_lists_the_differences(run):
    check_same_config(run, CONFIG)
    other = replace(CONFIG, steps=24, model=replace(CONFIG.model, glimpses=9))
    with pytest.raises(ConfigError, match=r"\(steps was 12, model\.glimpses was 3\)"):
        check_same_config(run, other)


def test_other_data_are_an_error_that_lists_the_differences(run):
    check_same_data(run, {"training": "12ab", "validation": "34cd"})
    with pytest.raises(RunError, match=r"different data \(validation changed\)"):
        check_same_data(run, {"training": "12ab", "validation": "56ef"})
