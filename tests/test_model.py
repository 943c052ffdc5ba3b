"""Equations 1 to 18: the network against its twin, its start and its promises."""

from dataclasses import replace

import jaxtyping
import numpy as np
import pytest
import torch

from draw.data import load
from draw.errors import ConfigError
from draw.likelihoods import LIKELIHOODS
from draw.model import DRAW, DRAWConfig, gaussian_kl
from draw.objectives import elbo, log_weight
from tests import twin
from tests.kernels.common import EXTREMES, compare_extreme, network

TINY = DRAWConfig(
    height=6, width=7, glimpses=4, hidden_size=5, latent_size=3, read_size=2, write_size=3
)
ATTENTION = [(None, None), (2, None), (None, 3), (2, 3)]


def tiny_model(seed: int = 0, **changes) -> DRAW:
    """A float64 model, all of whose parameters, initial states too, are away from zero."""
    torch.manual_seed(seed)
    model = DRAW(replace(TINY, **changes)).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return model


def inputs(model: DRAW, batch: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    config = model.config
    x = torch.rand(batch, *config.image_shape, dtype=torch.float64)
    x = (x < 0.4).double() if config.likelihood == "bernoulli" else (255 * x).round() / 255
    eps = torch.randn(config.glimpses, batch, config.latent_size, dtype=torch.float64)
    return x, eps


@pytest.mark.parametrize(("read_size", "write_size"), [*ATTENTION, (1, 1)])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_the_network_equals_its_twin(read_size, write_size, channels, likelihood):
    sizes = {"read_size": read_size, "write_size": write_size, "channels": channels}
    model = tiny_model(**sizes, likelihood=likelihood)
    x, eps = inputs(model)
    trace = model(x, eps=eps, record=True)
    weights = {name: value.numpy() for name, value in model.state_dict().items()}
    for b in range(len(x)):
        given = weights, x[b].numpy(), eps[:, b].numpy()
        expected = twin.draw(*given, read_size, write_size, likelihood)
        for name, got in {
            "canvas": trace.canvas[:, b],
            "kl": trace.kl[:, b],
            "log_likelihood": trace.log_likelihood[b],
            "elbo": elbo(trace)[b],
            "log_weight": log_weight(trace)[b],
        }.items():
            np.testing.assert_allclose(got.detach(), expected[name], rtol=1e-9, err_msg=name)


def test_kl_of_a_hand_computed_case():
    """Z/2 a step is the constant: for mu = 0 and sigma = 1 nothing is left, whatever Z is."""
    assert float(gaussian_kl(torch.zeros(100), torch.zeros(100))) == 0
    one = gaussian_kl(torch.tensor([3.0]), torch.tensor([2.0]).log())
    assert float(one) == pytest.approx(0.5 * (9 + 4 - np.log(4) - 1))


def test_kl_equals_torch_distributions():
    mu, log_sigma = torch.randn(6, 4, 5), torch.randn(6, 4, 5)
    posterior = torch.distributions.Normal(mu, log_sigma.exp())
    prior = torch.distributions.Normal(0.0, 1.0)
    expected = torch.distributions.kl_divergence(posterior, prior).sum(-1)
    torch.testing.assert_close(gaussian_kl(mu, log_sigma), expected)


@pytest.mark.parametrize("mu", [0.0, 1e-20, -1e4, 1e18])
@pytest.mark.parametrize("log_sigma", [-1e30, -1e4, -100.0, -1e-4, 0.0, 40.0])
def test_kl_of_extreme_posteriors(mu, log_sigma):
    """In float32 each of its four terms is rounded, and their sum; nothing else is lost."""
    numbers = [torch.tensor([v], requires_grad=True) for v in (mu, log_sigma)]
    kl = gaussian_kl(*numbers)
    exact = [v.detach().double() for v in numbers]
    terms = torch.stack([exact[0] ** 2, (2 * exact[1]).exp(), -2 * exact[1], -torch.ones(1)])
    assert abs(kl.double() - terms.sum() / 2) <= 4 * 2.0**-24 * terms.abs().sum()
    kl.backward()
    expected = [exact[0], (2 * exact[1]).expm1()]  # mu and sigma^2 - 1
    for number, gradient in zip(numbers, expected, strict=True):
        torch.testing.assert_close(number.grad.double(), gradient, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(("read_size", "write_size"), ATTENTION)
def test_stepwise_equals_unrolled(read_size, write_size):
    model = tiny_model(read_size=read_size, write_size=write_size)
    x, eps = inputs(model)
    trace = model(x, eps=eps, record=True)
    state = model.initial_state(len(x))
    for t in range(model.config.glimpses):
        state, posterior = model.encode_step(x, state, eps[t])
        state, window = model.decode_step(posterior.z, state)
        assert torch.equal(state.canvas, trace.canvas[t])
        assert torch.equal(posterior.mu, trace.mu[t])
        if window is not None:
            assert torch.equal(window.delta, trace.write.delta[t])
        if posterior.window is not None:
            assert torch.equal(posterior.window.g_x, trace.read.g_x[t])


def test_steps_are_pure():
    model = tiny_model()
    x, eps = inputs(model)
    state = model.initial_state(len(x))
    before = [value.clone() for value in state]
    first, posterior = model.encode_step(x, state, eps[0])
    again, _ = model.encode_step(x, state, eps[0])
    model.decode_step(posterior.z, first)
    assert all(torch.equal(a, b) for a, b in zip(before, state, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))


def test_read_and_write_have_windows_of_their_own():
    trace = tiny_model()(inputs(tiny_model())[0], record=True)
    assert not torch.allclose(trace.read.g_x, trace.write.g_x)


def test_generation_is_the_decoder_alone():
    model = tiny_model()
    x, eps = inputs(model)
    trace = model(x, eps=eps, record=True)
    generated = model.generate(len(x), z=trace.z, record=True)
    assert torch.equal(generated.canvas, trace.canvas)
    assert generated.kl is None
    assert generated.read is None
    with torch.no_grad():
        model.encoder.weight_ih.fill_(torch.nan)
    assert torch.isfinite(model.generate(2).canvas).all()


def test_noise_is_fresh_at_each_step_and_decided_by_the_generator():
    model = tiny_model()
    x, _ = inputs(model, batch=1)

    def noise(seed: int) -> torch.Tensor:
        trace = model(x, generator=torch.Generator().manual_seed(seed))
        return (trace.z - trace.mu) / trace.log_sigma.exp()

    assert torch.equal(noise(1), noise(1))
    assert not torch.equal(noise(1), noise(2))
    assert len(noise(1).unique()) == noise(1).numel()


def test_a_trace_keeps_pictures_only_when_asked():
    model = tiny_model()
    x, eps = inputs(model)
    lean, full = model(x, eps=eps), model(x, eps=eps, record=True)
    assert lean.canvas.shape == (1, 3, 1, 6, 7)
    assert lean.read is None
    assert lean.write is None
    assert full.canvas.shape == (4, 3, 1, 6, 7)
    assert full.write.sigma2.shape == (4, 3)
    assert torch.equal(lean.canvas[-1], full.canvas[-1])
    assert torch.equal(lean.kl, full.kl)


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_a_trace_shows_its_canvas_as_the_model_sees_it(likelihood):
    model = tiny_model(channels=3, likelihood=likelihood)
    x, eps = inputs(model)
    for trace in (model(x, eps=eps, record=True), model.generate(3, z=eps, record=True)):
        assert trace.canvas.shape[2:] == model.config.canvas_shape
        assert trace.mean.shape == (4, *x.shape)
        assert torch.equal(trace.mean, model.likelihood.mean(trace.canvas))


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_reconstruct_gives_mean_pictures(likelihood):
    model = tiny_model(likelihood=likelihood)
    x, _ = inputs(model)
    generator = torch.Generator().manual_seed(0)
    pictures = model.reconstruct(x, generator=generator)
    assert pictures.shape == x.shape
    assert ((pictures >= 0) & (pictures <= 1)).all()
    assert len(pictures.unique()) > 10


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_every_parameter_gets_a_gradient(likelihood):
    """Among them the learned initial canvas and states."""
    for read_size, write_size in ATTENTION:
        model = tiny_model(read_size=read_size, write_size=write_size, likelihood=likelihood)
        x, eps = inputs(model)
        elbo(model(x, eps=eps)).mean().backward()
        for name, parameter in model.named_parameters():
            assert parameter.grad.abs().max() > 0, name


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_gradient_of_the_bound(likelihood):
    model = tiny_model(likelihood=likelihood)
    x, eps = inputs(model, batch=1)
    names = ["read_window.bias", "write_window.bias", "canvas_0", "h_enc_0", "h_dec_0"]
    values = [model.get_parameter(name).detach().clone().requires_grad_() for name in names]

    def bound(*values):
        weights = dict(zip(names, values, strict=True))
        return elbo(torch.func.functional_call(model, weights, (x,), {"eps": eps})).sum()

    assert torch.autograd.gradcheck(bound, values)


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_float32_agrees_with_float64_over_many_steps(likelihood):
    model = tiny_model(glimpses=64, likelihood=likelihood)
    x, eps = inputs(model)
    exact = elbo(model(x, eps=eps))
    single = elbo(model.float()(x.float(), eps=eps.float()))
    torch.testing.assert_close(single.double(), exact, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
@pytest.mark.parametrize(("size", "n"), [(9, 3), (9, 1), (2, 1), (2, 3)])
@pytest.mark.parametrize("extreme", EXTREMES)
def test_extreme_windows_in_float32(extreme, size, n, likelihood):
    sizes = {"height": size, "width": size, "read_size": n, "write_size": n}
    compare_extreme(network(engine="plain", likelihood=likelihood, **sizes), *extreme)


# ---------------------------------------------------------------- the start is not blind


@pytest.fixture(scope="module")
def digits() -> torch.Tensor:
    return load("digits5k", "valid").first(64)


@pytest.mark.parametrize("n", [1, 2, 5, 12])
def test_the_first_patch_carries_information(digits, n):
    """The first glimpse tells digits apart: it varies over them in every cell of the patch."""
    torch.manual_seed(0)
    model = DRAW(DRAWConfig(read_size=n))
    _, posterior = model.encode_step(digits, model.initial_state(64), torch.zeros(64, 100))
    from draw import attention

    patch = attention.read(digits, posterior.window, n).flatten(1)
    inside = patch.std(0) > 0.01
    assert inside.float().mean() > 0.5  # the outermost cells of a fine grid see only margin
    assert patch.std(0).max() > 0.03


@pytest.mark.parametrize(("read_size", "write_size"), [(2, 5), (5, 5), (12, 12)])
def test_the_first_gradient_moves_all_window_parameters(digits, read_size, write_size):
    """None of the five is out of reach: each gets at least 1e-4 of the largest."""
    torch.manual_seed(0)
    model = DRAW(DRAWConfig(glimpses=8, read_size=read_size, write_size=write_size))
    (-elbo(model(digits)).mean()).backward()
    for layer in (model.read_window, model.write_window):
        gradient = layer.bias.grad.abs()
        assert gradient.min() > 1e-4 * gradient.max()
        assert gradient.min() > 1e-6


def test_zero_initialisation_would_be_blind(digits):
    """The trap itself: with window parameters at zero the read patch of a digit is black."""
    from draw import attention

    def contrast(params: torch.Tensor) -> float:
        window = Window.from_params(params.expand(64, 5), 28, 28, 2)
        return float(attention.read(digits, window, 2).std(0).max())

    covering = attention.full_image_params(28, 28, 2, for_write=False)
    assert contrast(torch.zeros(5)) < 0.01 < 0.03 < contrast(covering)


# ---------------------------------------------------------------- configuration


@pytest.mark.parametrize(
    "wrong",
    [
        {"height": 0},
        {"width": -3},
        {"channels": 2},
        {"channels": 4},
        {"glimpses": 0},
        {"glimpses": 10**9},
        {"read_size": 0},
        {"write_size": 10**4},
        {"likelihood": "gauss"},
    ],
)
def test_a_wrong_configuration_is_refused_by_name(wrong, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # as outside of the tests
    with pytest.raises(ConfigError, match=f"model.{next(iter(wrong))} is"):
        DRAWConfig(**wrong)


def test_images_of_another_size_are_refused():
    with pytest.raises(ConfigError, match="this model takes"):
        tiny_model()(torch.zeros(2, 1, 7, 6, dtype=torch.float64))
