"""Equation 9."""

import pytest
import torch

from draw import likelihoods


def test_equals_torch_distributions():
    canvas = 3 * torch.randn(4, 3, 5, 6, dtype=torch.float64)
    x = torch.bernoulli(torch.full_like(canvas, 0.4))
    expected = torch.distributions.Bernoulli(logits=canvas).log_prob(x).sum((1, 2, 3))
    torch.testing.assert_close(likelihoods.log_likelihood(x, canvas), expected)


def test_intensities_give_the_cross_entropy():
    x, p = torch.tensor([[[0.25]]]), 0.7
    canvas = torch.logit(torch.full_like(x, p))
    expected = 0.25 * torch.tensor(p).log() + 0.75 * torch.tensor(1 - p).log()
    assert float(likelihoods.log_likelihood(x, canvas)) == pytest.approx(float(expected))


def test_runaway_canvases_stay_finite():
    canvas = torch.tensor([[[-1e4, 1e4, 88.0, -200.0]]], requires_grad=True)
    nats = likelihoods.log_likelihood(torch.tensor([[[1.0, 0.0, 0.0, 1.0]]]), canvas)
    nats.backward()
    assert float(nats.detach()) == pytest.approx(-(1e4 + 1e4 + 88 + 200))
    assert torch.isfinite(canvas.grad).all()
