"""The exported steps agree with the model, and the example script runs without PyTorch."""

import copy
import io
import json
import logging
import shutil
import subprocess
import sys
import warnings
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from PIL import Image

from draw import export as exporting
from draw.errors import ConfigError, ModelError
from draw.export import export
from draw.model import DRAW, DRAWConfig

FILES = ["config.json", "decode_step.onnx", "encode_step.onnx", "generate.py", "initial_state.npz"]
SHAPES = {
    "attention, one read filter": {"channels": 3, "read_size": 1},
    "no attention, 256 levels": {"read_size": None, "write_size": None, "likelihood": "logistic"},
}


def build(**changes) -> DRAW:
    shape = {"height": 8, "width": 6, "glimpses": 4, "hidden_size": 8, "latent_size": 3}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = DRAW(DRAWConfig(**(shape | {"read_size": 2, "write_size": 3} | changes)))
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.3 * torch.randn_like(parameter))
        return model


class Exported(NamedTuple):
    model: DRAW
    folder: Path
    difference: float
    changes: list[str]  # what the export changed in the model or the global random state
    output: str  # what it printed and logged


@pytest.fixture(scope="module", params=SHAPES.values(), ids=SHAPES)
def exported(request, tmp_path_factory) -> Exported:
    """Export a model once, with warnings as errors."""
    model, folder = build(**request.param).train(), tmp_path_factory.mktemp("exported")
    before = copy.deepcopy(model.state_dict()) | {"random state": torch.get_rng_state()}
    output = io.StringIO()
    handler = logging.StreamHandler(output)
    handler.setLevel(logging.WARNING)
    logging.getLogger().addHandler(handler)
    with redirect_stdout(output), redirect_stderr(output), warnings.catch_warnings():
        warnings.simplefilter("error")
        difference = export(model, folder)
    logging.getLogger().removeHandler(handler)
    after = model.state_dict() | {"random state": torch.get_rng_state()}
    changes = [name for name, value in before.items() if not torch.equal(value, after[name])]
    return Exported(model, folder, difference, changes, output.getvalue())


def session(folder, name: str) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(folder / f"{name}.onnx")


def test_files_and_difference(exported):
    model, folder, difference, *_ = exported
    assert 0 < difference < 1e-5
    assert sorted(path.name for path in folder.iterdir()) == FILES
    assert DRAWConfig(**json.loads((folder / "config.json").read_text())) == model.config


@pytest.mark.parametrize("batch", [1, 5])
def test_trajectory_agrees_with_the_model(exported, batch):
    model, folder, *_ = exported
    stream = torch.Generator().manual_seed(1)
    x = torch.rand(batch, *model.config.image_shape, generator=stream)
    eps = torch.randn(4, batch, 3, generator=stream)
    model.engine = "plain"
    with torch.no_grad():
        trace = model(x, eps=eps, record=True)

    encode, decode = session(folder, "encode_step"), session(folder, "decode_step")
    start = np.load(folder / "initial_state.npz")
    values = {name: np.repeat(start[name], batch, axis=0) for name in start.files} | {
        "x": x.numpy()
    }
    for t in range(4):
        values["eps"] = eps[t].numpy()
        for step in (encode, decode):
            inputs = {i.name: values[i.name] for i in step.get_inputs()}
            names = [o.name for o in step.get_outputs()]
            outputs = dict(zip(names, step.run(None, inputs), strict=True))
            values |= {name.removeprefix("next_"): value for name, value in outputs.items()}
        expected = {
            "canvas": trace.canvases[t],
            "mean": trace.means[t],
            "z": trace.z[t],
            "mu": trace.mu[t],
            "log_sigma": trace.log_sigma[t],
            "kl": trace.kl[t],
        }
        for name, windows in (
            ("read_window", trace.read_window),
            ("write_window", trace.write_window),
        ):
            assert (name in values) == (windows is not None)
            if windows is not None:
                sigma = windows.sigma2[t].sqrt()
                columns = (
                    windows.g_x[t],
                    windows.g_y[t],
                    windows.delta[t],
                    sigma,
                    windows.gamma[t],
                )
                expected[name] = torch.stack(columns, dim=1)
        for name, value in expected.items():
            assert values[name].shape == value.shape
            assert np.allclose(values[name], value.numpy(), rtol=1e-5, atol=1e-5), name


def test_every_tensor_has_a_dynamic_batch_dimension(exported):
    _, folder, *_ = exported
    for name in ("encode_step", "decode_step"):
        step = session(folder, name)
        for tensor in (*step.get_inputs(), *step.get_outputs()):
            assert tensor.type == "tensor(float)"
            assert tensor.shape[0] == "batch"
            assert all(isinstance(size, int) for size in tensor.shape[1:])


@pytest.mark.parametrize(("arguments", "seed"), [(["5", "7"], 7), (["5"], 0)])
def test_example_script_runs_without_torch(exported, arguments, seed):
    model, folder, *_ = exported
    blocked = "import sys; sys.modules |= {'torch': None, 'draw': None}; import runpy;"
    code = f"{blocked} runpy.run_path('generate.py', run_name='__main__')"
    command = [sys.executable, "-c", code, *arguments]
    printed = subprocess.run(command, cwd=folder, check=True, timeout=60, capture_output=True)
    assert printed.stdout == b"samples.png\n"
    z = np.random.default_rng(seed)
    noise = [z.standard_normal((5, 3), dtype=np.float32) for _ in range(4)]
    with torch.no_grad():
        images = model.generate(5, z=torch.from_numpy(np.stack(noise))).mean
    with Image.open(folder / "samples.png") as opened:
        shown = np.asarray(opened.convert("RGB")).astype(int)
    (folder / "samples.png").unlink()
    assert shown.shape == (8 * 3, 5 * 6 * 3, 3)
    for index, image in enumerate(images):
        tile = shown[1::3, index * 18 + 1 : (index + 1) * 18 : 3]
        assert abs(tile - 255 * image.movedim(0, -1).numpy()).max() <= 0.51


def test_foreign_files_are_not_overwritten(tmp_path):
    (tmp_path / "config.json").write_text("mine")
    with pytest.raises(ConfigError, match="contains files that are not an export"):
        export(build(), tmp_path)
    assert (tmp_path / "config.json").read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]


def test_graphs_are_valid_and_contain_no_local_paths(exported):
    _, folder, *_ = exported
    for name in ("encode_step", "decode_step"):
        graph = onnx.load(folder / f"{name}.onnx")
        onnx.checker.check_model(graph, full_check=True)
        data = graph.SerializeToString()
        assert b"File " not in data
        assert str(folder.parent).encode() not in data


def test_export_changes_nothing_and_prints_nothing(exported):
    assert exported.changes == []
    assert exported.output == ""
    assert exported.model.training


def test_model_that_differs_after_export_is_refused(exported, tmp_path, monkeypatch):
    """The comparison uses the graphs of the original weights, which this test exports again."""
    model, folder, *_ = exported

    def graph(step) -> bytes:
        name = "encode_step" if isinstance(step, exporting.EncodeStep) else "decode_step"
        return (folder / f"{name}.onnx").read_bytes()

    monkeypatch.setattr(exporting, "_graph", graph)
    again = tmp_path / "again"
    shutil.copytree(folder, again)
    (again / "config.json").write_text("old")
    export(model, again)  # replaces an earlier export
    assert (again / "config.json").read_bytes() == (folder / "config.json").read_bytes()
    changed = copy.deepcopy(model)
    with torch.no_grad():
        changed.patch.bias.add_(1e-3)
    with pytest.raises(ModelError, match=r"differ by \d\.\de-0\d .*nothing was written; try"):
        export(changed, tmp_path / "out")
    with torch.no_grad():
        changed.canvas_0.fill_(float("nan"))
    with pytest.raises(ModelError, match="differ by nan"):
        export(changed, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_model_too_large_for_onnx(tmp_path):
    with torch.device("meta"):
        model = DRAW(DRAWConfig(hidden_size=8192))
    with pytest.raises(ModelError, match="an ONNX file can hold 2,147,483,648"):
        export(model, tmp_path)


@pytest.mark.parametrize("missing", ["onnxruntime", "onnxscript"])
def test_missing_extra(tmp_path, monkeypatch, missing):
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ConfigError, match=r"pip install 'draw\[onnx\]'"):
        export(build(), tmp_path)
