"""Run folders of strangers: what is not of a run is refused or left out, and never waited for."""

import errno
import json
import os
from pathlib import Path

import pytest
import safetensors.torch

from draw import checkpoint
from draw.errors import ConfigError, RunError
from draw.model import DRAWConfig
from draw.storage.run_folder import RunFolder, TrainState
from draw.training.config import TrainConfig
from draw.training.step import TrainState

CONFIG = TrainConfig(
    model=DRAWConfig(height=4, width=4, glimpses=2, hidden_size=4, latent_size=2), data="folder"
)
COUNTERS = {"step": 0, "best_nats": -1.5, "skipped": 0, "skipped_in_row": 0}


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path / "run")


def with_counters(run: RunFolder, text: str) -> TrainState:
    """A state restored from a checkpoint that has come as far as this text says."""
    run.checkpoints.mkdir(parents=True)
    path = run.checkpoints / "000000001.safetensors"
    safetensors.torch.save_file(TrainState.create(CONFIG).tensors(), path, {"draw": text})
    state = TrainState.create(CONFIG)
    run.restore(state)
    return state


def test_a_checkpoint_that_cannot_be_read_is_not_to_be_deleted(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> bytes:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr("draw.storage.tensors.read_start", refused)
    with pytest.raises(RunError, match=r"cannot be read: Input/output error$"):
        with_counters(run, json.dumps(COUNTERS))


def test_the_counters_are_restored(run: RunFolder) -> None:
    state = with_counters(run, json.dumps(COUNTERS | {"skipped_in_row": 3}))
    assert (state.step, state.best_nats, state.skipped_in_row) == (0, -1.5, 3)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"step": -1}, "step is -1; it must be from 0"),
        ({"step": 10**400}, "step is 1000"),
        ({"step": 1.5}, "step is 1.5, which is not of type"),
        ({"step": "1"}, "step is '1', which is not of type"),
        ({"skipped": True}, "skipped is True, which is not of type"),
        ({"best_nats": 10**400}, "best_nats is 1000"),
        ({"best_nats": [[[[]]] * 9_999]}, "best_nats is [["),
        ({"more": 1}, "unknown key 'more'"),
        ({"step": 1}, "optimizer.canvas_0.step is missing"),
    ],
)
def test_counters_that_are_none_are_refused(run: RunFolder, change: dict, told: str) -> None:
    with pytest.raises(RunError, match="is not a checkpoint of this run") as caught:
        with_counters(run, json.dumps(COUNTERS | change))
    assert told in str(caught.value)
    assert len(str(caught.value)) < 1_000


@pytest.mark.parametrize("text", ["", "[]", "{}", "[" * 100_000, '{"step": 0, "step": 1}'])
def test_counters_that_are_no_object_are_refused(run: RunFolder, text: str) -> None:
    with pytest.raises(RunError, match="is not a checkpoint of this run"):
        with_counters(run, text)


def test_a_pipe_in_the_place_of_a_checkpoint_is_not_waited_for(run: RunFolder) -> None:
    run.checkpoints.mkdir(parents=True)
    os.mkfifo(run.checkpoints / "000000009.safetensors")
    assert not run.restore(TrainState.create(CONFIG))


@pytest.mark.parametrize("value", [10**400, [[]] * 99_999, "x" * 9_999, 2**53 + 1])
def test_a_setting_of_any_size_is_refused_in_a_few_words(run: RunFolder, value: object) -> None:
    run.path.mkdir()
    text = json.dumps({"config": {"learning_rate": value}, "data": {}})
    run.config_file.write_text(text[: 1 << 16])
    with pytest.raises((ConfigError, RunError)) as caught:
        read_config(run)
    assert len(str(caught.value)) < 500


# ---- the log

LINE = {"step": 50, "train_elbo_nats": -1.5, "gradient_norm": float("nan"), "stderr": None}
NO_LINES = (
    *(b"", b"{", b"7", b"null", b"[]", b"[" * 100_000, b"{}", b'{"step": "50"}', b"\xff\xfe"),
    *(b'{"step": 50, "step": 60}', b'{"step": 50, "x": "y"}', b'{"step": 50, "x": [1]}'),
    *(b'{"step": true}', b'{"step": 50, "x": 1%s}' % (b"0" * 400), b'{"train_elbo_nats": 1}'),
)


@pytest.mark.parametrize("line", NO_LINES, ids=range(len(NO_LINES)))
def test_a_line_that_is_no_measurement_is_left_out(run: RunFolder, line: bytes) -> None:
    run.path.mkdir()
    good = json.dumps(LINE).encode()
    run.log_file.write_bytes(good + b"\n" + line + b"\n" + good + b"\n")
    assert [record.keys() for record in run.records()] == [LINE.keys()] * 2
    run.trim_log(50)
    assert run.log_file.read_bytes() == (good + b"\n") * 2


def test_a_pipe_in_the_place_of_the_log_is_not_waited_for_but_replaced(run: RunFolder) -> None:
    run.path.mkdir()
    os.mkfifo(run.log_file)
    assert run.records() == []
    run.trim_log(50)
    run.log(LINE)
    assert len(run.records()) == 1


def test_a_log_that_is_a_link_is_not_written_through(run: RunFolder, tmp_path: Path) -> None:
    run.path.mkdir()
    run.log_file.symlink_to(tmp_path / "outside")
    run.trim_log(50)
    run.log(LINE)
    assert not (tmp_path / "outside").exists()


def test_a_gigantic_log_is_refused(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    run.path.mkdir()
    run.log(LINE)
    monkeypatch.setattr(checkpoint, "LARGEST_LOG", run.log_file.stat().st_size)
    assert len(run.records()) == 1
    run.log(LINE)
    with pytest.raises(RunError, match=r"metrics\.jsonl has more than .* move it away"):
        run.records()
