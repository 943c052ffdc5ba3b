"""draw export."""

import re
import sys
from pathlib import Path

import pytest


def test_it_writes_the_files_and_tells_how_close_they_are(run, draw):
    result = draw("export", run, "--onnx", "onnx")
    assert (result.status, result.err) == (0, "")
    [line] = result.out.splitlines()
    [difference] = re.findall(r"within (\d\.\de-\d\d) of PyTorch's", line)
    assert line.startswith("onnx holds the model")
    assert 0 < float(difference) < 1e-4
    assert (Path("onnx") / "encode_step.onnx").is_file()
    assert len(list(Path("onnx").iterdir())) == 5


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ("", "MODEL"),
        ("run", "--onnx"),
        ("nowhere --onnx x", "nowhere is not a run folder or a saved model's folder"),
        ("run --onnx run/run.json", "run/run.json"),
    ],
)
def test_what_cannot_be_done_is_refused(run, refused, arguments, told):
    assert told in refused("export", *arguments.split())


def test_without_the_extra_it_is_refused_in_one_line(run, refused, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert "pip install 'draw[onnx]'" in refused("export", run, "--onnx", "x")
