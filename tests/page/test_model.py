"""The page's model computes what PyTorch computes from the same weights and noise."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import safetensors.torch
import torch
from playwright.sync_api import Browser

from draw import DRAW, DRAWConfig, zoo
from draw.attention import Window
from draw.page import build_site
from draw.storage.hub import WEIGHTS

from .conftest import TINY, add_blank, new_page, wild, with_modules

GREY = DRAWConfig(**TINY, read_size=3, write_size=4)
CONFIGS = {
    "both": GREY,
    "write-alone": replace(GREY, read_size=None),
    "read-alone": replace(GREY, write_size=None),
    "neither": replace(GREY, read_size=None, write_size=None),
    "wide": replace(GREY, width=22),
    "high-colour": replace(GREY, height=19, channels=3),
    "colour-logistic": replace(GREY, width=10, channels=3, likelihood="logistic"),
    "colour-coupled": replace(GREY, width=10, channels=3, likelihood="coupled-logistic"),
    "coupled-neither": replace(
        GREY, channels=3, likelihood="coupled-logistic", read_size=None, write_size=None
    ),
    "grey-logistic": replace(GREY, likelihood="logistic"),
    "single-filters": replace(GREY, read_size=1, write_size=1),
    "half": GREY,
    "brain-half": GREY,
    "quarter": GREY,
}
DTYPES = {"half": torch.float16, "brain-half": torch.bfloat16, "quarter": torch.float8_e4m3fn}
CLOSE = {"rtol": 1e-4, "atol": 1e-4}


@pytest.fixture(scope="module")
def networks() -> dict[str, DRAW]:
    """Models whose float32 weights equal those that the page reads."""
    models = {name: wild(config) for name, config in CONFIGS.items()}
    for name, dtype in DTYPES.items():
        models[name].to(dtype).float()
    return models


@pytest.fixture(scope="module")
def address(networks, serve, tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("numbers") / "site"
    build_site(folder, networks)
    for name, dtype in DTYPES.items():
        narrow = {key: value.to(dtype) for key, value in networks[name].state_dict().items()}
        safetensors.torch.save_file(narrow, folder / "models" / name / WEIGHTS)
    add_blank(folder)
    url: str = serve(folder)
    return url


@pytest.fixture(scope="module")
def script(browser: Browser, address: str) -> Any:
    """Run a script with the page's modules, `load(name, scalar)` and `run(steps)`."""
    with new_page(browser) as page:
        module = with_modules(page, address)
        yield lambda body: module(
            f"""
            const load = async (name, scalar = false) => {{
                const url = `{address}models/${{name}}/`;
                const config = await (await fetch(url + "config.json")).json();
                const bytes = await (await fetch(url + "model.safetensors")).arrayBuffer();
                const layer = scalar ? layers.scalarLayer : await layers.loadLayers();
                return new model.DRAW(config, safetensors.parseSafetensors(bytes), layer);
            }};
            const run = (steps) => {{
                for (;;) {{
                    const {{ value, done }} = steps.next();
                    if (done) return value;
                }}
            }};
            {body}
            """
        )
        assert page.problems == []


def numbers(values: torch.Tensor) -> str:
    return f"Float32Array.from({json.dumps(values.flatten().tolist())})"


def columns(windows: list[list[dict[str, float]]]) -> Window:
    """Convert the page's windows [T][B] to a Window with fields [T, B]."""
    return Window(*(torch.tensor([[w[k] for w in row] for row in windows]) for k in Window._fields))


@torch.no_grad()
def inside(network: DRAW, x: torch.Tensor, eps: torch.Tensor) -> dict[str, torch.Tensor]:
    """What the network computes inside each glimpse [T, B, ...]."""
    state = network.initial_state(len(x))
    seen = []
    network.encoder.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    glimpses: dict[str, list[torch.Tensor]] = {}
    for eps_t in eps:
        state, output = network.encode_step(x, state, eps_t)
        r = seen.pop()[:, : -network.config.hidden_size]
        state, _ = network.decode_step(output.z, state)
        now = {"r": r, "h_enc": state.h_enc, "mu": output.mu, "log_sigma": output.log_sigma}
        now |= {"z": output.z, "h_dec": state.h_dec, "w": network.patch(state.h_dec)}
        for key, value in now.items():
            glimpses.setdefault(key, []).append(value)
    return {key: torch.stack(values) for key, values in glimpses.items()}


@pytest.mark.parametrize(
    ("name", "scalar"),
    [*((name, "false") for name in CONFIGS), ("both", "true"), ("coupled-neither", "true")],
)
def test_a_trace_equals_that_in_pytorch(script: Callable[[str], Any], networks, name, scalar):
    """With the kernel, and without it; `test_kernel.py` compares each layer of the two."""
    network = networks[name]
    T, Z = network.config.glimpses, network.config.latent_size
    torch.manual_seed(1)
    x = torch.randint(256, (2, *network.config.image_shape)) / 255
    eps = torch.randn(T, 2, Z)
    with torch.no_grad():
        expected = network(x, eps=eps, record=True)
        generated = network.generate(2, z=eps, record=True)
    found = script(
        f"""
        const network = await load("{name}", {scalar});
        const plain = (arrays) => arrays.map((array) => Array.from(array));
        const encoded = run(network.forward({numbers(x)}, {numbers(eps)}));
        const generated = run(network.generate({numbers(eps)}, 2));
        return {{
            canvas: plain(encoded.canvases), z: plain(encoded.z), kl: plain(encoded.kl),
            nats: Array.from(encoded.logLikelihood),
            read: encoded.read_window, write: encoded.write_window,
            inside: encoded.glimpses.map((glimpse) => Object.fromEntries(
                Object.entries(glimpse).map(([name, values]) => [name, Array.from(values)]))),
            generated: plain(generated.canvases), generated_write: generated.write_window,
        }};
        """
    )
    assert network.config.glimpses == len(found["canvas"])
    for key, value in {"canvas": expected.canvases, "generated": generated.canvases}.items():
        torch.testing.assert_close(torch.tensor(found[key]).view(value.shape), value, **CLOSE)
    torch.testing.assert_close(torch.tensor(found["z"]).view(expected.z.shape), expected.z, **CLOSE)
    torch.testing.assert_close(torch.tensor(found["kl"]), expected.kl, **CLOSE)
    torch.testing.assert_close(torch.tensor(found["nats"]), expected.log_likelihood, **CLOSE)
    for key, value in inside(network, x, eps).items():
        shown = torch.tensor([each[key] for each in found["inside"]]).view(value.shape)
        torch.testing.assert_close(shown, value, **CLOSE)
    for key, window in {
        "read": expected.read_window,
        "write": expected.write_window,
        "generated_write": generated.write_window,
    }.items():
        if window is None:
            assert found[key] == [None] * T
        else:
            torch.testing.assert_close(columns(found[key]), window, **CLOSE)


def test_the_compared_traces_are_not_trivial(networks):
    """Canvases change and windows move."""
    for network in networks.values():
        trace = network.generate(2, record=True)
        assert (trace.canvas - network.canvas_0).abs().max() > 0.1
        if trace.write_window is not None and network.config.hidden_size == TINY["hidden_size"]:
            assert all(field.std(0).max() > 0.01 for field in trace.write_window[:2])


@pytest.mark.parametrize("name", zoo.names("DRAW"))
def test_the_bound_of_a_bundled_model_equals_that_in_pytorch(script, name):
    network = DRAW.from_pretrained(zoo.find(name) / "model")
    torch.manual_seed(2)
    x = (torch.rand(1, *network.config.image_shape) < 0.2).float()
    eps = torch.randn(network.config.glimpses, 1, network.config.latent_size)
    with torch.no_grad():
        expected = network(x, eps=eps)
    kl, nats = script(
        f"""
        const network = await load("{name}");
        const encoded = run(network.forward({numbers(x)}, {numbers(eps)}));
        return [encoded.kl.map((kl) => kl[0]), encoded.logLikelihood[0]];
        """
    )
    torch.testing.assert_close(torch.tensor(kl), expected.kl[:, 0], **CLOSE)
    assert nats == pytest.approx(float(expected.log_likelihood), rel=1e-4)


BROKEN = {  # message -> script that makes the file
    "not a safetensors file: it is too short": "new ArrayBuffer(4)",
    "the header does not fit": "Uint8Array.from([255, 255, 0, 0, 0, 0, 0, 0, 123]).buffer",
    "has dtype I64": """file('{"a":{"dtype":"I64","shape":[1],"data_offsets":[0,8]}}', 8)""",
    "is truncated": """file('{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}', 8)""",
}


@pytest.mark.parametrize("expected", BROKEN)
def test_damaged_weights_are_rejected(script, expected):
    message = script(
        f"""
        const file = (header, size) => {{
            const all = new Uint8Array(8 + header.length + size);
            all[0] = header.length;
            all.set(new TextEncoder().encode(header), 8);
            return all.buffer;
        }};
        const bytes = {BROKEN[expected]};
        try {{ safetensors.parseSafetensors(bytes); }} catch (error) {{ return error.message; }}
        """
    )
    assert expected in message


def test_weights_of_another_shape_are_rejected(script):
    message = script(
        """
        const network = await load("both");
        const config = { ...network.config, hidden_size: 17 };
        const bytes = await (await fetch("models/both/model.safetensors")).arrayBuffer();
        const tensors = safetensors.parseSafetensors(bytes);
        try { new model.DRAW(config, tensors); } catch (error) { return error.message; }
        """
    )
    assert message == "encoder.weight_ih has shape [64,34]; this model needs shape [68,35]"
