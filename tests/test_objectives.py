"""The bounds on log p(x): how they relate to each other, and extreme values."""

import math

import pytest
import torch

from draw.data import Images
from draw.errors import TraceError
from draw.evaluation import evaluate
from draw.likelihoods import LIKELIHOODS
from draw.model import DRAW, DRAWConfig
from draw.objectives import bits_per_dim, elbo, iwae, log_weight
from draw.trace import Trace

CONFIG = DRAWConfig(height=6, width=6, glimpses=3, hidden_size=8, latent_size=4, write_size=3)


@pytest.fixture
def model() -> DRAW:
    torch.manual_seed(1)
    model = DRAW(CONFIG)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.5 * torch.randn_like(parameter))
    return model


@pytest.fixture
def images() -> Images:
    generator = torch.Generator().manual_seed(0)
    bits = torch.bernoulli(torch.full((12, 1, 6, 6), 0.3), generator=generator)
    return Images(pixels=(255 * bits).to(torch.uint8), binarisation="static")


def test_log_weight_equals_torch_distributions(model):
    x = torch.bernoulli(torch.full((5, 1, 6, 6), 0.3))
    trace = model(x)
    q = torch.distributions.Normal(trace.mu, trace.log_sigma.exp()).log_prob(trace.z)
    p = torch.distributions.Normal(0.0, 1.0).log_prob(trace.z)
    expected = trace.log_likelihood + (p - q).sum((0, 2))
    torch.testing.assert_close(log_weight(trace), expected, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("log_sigma", [-5.0, -20.0, -100.0, -1000.0])
@torch.no_grad()
def test_log_weight_of_a_sharp_posterior(log_sigma):
    """Even where sigma is lost in the rounding of z, because the weight uses the noise itself."""
    generator = torch.Generator().manual_seed(0)
    mu, eps = (torch.randn(3, 5, 4, generator=generator) for _ in range(2))
    z = mu + eps * torch.tensor(log_sigma).exp()
    log_sigmas = torch.full_like(mu, log_sigma)
    trace = Trace(
        canvas=torch.zeros(5, 1, 6, 6),
        z=z,
        eps=eps,
        mu=mu,
        log_sigma=log_sigmas,
        log_likelihood=torch.zeros(5),
        likelihood=LIKELIHOODS["bernoulli"],
    )
    exact = (eps.double() ** 2 - z.double() ** 2) / 2 + log_sigmas
    torch.testing.assert_close(log_weight(trace).double(), exact.sum((0, 2)), rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_the_mean_log_weight_is_the_elbo(model, images):
    """The sampled KL has the closed form as its expectation."""
    x = images.first(1).expand(20_000, -1, -1, -1)
    trace = model(x, generator=torch.Generator().manual_seed(0))
    difference = log_weight(trace) - elbo(trace)
    stderr = difference.std() / math.sqrt(len(x))
    assert abs(difference.mean()) < 4 * stderr


def test_iwae_of_one_sample_is_the_log_weight(model, images):
    weights = log_weight(model(images.first(12)))
    assert torch.equal(iwae(weights[None]), weights)


def test_iwae_is_the_log_mean_weight():
    log_weights = torch.randn(50, 3, dtype=torch.float64)
    torch.testing.assert_close(iwae(log_weights), log_weights.exp().mean(0).log())


@pytest.mark.parametrize("k", [1, 2, 5_000])
@pytest.mark.parametrize("best", [-2e5, -80.0, 0.0])
def test_iwae_of_extremely_different_weights(k, best):
    """A sample that is e^100,000 times as likely as all others determines the bound."""
    log_weights = torch.full((k, 3), best - 1e5)
    log_weights[k // 2] = best
    log_weights.requires_grad_()
    bound = iwae(log_weights)
    torch.testing.assert_close(bound, torch.full((3,), best - math.log(k)))
    bound.sum().backward()
    assert torch.equal(log_weights.grad, (log_weights == best).float())


def test_iwae_grows_with_k(model, images):
    """It grows in expectation; between k = 1, 10 and 200 it grows by far more than the noise."""
    bounds = [evaluate(model, images, importance_samples=k).iwae[0].nats for k in (1, 10, 200)]
    assert bounds[0] + 1 < bounds[1] < bounds[2] - 0.5


def test_bits_per_dim():
    assert bits_per_dim(-784 * math.log(2), 784) == pytest.approx(1)
    assert bits_per_dim(-80.97, 784) == pytest.approx(80.97 / 784 / math.log(2))


def test_the_bound_of_a_generated_trace_is_an_error(model):
    with pytest.raises(TraceError, match="no bound"):
        elbo(model.generate(2))
    with pytest.raises(TraceError, match="no bound"):
        log_weight(model.generate(2))
