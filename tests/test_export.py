"""The steps as ONNX give what the model gives, and the example paints with them alone."""

import json
import logging
import subprocess
import sys
import warnings

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

FILES = [
    "config.json",
    "decode_step.onnx",
    "encode_step.onnx",
    "generate.py",
    "initial_state.npz",
]
SHAPES = {
    "attention": {},
    "no attention": {"read_size": None, "write_size": None},
    "read alone, one filter": {"channels": 3, "read_size": 1, "write_size": None},
    "write alone, one filter, 256 levels": {
        **{"channels": 3, "read_size": None, "write_size": 1, "likelihood": "logistic"}
    },
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


@pytest.fixture(scope="module", params=SHAPES.values(), ids=SHAPES)
def exported(request, tmp_path_factory):
    """A model and the folder that it was exported to."""
    model, folder = build(**request.param), tmp_path_factory.mktemp("exported")
    return model, folder, export(model, folder)


def session(folder, name: str) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(folder / f"{name}.onnx")


def test_the_difference_is_small_and_the_files_are_there(exported):
    _, folder, difference = exported
    assert 0 < difference < 1e-5
    assert sorted(path.name for path in folder.iterdir()) == FILES


@pytest.mark.parametrize("batch", [1, 5])
def test_a_trajectory_of_any_batch_is_that_of_the_model(exported, batch):
    """Encoded and painted by ONNX alone, from the noise that `forward` is given."""
    model, folder, _ = exported
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
            given = {i.name: values[i.name] for i in step.get_inputs()}
            names = [o.name for o in step.get_outputs()]
            outputs = dict(zip(names, step.run(None, given), strict=True))
            values |= {name.removeprefix("next_"): value for name, value in outputs.items()}
        expected = {
            "canvas": trace.canvas[t],
            "mean": trace.mean[t],
            "z": trace.z[t],
            "mu": trace.mu[t],
            "log_sigma": trace.log_sigma[t],
            "kl": trace.kl[t],
        }
        for name, windows in (("read_window", trace.read), ("write_window", trace.write)):
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


def test_every_tensor_has_a_batch_of_any_size_under_one_name(exported):
    _, folder, _ = exported
    for name in ("encode_step", "decode_step"):
        step = session(folder, name)
        for tensor in (*step.get_inputs(), *step.get_outputs()):
            assert tensor.type == "tensor(float)"
            assert tensor.shape[0] == "batch"
            assert all(isinstance(size, int) for size in tensor.shape[1:])


def test_the_example_paints_without_torch(exported, tmp_path):
    model, folder, _ = exported
    blocked = "import sys; sys.modules |= {'torch': None, 'draw': None}; import runpy;"
    code = (
        f"{blocked} sys.argv[1:] = ['5', '7']; runpy.run_path('generate.py', run_name='__main__')"
    )
    subprocess.run([sys.executable, "-c", code], cwd=folder, check=True, timeout=60)
    z = np.random.default_rng(7)
    noise = [z.standard_normal((5, 3), dtype=np.float32) for _ in range(4)]
    with torch.no_grad():
        images = model.generate(5, z=torch.from_numpy(np.stack(noise))).mean[-1]
    with Image.open(folder / "samples.png") as opened:
        shown = np.asarray(opened.convert("RGB")).astype(int)
    (folder / "samples.png").unlink()
    assert shown.shape == (8 * 3, 5 * 6 * 3, 3)
    for index, image in enumerate(images):
        tile = shown[1::3, index * 18 + 1 : (index + 1) * 18 : 3]
        assert abs(tile - 255 * image.movedim(0, -1).numpy()).max() <= 0.51


def test_the_configuration_is_that_of_the_model(exported):
    model, folder, _ = exported
    assert DRAWConfig(**json.loads((folder / "config.json").read_text())) == model.config


def test_the_graphs_are_valid_and_do_not_tell_where_they_were_made(exported):
    _, folder, _ = exported
    for name in ("encode_step", "decode_step"):
        graph = onnx.load(folder / f"{name}.onnx")
        onnx.checker.check_model(graph, full_check=True)
        data = graph.SerializeToString()
        assert b"File " not in data
        assert str(folder.parent).encode() not in data


def test_the_model_stays_as_it_was_and_nothing_is_printed(tmp_path, capfd, caplog):
    model = build().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    stream = torch.get_rng_state()
    with warnings.catch_warnings(), caplog.at_level(logging.INFO):
        warnings.simplefilter("error")
        export(model, tmp_path)
    captured = capfd.readouterr()
    assert captured.out == captured.err == ""
    assert [r for r in caplog.records if r.levelno >= logging.WARNING] == []
    assert model.training
    assert torch.equal(torch.get_rng_state(), stream)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.fixture
def another(exported, monkeypatch):
    """The model, for whose export its graphs stand as they are, whatever becomes of it."""
    _, folder, _ = exported

    def graph(step) -> bytes:
        name = "encode_step" if isinstance(step, exporting.EncodeStep) else "decode_step"
        return (folder / f"{name}.onnx").read_bytes()

    monkeypatch.setattr(exporting, "_graph", graph)
    return build()


with_attention = pytest.mark.parametrize(
    "exported", [SHAPES["attention"]], ids=["attention"], indirect=True
)


@with_attention
def test_a_model_that_comes_out_different_is_refused_and_not_written(another, tmp_path):
    with torch.no_grad():
        another.patch.bias.add_(1e-3)
    with pytest.raises(ModelError, match=r"differ by \d\.\de-0\d .*nothing is written"):
        export(another, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@with_attention
def test_a_model_whose_numbers_are_not_finite_is_refused(another, tmp_path):
    with torch.no_grad():
        another.canvas_0.fill_(float("nan"))
    with pytest.raises(ModelError, match="differ by nan"):
        export(another, tmp_path / "out")


def test_a_model_too_large_for_the_format_is_refused_at_once(tmp_path):
    with torch.device("meta"):
        model = DRAW(DRAWConfig(hidden_size=8192))
    with pytest.raises(ModelError, match="an ONNX file holds 2,147,483,648 at most"):
        export(model, tmp_path)


@pytest.mark.parametrize("missing", ["onnxruntime", "onnxscript"])
def test_without_the_extra_it_is_refused_with_how_to_get_it(tmp_path, monkeypatch, missing):
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ConfigError, match=r"pip install 'draw\[onnx\]'"):
        export(build(), tmp_path)
