"""draw doctor."""

import subprocess

import pytest
import torch

import draw as package
from draw.kernels.cpu import build


def report(result) -> dict[str, str]:
    assert (result.status, result.err) == (0, "")
    lines = result.out.splitlines()
    assert len(lines) == 10
    return {line[:14].strip(): line[14:] for line in lines}


def test_ten_lines_describe_the_installation(draw, monkeypatch, tmp_path):
    monkeypatch.setenv("DRAW_DATA", str(tmp_path / "data"))
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    lines = report(draw("doctor"))
    assert lines["draw"].startswith(package.__version__)
    assert lines["PyTorch"].startswith(torch.__version__)
    assert "numpy " in lines["packages"]
    assert lines["devices"] == "cpu"
    assert lines["engine (CPU)"] == "works"
    assert lines["engine (GPU)"] == "no GPU"
    assert f"{tmp_path / 'data'} ($DRAW_DATA), missing, " in lines["data folders"]


def test_the_reason_why_the_engine_is_unavailable(draw, monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    monkeypatch.setattr(build, "_cache_folder", lambda: pytest.fail("the compiler is missing"))
    build.load.cache_clear()
    try:
        lines = report(draw("doctor"))
    finally:
        monkeypatch.undo()
        build.load.cache_clear()
    assert lines["compiler"] == "CXX=no-such-compiler is not a program"
    assert "CXX=no-such-compiler is not a program" in lines["engine (CPU)"]


def test_the_report_survives_a_failing_engine(draw, monkeypatch):
    def fail(*_, **__):
        raise subprocess.CalledProcessError(1, "g++")

    monkeypatch.setattr("draw.kernels.forward", fail)
    assert report(draw("doctor"))["engine (CPU)"].startswith("fails: CalledProcessError")


def test_arguments_are_errors(refused):
    assert "takes no arguments" in refused("doctor", "--now")
