"""Trace files are what docs/trace.md describes."""

import base64
import json
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch

from draw import DRAW, DRAWConfig, Trace, elbo
from draw.errors import TraceError
from draw.page import write_trace_file

DOCUMENT = Path(__file__).parents[2] / "docs" / "trace.md"
T, LABELS = 4, ["a", "b", "c"]
MODELS = {
    "attention": {},
    "colour": {"channels": 3},
    "256 levels": {"likelihood": "logistic"},
    "no attention": {"read_size": None, "write_size": None},
    "writes with attention": {"read_size": None},
    "one filter": {"read_size": 1, "write_size": 1},
}


def unpack(text: str, *shape: int) -> torch.Tensor:
    """Decode packed planes [n, C, H, W] as docs/trace.md describes."""
    changes = np.frombuffer(zlib.decompress(base64.b64decode(text)), np.uint8).reshape(shape)
    return torch.from_numpy(changes.cumsum(axis=0, dtype=np.uint8))


def build(**changes) -> tuple[DRAW, torch.Tensor]:
    """An untrained model with a random initial canvas, and three images."""
    shape = {"height": 8, "width": 6, "glimpses": T, "hidden_size": 8, "latent_size": 4}
    config = DRAWConfig(**(shape | {"read_size": 2, "write_size": 3} | changes))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = DRAW(config)
        torch.nn.init.normal_(model.canvas_0)
        return model, torch.rand(3, *config.image_shape)


def traced(path, encode: bool, **changes) -> tuple[dict, DRAW, Trace, torch.Tensor]:
    """Write a trace file; return its content with what it was made from."""
    model, images = build(**changes)
    with torch.no_grad():
        trace = model(images, record=True) if encode else model.generate(3, record=True)
    encoded = images if encode else None
    write_trace_file(path, trace, model, name="tiny", labels=LABELS, images=encoded)
    return json.loads(path.read_text()), model, trace, images


@pytest.fixture
def path(tmp_path):
    return tmp_path / "trace.json"


@pytest.mark.parametrize("encode", [True, False], ids=["encoded", "generated"])
@pytest.mark.parametrize("changes", MODELS.values(), ids=MODELS)
def test_a_file_contains_the_trace(path, encode, changes):
    content, model, trace, images = traced(path, encode, **changes)
    assert content.keys() == {"format", "version", "model", "config", "steps", "start", "samples"}
    assert (content["format"], content["version"], content["model"]) == ("draw-trace", 1, "tiny")
    assert content["steps"] == T
    assert content["config"]["likelihood"] == model.config.likelihood
    C, H, W = model.config.image_shape
    start = model.likelihood.mean(model.canvas_0)
    assert torch.equal(unpack(content["start"], 1, C, H, W)[0], (255 * start).round().byte())
    assert [sample["label"] for sample in content["samples"]] == LABELS
    for b, sample in enumerate(content["samples"]):
        means = (255 * trace.means[:, b]).round().byte()
        assert torch.equal(unpack(sample["means"], T, C, H, W), means)
        for key, windows in {"read": trace.read_window, "write": trace.write_window}.items():
            if windows is None:
                assert sample[key] is None
                continue
            columns = windows._asdict()
            columns["sigma"] = columns.pop("sigma2").sqrt()
            assert sample[key].keys() == columns.keys()
            for name, values in columns.items():
                assert sample[key][name] == pytest.approx(values[:, b].tolist(), rel=6e-5)
        if not encode:
            assert sample["kl_nats"] is sample["elbo_nats"] is sample["input"] is None
            continue
        assert torch.equal(unpack(sample["input"], 1, C, H, W)[0], (255 * images[b]).round().byte())
        assert sample["kl_nats"] == pytest.approx(trace.kl[:, b].tolist(), rel=6e-5)
        assert sample["elbo_nats"] == pytest.approx(float(elbo(trace)[b]), rel=6e-5)


def test_the_script_of_the_document_decodes_pictures(path, module):
    content, _, trace, _ = traced(path, True, channels=3)
    block = DOCUMENT.read_text().split("```js\n")[1].split("```")[0]
    text, size = content["samples"][0]["means"], trace.means[0, 0].numel()
    decoded = module(f"{block}; return (await unpack('{text}', {size})).map((p) => [...p])")
    assert decoded == (255 * trace.means[:, 0]).round().flatten(1).int().tolist()


def test_similar_consecutive_pictures_compress_well(path):
    """Smooth pictures that grow gradually take less than a quarter of a byte per pixel."""
    glimpses = 32
    y, x = torch.meshgrid(torch.linspace(-2, 2, 28), torch.linspace(-2, 2, 28), indexing="ij")
    growth = torch.linspace(0, 1, glimpses).view(glimpses, 1, 1, 1, 1)
    size = torch.linspace(0.5, 1.5, 8).view(1, 8, 1, 1, 1)
    means = (growth * torch.exp(-(x**2 + y**2) / size)).clamp(1e-6, 1 - 1e-6)
    model = DRAW(DRAWConfig(glimpses=glimpses, hidden_size=4, read_size=None, write_size=None))
    trace = Trace(
        canvas=means[-1].logit(),
        canvases=means.logit(),
        z=torch.zeros(glimpses, 8, 1),
        likelihood=model.likelihood,
    )
    write_trace_file(path, trace, model, name="", labels=[""] * 8)
    assert path.stat().st_size < means.numel() / 4


def test_an_unrecorded_trace_is_rejected(path):
    model, _ = build()
    with pytest.raises(TraceError, match="record=True"):
        write_trace_file(path, model.generate(3), model, name="", labels=LABELS)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_numbers_that_are_not_finite_are_never_written(path, bad):
    model, _ = build()
    trace = model.generate(3, record=True)
    trace.write_window.g_x.detach().fill_(bad)
    with pytest.raises(TraceError, match=r"trace\.json was not written: the trace contains infin"):
        write_trace_file(path, trace, model, name="", labels=LABELS)
    assert not path.exists()
