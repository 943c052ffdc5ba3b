"""Trace files: written compactly, read back strictly."""

import base64
import json
import os
import zlib
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from draw import objectives
from draw.errors import TraceError
from draw.figures import Recording, load_recording, recording, save_recording
from draw.model import DRAW, DRAWConfig

DIGITS = 5.1e-5  # what rounding to five of them may change

SHAPES = {
    "grey": {},
    "colour": {"channels": 3},
    "256 levels": {"likelihood": "logistic"},
    "no attention": {"read_size": None, "write_size": None},
    "write alone": {"read_size": None},
    "one filter": {"read_size": 1, "write_size": 1},
}


def recorded(encode: bool, **changes) -> tuple[Recording, object, torch.Tensor]:
    """Three pictures over four steps of an untrained model, the trace, and what was encoded."""
    shape = {"height": 8, "width": 6, "glimpses": 4, "hidden_size": 8, "latent_size": 4}
    config = DRAWConfig(**(shape | {"read_size": 2, "write_size": 3} | changes))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = DRAW(config)
        images = torch.rand(3, *config.image_shape)
        with torch.no_grad():
            model.canvas_0.normal_()
            trace = model(images, record=True) if encode else model.generate(3, record=True)
    made = Recording.of(
        trace,
        model="tiny",
        config=config,
        labels=["a", "b", "c"],
        start=model.likelihood.mean(model.canvas_0),
        images=images if encode else None,
    )
    return made, trace, images


@pytest.fixture
def file(tmp_path):
    return tmp_path / "trace.json"


@pytest.fixture
def content(file) -> dict:
    """What a good file holds, to be damaged at will."""
    save_recording(file, recorded(encode=True)[0])
    return json.loads(file.read_text())


def load(file, content: object) -> Recording:
    file.write_text(json.dumps(content))
    return load_recording(file)


def assert_same_window(a, b) -> None:
    assert (a is None) == (b is None)
    if a is not None:
        a, b = (where._replace(sigma2=where.sigma2.sqrt()) for where in (a, b))
        for one, other in zip(a, b, strict=True):
            assert one.shape == other.shape
            assert torch.allclose(one, other, rtol=DIGITS)


@pytest.mark.parametrize("encode", [True, False], ids=["encoded", "generated"])
@pytest.mark.parametrize("changes", SHAPES.values(), ids=SHAPES)
def test_what_was_written_is_read_back(file, encode, changes):
    made, trace, images = recorded(encode, **changes)
    save_recording(file, made)
    back = load_recording(file)
    assert (back.model, back.config, back.labels) == ("tiny", made.config, ("a", "b", "c"))
    assert torch.equal(back.start, made.start)
    assert torch.equal(back.means, made.means)
    assert (back.means.float() / 255 - trace.mean).abs().max() <= 0.5 / 255 + 1e-6
    assert_same_window(back.read, trace.read)
    assert_same_window(back.write, trace.write)
    if not encode:
        assert back.inputs is back.kl_nats is back.elbo_nats is back.read is None
        return
    assert (back.inputs.float() / 255 - images).abs().max() <= 0.5 / 255 + 1e-6
    assert torch.allclose(back.kl_nats, trace.kl, rtol=DIGITS)
    assert torch.allclose(back.elbo_nats, objectives.elbo(trace), rtol=DIGITS)


def test_the_format_is_as_described(content):
    """Decoded by hand, as a page would: deflated differences from step to step."""
    made, trace, images = recorded(encode=True)
    assert content.keys() == {"format", "version", "model", "config", "steps", "start", "samples"}
    assert (content["format"], content["version"], content["steps"]) == ("draw-trace", 1, 4)
    assert content["config"]["height"] == 8
    sample = content["samples"][1]
    flat = zlib.decompress(base64.b64decode(sample["means"]))
    planes, before = [], [0] * 48
    for t in range(4):
        before = [(b + c) % 256 for b, c in zip(before, flat[48 * t :], strict=False)]
        planes.append(before)
    expected = (trace.mean[:, 1] * 255).round().flatten(1)
    assert torch.equal(torch.tensor(planes).float(), expected)
    assert sample["label"] == "b"
    start = zlib.decompress(base64.b64decode(content["start"]))
    assert list(start) == made.start.flatten().tolist()
    assert list(zlib.decompress(base64.b64decode(sample["input"]))) == (
        (images[1] * 255).round().flatten().tolist()
    )
    assert sample["write"].keys() == {"g_x", "g_y", "delta", "sigma", "gamma"}
    assert sample["write"]["sigma"][2] == pytest.approx(
        float(trace.write.sigma2[2, 1].sqrt()), rel=1e-4
    )
    assert sample["read"]["g_x"][3] == pytest.approx(float(trace.read.g_x[3, 1]), rel=1e-4)
    assert sample["kl_nats"][3] == pytest.approx(float(trace.kl[3, 1]), rel=1e-4)


def test_a_file_is_compact(file):
    """Smooth pictures that change a little at each step take far less than a byte a pixel."""
    T, B = 64, 25
    y, x = torch.meshgrid(torch.linspace(-2, 2, 28), torch.linspace(-2, 2, 28), indexing="ij")
    growth = torch.linspace(0, 1, T).view(T, 1, 1, 1, 1)
    size = torch.linspace(0.5, 1.5, B).view(1, B, 1, 1, 1)
    means = (255 * growth * torch.exp(-(x**2 + y**2) / size)).to(torch.uint8)
    config = DRAWConfig(read_size=None, write_size=None)
    made = recorded(False, read_size=None, write_size=None)[0]
    labels = tuple(map(str, range(B)))
    start = torch.zeros(1, 28, 28, dtype=torch.uint8)
    save_recording(file, replace(made, config=config, means=means, labels=labels, start=start))
    assert file.stat().st_size < T * B * 28 * 28 / 4


def test_a_trace_that_was_not_recorded_is_refused():
    _, trace, _ = recorded(encode=False)
    with pytest.raises(TraceError, match="record=True"):
        Recording.of(
            replace(trace, canvas=trace.canvas[-1:]),
            model="",
            config=DRAWConfig(),
            labels=[],
            start=torch.zeros(1, 8, 6),
        )


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 1e30])
def test_what_could_not_be_read_is_not_written(file, bad):
    made, _, _ = recorded(encode=True)
    broken = made.write._replace(g_x=made.write.g_x.clone().fill_(bad))
    with pytest.raises(TraceError, match=r"not written.*g_x must hold numbers"):
        save_recording(file, replace(made, write=broken))
    assert not file.exists()


def test_a_recording_too_large_for_the_reader_is_not_written(file, monkeypatch):
    made, _, _ = recorded(encode=True)
    monkeypatch.setattr(recording, "MAX_FILE", 1_000)
    with pytest.raises(TraceError, match=r"not written.*more than 1,000 bytes"):
        save_recording(file, made)
    assert not file.exists()


# ---------------------------------------------------------------------- hostile files


def packed(data: bytes) -> str:
    return base64.b64encode(zlib.compress(data)).decode()


def set_at(content: dict, path: str, value: object) -> None:
    *parents, last = path.split(".")
    for name in parents:
        content = content[int(name)] if isinstance(content, list) else content[name]
    content[last] = value


@pytest.mark.parametrize(
    ("path", "value", "told"),
    [
        ("format", "film", "its format is 'film'"),
        ("format", "-a" * 5_000_000, "its format is '-a"),
        ("format", [[[]] * 999] * 999, "its format is [["),
        ("version", 2, "version 2"),
        ("version", None, "version None"),
        ("extra", 1, "the file must be an object with the keys"),
        ("model", 7, "model must be a text"),
        ("model", "x" * 501, "at most 500 characters"),
        ("config", [], "config must hold a JSON object"),
        ("config.height", 0, "model.height is 0"),
        ("config.height", 9, "means does not hold 216 bytes"),
        ("config.height", 10**400, "model.height is"),
        ("config.colour", 1, "unknown key 'colour'"),
        ("config.read_size", None, "read must be null"),
        ("config.channels", 3, "does not hold"),
        ("steps", 0, "steps is 0; it must be from 1 to 4,096"),
        ("steps", True, "steps is True"),
        ("steps", 4.0, "steps is 4.0"),
        ("steps", 4097, "steps is 4097"),
        ("steps", 5, "means does not hold 240 bytes"),
        ("start", None, "start is not base64 of deflated bytes"),
        ("start", "&", "start is not base64 of deflated bytes"),
        ("start", "é", "start is not base64 of deflated bytes"),
        ("start", base64.b64encode(b"plain").decode(), "start is not base64 of deflated bytes"),
        ("start", packed(bytes(47)), "start does not hold 48 bytes"),
        ("start", packed(bytes(49)), "start does not hold 48 bytes"),
        ("start", packed(bytes(10**8)), "start does not hold 48 bytes"),
        ("start", base64.b64encode(zlib.compress(bytes(48))[:-5]).decode(), "does not hold 48"),
        ("start", base64.b64encode(zlib.compress(bytes(48)) + b"x").decode(), "does not hold 48"),
        ("samples", [], "samples must be a list of 1 to 1,024"),
        ("samples", {}, "samples must be a list of 1 to 1,024"),
        ("samples", [None] * 1025, "samples must be a list of 1 to 1,024"),
        ("samples", [None], "a sample must be an object with the keys"),
        ("samples.1.label", None, "label must be a text"),
        ("samples.1.more", 1, "a sample must be an object with the keys"),
        ("samples.1.means", packed(bytes(48)), "means does not hold 192 bytes"),
        ("samples.1.read", None, "read must not be null"),
        ("samples.1.kl_nats", None, "kl_nats must not be null"),
        ("samples.1.input", None, "input must not be null"),
        ("samples.0.input", None, "read must be null"),
        ("samples.1.elbo_nats", "many", "elbo_nats must hold numbers"),
        ("samples.1.elbo_nats", True, "elbo_nats must hold numbers"),
        ("samples.1.kl_nats", [0.0] * 3, "kl_nats must be a list of 4 numbers"),
        ("samples.1.kl_nats", {"0": 1}, "kl_nats must be a list of 4 numbers"),
        ("samples.1.kl_nats", [[0.0]] * 4, "kl_nats must hold numbers"),
        ("samples.1.write", {}, "a write window must be an object with the keys"),
        ("samples.1.write", [1], "a write window must be an object with the keys"),
        ("samples.1.write.g_x", [1, 2, 3, 10**400], "g_x must hold numbers"),
        ("samples.1.write.g_x", [1, 2, 3, float("nan")], "g_x must hold numbers"),
        ("samples.1.write.g_x", [1, 2, 3, float("inf")], "g_x must hold numbers"),
        ("samples.1.write.sigma", [1, 2, 3, -1], "sigma must hold numbers from 0"),
        ("samples.1.read.delta", [1, 2, 3, -1e-9], "delta must hold numbers from 0"),
    ],
)
def test_a_file_that_is_not_as_described_is_refused_with_what_is_wrong(
    file, content, path, value, told
):
    set_at(content, path, value)
    with pytest.raises(TraceError) as error:
        load(file, content)
    assert told in str(error.value)
    assert str(file) in str(error.value)
    assert len(str(error.value)) < 1_000
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("key", ["format", "version", "model", "config", "steps", "start"])
def test_a_key_that_is_missing_is_named(file, content, key):
    del content[key]
    with pytest.raises(TraceError, match=key):
        load(file, content)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b"\xff\xfe",
        b"[" * 100_000,
        b"9" * 10_000,
        b'{"a":' * 50_000,
        b'{"a":1,"a":1}',
    ],
)
def test_what_is_no_json_object_is_refused(file, data):
    file.write_bytes(data)
    with pytest.raises(TraceError, match="is no trace file of version 1"):
        load_recording(file)


def test_a_file_that_is_missing_a_folder_or_a_pipe_is_refused(file, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (file, tmp_path, tmp_path / "pipe"):
        with pytest.raises(TraceError, match="cannot be read"):
            load_recording(path)


def test_no_more_is_read_or_unpacked_than_the_limits_say(file, content, monkeypatch):
    monkeypatch.setattr(recording, "MAX_PIXELS", 3 * 4 * 48 - 1)
    with pytest.raises(TraceError, match="its pictures take 576 bytes, and 575 are the most"):
        load(file, content)
    monkeypatch.setattr(recording, "MAX_FILE", file.stat().st_size - 1)
    with pytest.raises(TraceError, match="it has more than"):
        load_recording(file)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_damage_to_a_file_does_more_than_raise_our_error(file, content, data):
    text = bytearray(json.dumps(content).encode())
    for _ in range(data.draw(st.integers(1, 4))):
        text[data.draw(st.integers(0, len(text) - 1))] = data.draw(st.integers(0, 255))
    file.write_bytes(bytes(text))
    try:
        back = load_recording(file)
    except TraceError:
        return
    assert back.means.shape[1] == len(back.labels)
    assert np.isfinite(back.write.g_x.numpy()).all()
