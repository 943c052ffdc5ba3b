"""The page's likelihoods compute what `draw.likelihoods` computes."""

import json
from typing import Any

import pytest
import torch

from draw.likelihoods import LIKELIHOODS

CASES = [(name, channels) for name in LIKELIHOODS for channels in (1, 3)]
H, W = 4, 5


def image_and_canvas(name: str, channels: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Every third level and both ends of the range, and canvases from moderate to extreme."""
    torch.manual_seed(3)
    levels = torch.randint(256, (channels, H, W))
    levels[:, 0] = torch.tensor([0, 0, 255, 255, 128])
    x = levels.double() / 255 if name != "bernoulli" else (levels > 127).double()
    canvas = torch.randn(LIKELIHOODS[name].canvas_channels(channels), H, W).double()
    canvas[..., -1, :] *= 30
    return x, canvas.float().double()  # the page's canvases are float32


def run(
    module, name: str, channels: int, x: torch.Tensor, canvas: torch.Tensor, result: str
) -> Any:
    return module(
        f"""
        const likelihood = likelihoods.LIKELIHOODS["{name}"];
        const x = {json.dumps(x.flatten().tolist())};
        const canvas = Float32Array.from({json.dumps(canvas.flatten().tolist())});
        const channels = {channels};
        return {result};
        """
    )


@pytest.mark.parametrize(("name", "channels"), CASES)
def test_means_and_log_likelihoods_equal_those_in_python(module, name, channels):
    likelihood = LIKELIHOODS[name]
    x, canvas = image_and_canvas(name, channels)
    found = run(
        *(module, name, channels, x, canvas),
        """{
            planes: likelihood.canvasChannels(channels),
            mean: [...likelihood.mean(canvas, channels)],
            nats: likelihood.logLikelihood(x, canvas, channels),
        }""",
    )
    assert found["planes"] == likelihood.canvas_channels(channels)
    mean = torch.tensor(found["mean"], dtype=torch.float64).view(x.shape)
    torch.testing.assert_close(mean, likelihood.mean(canvas), rtol=0, atol=1e-7)
    assert found["nats"] == pytest.approx(float(likelihood.log_likelihood(x, canvas)), rel=1e-9)


@pytest.mark.parametrize(("name", "channels"), CASES)
def test_samples_of_the_same_uniform_numbers_equal_those_in_python(
    module, monkeypatch, name, channels
):
    x, canvas = image_and_canvas(name, channels)
    u = torch.rand(x.shape, dtype=torch.float64)
    found = run(
        *(module, name, channels, x, canvas),
        f"""[...likelihood.sample(canvas, channels,
            (() => {{ const u = {json.dumps(u.flatten().tolist())}.values();
            return () => u.next().value; }})())]""",
    )
    monkeypatch.setattr(torch, "rand", lambda *shape, **options: u)
    monkeypatch.setattr(torch, "bernoulli", lambda mean, generator: (u < mean).double())
    expected = LIKELIHOODS[name].sample(canvas)
    sample = torch.tensor(found, dtype=torch.float64).view(x.shape)
    torch.testing.assert_close(sample, expected, rtol=0, atol=1e-7)
    assert len(sample.unique()) > 1
