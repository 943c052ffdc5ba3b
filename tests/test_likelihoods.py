"""Likelihoods D(x | c_T) (eq. 9): against the NumPy twin, and for extreme canvases."""

import numpy as np
import pytest
import torch
from torch import Generator

from draw import likelihoods
from draw.likelihoods import LIKELIHOODS, Bernoulli, CoupledLogistic, DiscretisedLogistic
from tests import twin

LEVELS = torch.arange(256, dtype=torch.float64) / 255
USUAL = [-6.0, -2.0, -0.3, 0.0, 1.7, 5.0]  # canvas values
EXTREME = [*USUAL, -1e30, -1e4, -85.0, 85.0, 1e4, 1e30]


def canvases(values: list[float], dtype: torch.dtype = torch.float64) -> torch.Tensor:
    """Return every pair of values as location and scale, repeated for each level.

    The shape is [pairs, 256, 2, 1, 1].
    """
    pairs = torch.cartesian_prod(*2 * [torch.tensor(values, dtype=dtype)])
    return pairs.view(-1, 1, 2, 1, 1).expand(-1, 256, 2, 1, 1)


def log_masses(canvas: torch.Tensor) -> torch.Tensor:
    """Compute log D of every level for the result of `canvases`, shape [pairs, 256]."""
    x = LEVELS.to(canvas.dtype).view(1, 256, 1, 1, 1).expand(len(canvas), -1, -1, -1, -1)
    return DiscretisedLogistic().log_likelihood(x, canvas)


# ---------------------------------------------------------------------- Bernoulli


def test_bernoulli_equals_torch_distributions():
    canvas = 3 * torch.randn(4, 3, 5, 6, dtype=torch.float64)
    x = torch.bernoulli(torch.full_like(canvas, 0.4))
    expected = torch.distributions.Bernoulli(logits=canvas).log_prob(x).sum((1, 2, 3))
    torch.testing.assert_close(Bernoulli().log_likelihood(x, canvas), expected)


def test_bernoulli_of_an_intensity_is_the_cross_entropy():
    x, p = torch.tensor([[[0.25]]]), 0.7
    canvas = torch.logit(torch.full_like(x, p))
    expected = 0.25 * torch.tensor(p).log() + 0.75 * torch.tensor(1 - p).log()
    assert float(Bernoulli().log_likelihood(x, canvas)) == pytest.approx(float(expected))


@pytest.mark.parametrize("logit", [88.0, 200.0, 1e4, 1e30])
def test_bernoulli_is_finite_for_extreme_logits(logit):
    """A wrong extreme logit costs its magnitude and has a gradient; a correct one costs nothing."""
    canvas = torch.tensor([[[-logit, logit, logit, -logit]]], requires_grad=True)
    nats = Bernoulli().log_likelihood(torch.tensor([[[1.0, 0.0, 1.0, 0.0]]]), canvas)
    nats.backward()
    assert float(nats.detach()) == pytest.approx(-2 * logit)
    assert canvas.grad.flatten().tolist() == pytest.approx([1, -1, 0, 0], abs=1e-30)
    assert Bernoulli().mean(canvas).flatten().tolist() == pytest.approx([0, 1, 1, 0], abs=1e-30)


# ---------------------------------------------------------------------- the discretised logistic


def test_the_masses_of_all_levels_sum_to_one():
    total = log_masses(canvases(EXTREME)).exp().sum(1)
    torch.testing.assert_close(total, torch.ones_like(total), rtol=0, atol=1e-9)


@pytest.mark.parametrize(("likelihood", "K"), [(DiscretisedLogistic(), 6), (CoupledLogistic(), 9)])
def test_the_logistic_equals_the_twin(likelihood, K):
    generator = np.random.default_rng(0)
    x = generator.integers(0, 256, (5, 3, 4, 6)) / 255
    x[:, :, 0] = generator.integers(0, 2, (5, 3, 6))  # include black and white
    canvas = 2 * generator.standard_normal((5, K, 4, 6))
    got = likelihood.log_likelihood(*map(torch.from_numpy, (x, canvas)))
    expected = [twin.discretised_logistic(*pair) for pair in zip(x, canvas, strict=True)]
    np.testing.assert_allclose(got, expected, rtol=1e-10)


def test_every_level_equals_the_twin():
    canvas = canvases(USUAL)
    for got, pair in zip(log_masses(canvas), canvas[:, 0].numpy(), strict=True):
        expected = [twin.discretised_logistic(np.full((1, 1, 1), x), pair) for x in LEVELS.numpy()]
        np.testing.assert_allclose(got, expected, rtol=1e-10, atol=1e-10)


def test_float32_agrees_with_float64():
    exact, single = log_masses(canvases(EXTREME)), log_masses(canvases(EXTREME, torch.float32))
    torch.testing.assert_close(single.double(), exact, rtol=1e-3, atol=1e-3)
    exact, single = log_masses(canvases(USUAL)), log_masses(canvases(USUAL, torch.float32))
    torch.testing.assert_close(single.double(), exact, rtol=1e-5, atol=1e-5)


def test_gradcheck_of_the_logistic():
    x = torch.tensor([0, 1, 100, 128, 254, 255], dtype=torch.float64).view(1, 1, 6) / 255
    canvas = torch.randn(2, 1, 6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda c: DiscretisedLogistic().log_likelihood(x, c), canvas)


def test_the_logistic_is_finite_in_float32():
    canvas = canvases(EXTREME, torch.float32).clone().requires_grad_()
    nats = log_masses(canvas)
    nats.sum().backward()
    assert nats.isfinite().all()
    assert canvas.grad.isfinite().all()


@pytest.mark.parametrize("extreme", [5.0, 85.0, 1e4])
def test_an_extreme_canvas_has_a_gradient_towards_zero(extreme):
    x = torch.full((1, 1, 1), 128 / 255)
    for location, scale in [(extreme, 0.0), (-extreme, 0.0), (0.0, extreme), (1.0, -extreme)]:
        canvas = torch.tensor([location, scale]).view(2, 1, 1).requires_grad_()
        DiscretisedLogistic().log_likelihood(x, canvas).backward()
        slopes = dict(zip(("location", "scale"), canvas.grad.flatten().tolist(), strict=True))
        name, value = ("location", location) if abs(location) == extreme else ("scale", scale)
        assert slopes[name] * value < 0


def test_a_zero_canvas_is_grey_with_scale_one_tenth():
    canvas = torch.zeros(1, 256, 2, 1, 1, dtype=torch.float64)
    assert DiscretisedLogistic().mean(canvas).unique().tolist() == [0.5]
    masses = log_masses(canvas).exp().flatten()
    cdf = 1 / (1 + np.exp((0.5 - 40.5 / 255) / 0.1))  # of levels up to 40
    assert float(masses[:41].sum()) == pytest.approx(cdf, rel=1e-12)


def test_the_logistic_mean_is_the_median_level():
    canvas = canvases([-9.0, -1.9, -0.7, 0.4, 1.3, 1.95, 9.0])
    masses = log_masses(canvas).exp()
    mean = DiscretisedLogistic().mean(canvas)[:, 0].flatten()
    level = (255 * mean).round().long()[:, None]
    cumulative = masses.cumsum(1).gather(1, level).flatten()
    below = cumulative - masses.gather(1, level).flatten()
    assert (cumulative > 0.5 - 1e-9).all()
    assert (below < 0.5 + 1e-9).all()


# ---------------------------------------------------------------------- coupled channels


def test_the_coupled_logistic_equals_the_twin():
    generator = np.random.default_rng(0)
    x = generator.integers(0, 256, (5, 3, 4, 6)) / 255
    x[:, :, 0] = generator.integers(0, 2, (5, 3, 6))  # include black and white
    canvas = 2 * generator.standard_normal((5, 9, 4, 6))
    got = CoupledLogistic().log_likelihood(*map(torch.from_numpy, (x, canvas)))
    expected = [twin.discretised_logistic(*pair) for pair in zip(x, canvas, strict=True)]
    np.testing.assert_allclose(got, expected, rtol=1e-10)


def test_the_masses_of_all_colours_of_a_pixel_sum_to_one(monkeypatch):
    """With 8 levels, a pixel has 512 colours."""
    monkeypatch.setattr(likelihoods, "LEVELS", 8)
    monkeypatch.setattr(likelihoods, "HALF", 1 / 14)
    levels = torch.arange(8, dtype=torch.float64) / 7
    colours = torch.cartesian_prod(levels, levels, levels).view(512, 3, 1, 1)
    for canvas in 3 * torch.randn(20, 9, 1, 1, dtype=torch.float64):
        masses = CoupledLogistic().log_likelihood(colours, canvas.expand(512, -1, -1, -1)).exp()
        assert float(masses.sum()) == pytest.approx(1, abs=1e-12)


def test_the_coupled_logistic_of_a_grey_image_is_the_logistic():
    x, canvas = LEVELS.view(-1, 1, 16, 16), torch.randn(1, 2, 16, 16, dtype=torch.float64)
    independent, coupled = (LIKELIHOODS[name] for name in ("logistic", "coupled-logistic"))
    assert torch.equal(coupled.log_likelihood(x, canvas), independent.log_likelihood(x, canvas))


def test_the_mean_picture_is_that_of_samples_even_where_a_channel_is_saturated():
    """The scale is small, so that little mass is clipped at 0 and 1."""
    canvas = torch.tensor([6.0, 0.0, 0.0, -9, -9, -9, 0, 0, 0]).view(9, 1, 1)
    samples = CoupledLogistic().sample(
        canvas.expand(20_000, -1, -1, -1), Generator().manual_seed(0)
    )
    torch.testing.assert_close(samples.mean(0), CoupledLogistic().mean(canvas), rtol=0, atol=0.01)


def test_correlated_channels_cost_less_with_coupled_channels():
    grey = torch.randint(0, 256, (100, 1, 4, 4), generator=Generator().manual_seed(0)) / 255
    x = grey.expand(-1, 3, -1, -1)  # the channels are equal
    independent = DiscretisedLogistic().log_likelihood(x, torch.zeros(100, 6, 4, 4))
    coupled = CoupledLogistic().log_likelihood(x, torch.zeros(100, 9, 4, 4))
    assert (coupled > independent + 10).all()


@pytest.mark.parametrize("value", [1e4, 1e30])
def test_the_coupled_logistic_is_finite_for_extreme_canvases(value):
    canvas = (value * torch.randn(8, 9, 4, 4)).requires_grad_()
    nats = CoupledLogistic().log_likelihood(torch.rand(8, 3, 4, 4).round(), canvas)
    nats.sum().backward()
    assert nats.isfinite().all()
    assert canvas.grad.isfinite().all()


# ---------------------------------------------------------------------- samples and means


@pytest.mark.parametrize(
    ("name", "K"), [("bernoulli", 3), ("logistic", 6), ("coupled-logistic", 9)]
)
def test_samples_have_the_probabilities_of_the_likelihood(name, K, monkeypatch):
    """Compare the frequencies of the colours of a pixel with two or three levels per channel."""
    n = 2 if name == "bernoulli" else 3
    monkeypatch.setattr(likelihoods, "LEVELS", n)
    monkeypatch.setattr(likelihoods, "HALF", 1 / (2 * n - 2))
    levels = torch.arange(n, dtype=torch.float64) / (n - 1)
    colours = torch.cartesian_prod(levels, levels, levels).view(-1, 3, 1, 1)
    canvas = torch.randn(K, 1, 1, dtype=torch.float64, generator=Generator().manual_seed(3))
    likelihood, count = LIKELIHOODS[name], 200_000
    expected = likelihood.log_likelihood(colours, canvas.expand(len(colours), -1, -1, -1)).exp()
    x = likelihood.sample(canvas.expand(count, -1, -1, -1), Generator().manual_seed(0))
    found = (x == colours[:, None]).all(dim=(2, 3, 4)).sum(1) / count
    assert float(found.sum()) == pytest.approx(1)
    stderr = (expected * (1 - expected) / count).sqrt()
    assert ((found - expected).abs() < 5 * stderr + 1e-12).all()


@pytest.mark.parametrize(
    ("name", "K"), [("bernoulli", 3), ("logistic", 6), ("coupled-logistic", 9)]
)
def test_the_mean_is_a_picture_in_the_range_0_to_1(name, K):
    likelihood = LIKELIHOODS[name]
    assert likelihood.canvas_channels(3) == K
    canvas = 100 * torch.randn(2, 4, K, 5, 6)
    picture = likelihood.mean(canvas)
    assert picture.shape == (2, 4, 3, 5, 6)
    assert ((picture >= 0) & (picture <= 1)).all()
    assert likelihood.mean(canvas[0, 0]).shape == (3, 5, 6)


def test_the_means_of_all_likelihoods_have_the_same_slope_at_zero():
    """The slope is 1/4, so strokes of the same size have the same effect."""
    for likelihood in LIKELIHOODS.values():
        canvas = torch.zeros(likelihood.canvas_channels(1), 1, 1, requires_grad=True)
        likelihood.mean(canvas).sum().backward()
        assert float(canvas.grad[0]) == 0.25
