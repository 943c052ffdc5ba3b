"""draw export."""

from pathlib import Path

import pytest

from draw.commands import export
from draw.model import DRAW


def test_export_reports_the_difference(run, draw, monkeypatch):
    def fake(model: DRAW, folder: Path) -> float:
        assert model.config.hidden_size == 8
        return 2.5e-7

    monkeypatch.setattr(export, "export", fake)
    result = draw("export", run, "--onnx", "onnx")
    assert (result.status, result.err) == (0, "")
    assert result.out == (
        "exporting run and comparing ONNX Runtime with PyTorch\n"
        "exported to onnx; ONNX Runtime agrees with PyTorch within 2.5e-07 (tolerance 1e-04)\n"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("", "MODEL"),
        ("run", "--onnx is missing"),
        ("nowhere --onnx x", "nowhere is neither a run folder"),
    ],
)
def test_argument_errors(run, refused, arguments, message):
    assert message in refused("export", *arguments.split())
