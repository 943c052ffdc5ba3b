"""The page's model is ours: the same values from the same weights and the same noise."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import safetensors.torch
import torch

from draw import DRAW, DRAWConfig
from draw import page as assembly
from draw.attention import Window
from draw.storage.hub import WEIGHTS

from .chromium import Chromium
from .conftest import TINY, add_blank, at_hand, wild

GREY = DRAWConfig(**TINY, read_size=3, write_size=4)
CONFIGS = {
    "both": GREY,
    "write-alone": replace(GREY, read_size=None),
    "read-alone": replace(GREY, write_size=None),
    "neither": replace(GREY, read_size=None, write_size=None),
    "wide": replace(GREY, width=22),
    "high-colour": replace(GREY, height=19, channels=3),
    "single-filters": replace(GREY, read_size=1, write_size=1),
    "half": GREY,
    "brain-half": GREY,
    "quarter": GREY,
    "paper": DRAWConfig(),
}
DTYPES = {
    "half": torch.float16,
    "brain-half": torch.bfloat16,
    "quarter": torch.float8_e4m3fn,
}
CLOSE = {"rtol": 1e-4, "atol": 1e-4}


@pytest.fixture(scope="module")
def networks() -> dict[str, DRAW]:
    """With the weights that the page gets, in float32."""
    models = {name: wild(config) for name, config in CONFIGS.items()}
    models["paper"] = DRAW(CONFIGS["paper"]).eval()  # as it starts: wild ones overflow in 64 steps
    models["paper"].engine = "plain"
    for name, dtype in DTYPES.items():
        models[name].to(dtype).float()
    return models


@pytest.fixture(scope="module")
def address(networks, serve, tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("numbers") / "site"
    assembly.assemble(folder, networks)
    for name, dtype in DTYPES.items():
        narrow = {key: value.to(dtype) for key, value in networks[name].state_dict().items()}
        safetensors.torch.save_file(narrow, folder / "models" / name / WEIGHTS)
    add_blank(folder)
    url: str = serve(folder)
    return url


@pytest.fixture(scope="module")
def script(browser: Chromium, address: str) -> Any:
    """Runs a script with the page's modules, and `load(name)` for a model."""
    with browser.page() as tab:
        module = at_hand(tab, address)
        yield lambda body: module(
            f"""
            const load = async (name) => {{
                const url = `{address}models/${{name}}/`;
                const config = await (await fetch(url + "config.json")).json();
                const bytes = await (await fetch(url + "model.safetensors")).arrayBuffer();
                return new model.DRAW(config, safetensors.parseSafetensors(bytes));
            }};
            {body}
            """
        )
        assert tab.problems == []


def numbers(values: torch.Tensor) -> str:
    return f"Float32Array.from({json.dumps(values.flatten().tolist())})"


def columns(windows: list[list[dict[str, float]]]) -> Window:
    """The page's windows, [T][B], as ours with fields [T, B]."""
    return Window(*(torch.tensor([[w[k] for w in row] for row in windows]) for k in Window._fields))


@pytest.mark.parametrize("name", CONFIGS)
def test_a_trajectory_is_torchs(script: Callable[[str], Any], networks, name):
    network = networks[name]
    T, Z = network.config.glimpses, network.config.latent_size
    torch.manual_seed(1)
    x = torch.rand(2, *network.config.image_shape)
    eps = torch.randn(T, 2, Z)
    with torch.no_grad():
        expected = network(x, eps=eps, record=True)
        painted = network.generate(2, z=eps, record=True)
    found = script(
        f"""
        const network = await load("{name}");
        const plain = (arrays) => arrays.map((array) => Array.from(array));
        const looked = network.forward({numbers(x)}, {numbers(eps)});
        const painted = network.generate({numbers(eps)}, 2);
        return {{
            canvas: plain(looked.canvas), z: plain(looked.z), kl: plain(looked.kl),
            nats: Array.from(looked.logLikelihood), read: looked.read, write: looked.write,
            painted: plain(painted.canvas), window: painted.write,
        }};
        """
    )
    assert network.config.glimpses == len(found["canvas"])
    for key, value in {"canvas": expected.canvas, "painted": painted.canvas}.items():
        torch.testing.assert_close(torch.tensor(found[key]).view(value.shape), value, **CLOSE)
    torch.testing.assert_close(torch.tensor(found["z"]).view(expected.z.shape), expected.z, **CLOSE)
    torch.testing.assert_close(torch.tensor(found["kl"]), expected.kl, **CLOSE)
    torch.testing.assert_close(torch.tensor(found["nats"]), expected.log_likelihood, **CLOSE)
    for key, window in {
        "read": expected.read,
        "write": expected.write,
        "window": painted.write,
    }.items():
        if window is None:
            assert found[key] == [None] * T
        else:
            torch.testing.assert_close(columns(found[key]), window, **CLOSE)


def test_the_trajectories_go_far_enough_to_tell(networks):
    """Canvases leave their start, and windows move: what is compared above is something."""
    for network in networks.values():
        trace = network.generate(2, record=True)
        assert (trace.canvas[-1] - network.canvas_0).abs().max() > 0.1
        if trace.write is not None and network.config.hidden_size == TINY["hidden_size"]:
            assert all(field.std(0).max() > 0.01 for field in trace.write[:2])


@pytest.mark.parametrize("name", zoo.names("DRAW"))
def test_a_bundled_model_gives_the_bound_that_torch_gives(script, serve, tmp_path, browser, name):
    assembly.assemble(tmp_path / "site", {})
    add_blank(tmp_path / "site")
    network = DRAW.from_pretrained(zoo.find(name) / "model")
    torch.manual_seed(2)
    x = (torch.rand(1, *network.config.image_shape) < 0.2).float()
    eps = torch.randn(network.config.glimpses, 1, network.config.latent_size)
    with torch.no_grad():
        expected = network(x, eps=eps)
    with browser.page() as tab:
        url = serve(tmp_path / "site")
        kl, nats = at_hand(tab, url)(
            f"""
            const url = "{url}models/{name}/";
            const config = await (await fetch(url + "config.json")).json();
            const bytes = await (await fetch(url + "model.safetensors")).arrayBuffer();
            const network = new model.DRAW(config, safetensors.parseSafetensors(bytes));
            const looked = network.forward({numbers(x)}, {numbers(eps)});
            return [looked.kl.map((kl) => kl[0]), looked.logLikelihood[0]];
            """
        )
    torch.testing.assert_close(torch.tensor(kl), expected.kl[:, 0], **CLOSE)
    assert nats == pytest.approx(float(expected.log_likelihood), rel=1e-4)


BROKEN = {
    "no safetensors": "new ArrayBuffer(4)",
    "does not fit": "Uint8Array.from([255, 255, 0, 0, 0, 0, 0, 0, 123]).buffer",
    "are I64": """file('{"a":{"dtype":"I64","shape":[1],"data_offsets":[0,8]}}', 8)""",
    "are cut short": """file('{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}', 8)""",
}


@pytest.mark.parametrize("told", BROKEN)
def test_weights_that_cannot_be_read_are_refused(script, told):
    message = script(
        f"""
        const file = (header, bytes) => {{
            const all = new Uint8Array(8 + header.length + bytes);
            all[0] = header.length;
            all.set(new TextEncoder().encode(header), 8);
            return all.buffer;
        }};
        try {{ safetensors.parseSafetensors({BROKEN[told]}); }} catch (e) {{ return e.message; }}
        """
    )
    assert told in message


def test_weights_of_another_shape_are_refused(script):
    message = script(
        """
        const network = await load("both");
        const config = { ...network.config, hidden_size: 17 };
        const bytes = await (await fetch("models/both/model.safetensors")).arrayBuffer();
        const tensors = safetensors.parseSafetensors(bytes);
        try { new model.DRAW(config, tensors); } catch (error) { return error.message; }
        """
    )
    assert message == "the weights encoder.weight_ih are [64,34]; the model needs [68,35]"
