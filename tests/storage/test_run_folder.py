"""Run folders: the log, checkpoints, and files that a killed process or a stranger left."""

import json
import os
from pathlib import Path

import pytest

from draw.errors import RunError
from draw.storage import run_folder
from draw.storage.run_folder import RunFolder


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    """Create a new run."""
    run = RunFolder(tmp_path / "run")
    run.create({"steps": 5}, {"training": "12ab"})
    return run


def test_a_new_run_records_its_configuration_and_the_digests_of_its_data(run):
    assert RunFolder.open(run.path).read() == {"config": {"steps": 5}, "data": {"training": "12ab"}}


def test_a_folder_without_a_run_is_an_error(tmp_path):
    with pytest.raises(RunError, match=r"holds no run\.json; give the --out folder"):
        RunFolder.open(tmp_path)


def test_a_new_run_overwrites_nothing(run, tmp_path):
    with pytest.raises(RunError, match="already holds a run; resume it with --resume"):
        run.create({}, {})
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(RunError, match="not empty; choose another folder with --out"):
        RunFolder(tmp_path).create({}, {})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run", "thesis.tex"]


def test_a_partial_file_of_a_killed_process_does_not_prevent_a_new_run(tmp_path):
    (tmp_path / ".run.json.x1.partial").write_text("{")
    RunFolder(tmp_path).create({}, {})
    assert RunFolder.open(tmp_path).read()["config"] == {}


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"config": {}}', '{"config": {}, "data": []}'])
def test_a_damaged_run_json_is_an_error(run, text):
    run.config_file.write_text(text)
    with pytest.raises(RunError, match=r"run\.json"):
        run.read()


def test_only_the_newest_two_checkpoints_are_kept(run):
    for step in (5, 10, 1_000_000):
        run.add_checkpoint(step, b"content")
    os.mkfifo(run.checkpoints / "000000001.safetensors")  # not a file: reading it would block
    names = [path.name for path in run.saved_checkpoints()]
    assert names == ["000000010.safetensors", "001000000.safetensors"]


def test_a_failed_write_keeps_the_old_checkpoints(run, monkeypatch):
    run.add_checkpoint(5, b"first")
    run.add_checkpoint(10, b"second")

    def fail(self: Path, data: bytes) -> int:
        raise OSError(28, "No space left on device", str(self))

    monkeypatch.setattr(Path, "write_bytes", fail)
    with pytest.raises(OSError, match="No space left"):
        run.add_checkpoint(15, b"third")
    assert [path.read_bytes() for path in run.saved_checkpoints()] == [b"first", b"second"]
    assert len(list(run.checkpoints.iterdir())) == 2


# ---------------------------------------------------------------------- the log

RECORD = {"step": 50, "train_elbo_nats": -1.5, "valid_elbo_stderr": None}
INVALID_LINES = (
    *(b"", b"{", b"7", b"null", b"[]", b"[" * 100_000, b"{}", b'{"step": "50"}', b"\xff\xfe"),
    *(b'{"step": 50, "step": 60}', b'{"step": 50, "x": "y"}', b'{"step": 50, "x": [1]}'),
    *(b'{"step": true}', b'{"step": 50, "x": 1%s}' % (b"0" * 400), b'{"train_elbo_nats": 1}'),
)


@pytest.mark.parametrize("line", INVALID_LINES, ids=range(len(INVALID_LINES)))
def test_lines_without_a_measurement_are_skipped(run, line):
    valid = json.dumps(RECORD).encode() + b"\n"
    run.log_file.write_bytes(valid + line + b"\n" + valid)
    assert run.records() == [RECORD] * 2
    run.rewind(50)
    assert run.log_file.read_bytes() == valid * 2


def test_rewind_deletes_later_measurements_and_partial_files(run):
    for step in (10, 20, 30):
        run.log({"step": step})
    run.add_checkpoint(20, b"content")
    (run.checkpoints / ".000000030.safetensors.x1.partial").write_bytes(b"con")
    run.rewind(20)
    assert [record["step"] for record in run.records()] == [10, 20]
    assert [path.name for path in run.checkpoints.iterdir()] == ["000000020.safetensors"]


@pytest.mark.parametrize("number", [float("inf"), -float("inf"), float("nan")])
def test_numbers_that_are_not_finite_are_logged_as_null(run, number):
    run.log({"step": 5, "gradient_norm": number})
    assert run.log_file.read_text() == '{"step": 5, "gradient_norm": null}\n'
    run.log_file.write_text(json.dumps({"step": 5, "gradient_norm": number}) + "\n")
    run.rewind(5)
    assert run.log_file.read_text() == '{"step": 5, "gradient_norm": null}\n'


def test_a_pipe_in_place_of_the_log_is_replaced(run):
    os.mkfifo(run.log_file)
    assert run.records() == []
    run.rewind(50)
    run.log(RECORD)
    assert len(run.records()) == 1


def test_a_link_in_place_of_the_log_is_replaced(run, tmp_path):
    run.log_file.symlink_to(tmp_path / "outside")
    run.rewind(50)
    run.log(RECORD)
    assert not (tmp_path / "outside").exists()


def test_a_huge_log_is_an_error(run, monkeypatch):
    run.log(RECORD)
    monkeypatch.setattr(run_folder, "MAX_LOG_BYTES", run.log_file.stat().st_size)
    assert len(run.records()) == 1
    run.log(RECORD)
    with pytest.raises(RunError, match=r"metrics\.jsonl is larger than .* move it elsewhere"):
        run.records()
