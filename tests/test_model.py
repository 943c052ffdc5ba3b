"""The network (eqs. 1-18): against the NumPy twin, its gradients, traces and initialisation."""

import copy
from dataclasses import fields, replace

import numpy as np
import pytest
import torch

from draw import attention
from draw.attention import Window
from draw.data import load
from draw.errors import ConfigError, TraceError
from draw.likelihoods import LIKELIHOODS
from draw.model import DRAW, DRAWConfig, gaussian_kl
from draw.objectives import elbo, log_weight
from draw.trace import Trace
from tests import twin
from tests.kernels.common import EXTREMES, compare_extreme, network

TINY = DRAWConfig(
    height=6, width=7, glimpses=4, hidden_size=5, latent_size=3, read_size=2, write_size=3
)
ATTENTION = [(None, None), (2, None), (None, 3), (2, 3)]


def tiny_model(seed: int = 0, **changes) -> DRAW:
    """Create a float64 model in which no parameter is zero."""
    torch.manual_seed(seed)
    model = DRAW(replace(TINY, **changes)).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return model


def inputs(model: DRAW, batch: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    """Return random images and noise for a model."""
    config = model.config
    x = torch.rand(batch, *config.image_shape, dtype=torch.float64)
    x = (x < 0.4).double() if config.likelihood == "bernoulli" else (255 * x).round() / 255
    return x, torch.randn(model.noise_shape(batch), dtype=torch.float64)


@pytest.mark.parametrize(("read_size", "write_size"), [*ATTENTION, (1, 1)])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_the_network_equals_the_twin(read_size, write_size, channels, likelihood):
    sizes = {"read_size": read_size, "write_size": write_size, "channels": channels}
    model = tiny_model(**sizes, likelihood=likelihood)
    x, eps = inputs(model)
    trace = model(x, eps=eps, record=True)
    weights = {name: value.numpy() for name, value in model.state_dict().items()}
    for b in range(len(x)):
        given = weights, x[b].numpy(), eps[:, b].numpy()
        expected = twin.draw(*given, read_size, write_size, likelihood)
        for name, value in {
            "canvas": trace.canvas[b],
            "canvases": trace.canvases[:, b],
            "kl": trace.kl[:, b],
            "log_likelihood": trace.log_likelihood[b],
            "elbo": elbo(trace)[b],
            "log_weight": log_weight(trace)[b],
        }.items():
            np.testing.assert_allclose(value.detach(), expected[name], rtol=1e-9, err_msg=name)


def test_kl_of_hand_computed_cases():
    """The constant is Z/2 per glimpse: a posterior equal to the prior has KL 0 for every Z."""
    assert float(gaussian_kl(torch.zeros(100), torch.zeros(100))) == 0
    kl = gaussian_kl(torch.tensor([3.0]), torch.tensor([2.0]).log())
    assert float(kl) == pytest.approx(0.5 * (9 + 4 - np.log(4) - 1))


def test_kl_equals_torch_distributions():
    mu, log_sigma = torch.randn(6, 4, 5), torch.randn(6, 4, 5)
    posterior = torch.distributions.Normal(mu, log_sigma.exp())
    prior = torch.distributions.Normal(0.0, 1.0)
    expected = torch.distributions.kl_divergence(posterior, prior).sum(-1)
    torch.testing.assert_close(gaussian_kl(mu, log_sigma), expected)


@pytest.mark.parametrize("mu", [0.0, 1e-20, -1e4, 1e18])
@pytest.mark.parametrize("log_sigma", [-1e30, -1e4, -100.0, -1e-4, 0.0, 40.0])
def test_kl_of_extreme_posteriors(mu, log_sigma):
    """In float32 the only error is the rounding of the four terms and of their sum."""
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
def test_a_loop_over_the_steps_equals_forward(read_size, write_size):
    model = tiny_model(read_size=read_size, write_size=write_size)
    x, eps = inputs(model)
    trace = model(x, eps=eps, record=True)
    state = model.initial_state(len(x))
    for t in range(model.config.glimpses):
        state, output = model.encode_step(x, state, eps[t])
        state, write_window = model.decode_step(output.z, state)
        assert torch.equal(state.canvas, trace.canvases[t])
        assert torch.equal(output.mu, trace.mu[t])
        if write_window is not None:
            assert torch.equal(write_window.delta, trace.write_window.delta[t])
        if output.window is not None:
            assert torch.equal(output.window.g_x, trace.read_window.g_x[t])


def test_the_steps_are_pure():
    model = tiny_model()
    x, eps = inputs(model)
    state = model.initial_state(len(x))
    before = [value.clone() for value in state]
    first, output = model.encode_step(x, state, eps[0])
    second, _ = model.encode_step(x, state, eps[0])
    model.decode_step(output.z, first)
    assert all(torch.equal(a, b) for a, b in zip(before, state, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_read_and_write_have_separate_windows():
    model = tiny_model()
    trace = model(inputs(model)[0], record=True)
    assert not torch.allclose(trace.read_window.g_x, trace.write_window.g_x)


# ---------------------------------------------------------------------- generation


def test_generation_runs_the_decoder_only():
    model = tiny_model()
    x, eps = inputs(model)
    trace = model(x, eps=eps, record=True)
    generated = model.generate(len(x), z=trace.z, record=True)
    assert torch.equal(generated.canvases, trace.canvases)
    assert (generated.kl, generated.read_window) == (None, None)
    with torch.no_grad():
        model.encoder.weight_ih.fill_(torch.nan)
    assert torch.isfinite(model.generate(2).canvas).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])  # float32 may run fused
def test_generation_tracks_gradients_only_on_request(dtype):
    model = tiny_model().to(dtype)
    z = torch.randn(model.noise_shape(2), dtype=dtype, requires_grad=True)
    assert not model.generate(2, z=z).canvas.requires_grad
    assert not model.generate(2).mean.requires_grad
    model.generate(2, z=z, requires_grad=True).canvas.sum().backward()
    assert z.grad.abs().max() > 0
    assert model.canvas_0.grad.abs().max() > 0
    assert model.encoder.weight_ih.grad is None
    with torch.no_grad():
        assert not model.generate(2, z=z, requires_grad=True).canvas.requires_grad


def test_noise_is_independent_for_each_glimpse_and_fixed_by_the_generator():
    model = tiny_model()
    x, _ = inputs(model, batch=1)

    def noise(seed: int) -> torch.Tensor:
        trace = model(x, generator=torch.Generator().manual_seed(seed))
        return (trace.z - trace.mu) / trace.log_sigma.exp()

    assert torch.equal(noise(1), noise(1))
    assert not torch.equal(noise(1), noise(2))
    assert len(noise(1).unique()) == noise(1).numel()


# ---------------------------------------------------------------------- traces


def test_a_trace_keeps_canvases_and_windows_only_on_request():
    model = tiny_model()
    x, eps = inputs(model)
    lean, full = model(x, eps=eps), model(x, eps=eps, record=True)
    assert (lean.canvases, lean.read_window, lean.write_window) == (None, None, None)
    with pytest.raises(TraceError, match="make it with record=True"):
        _ = lean.means
    assert full.canvases.shape == (4, 3, 1, 6, 7)
    assert full.write_window.sigma2.shape == (4, 3)
    assert torch.equal(full.canvas, full.canvases[-1])
    assert torch.equal(lean.canvas, full.canvas)
    assert torch.equal(lean.kl, full.kl)


def test_a_trace_states_its_likelihood():
    with pytest.raises(TypeError, match="likelihood"):
        Trace(canvas=torch.zeros(2, 2, 6, 7), z=torch.zeros(1, 2, 3))


def test_the_tensors_of_a_trace_can_be_converted():
    """As in `apply_to_collection` of Lightning, which sets the fields of a shallow copy."""
    model = tiny_model()
    x, eps = inputs(model)
    trace = model(x, eps=eps, record=True)
    values = {field.name: getattr(trace, field.name) for field in fields(trace)}
    converted = copy.deepcopy(trace, {id(value): value for value in values.values()})
    for name, value in values.items():
        if isinstance(value, torch.Tensor):
            setattr(converted, name, value.float())
    assert converted.canvas.dtype == converted.mean.dtype == torch.float32
    torch.testing.assert_close(elbo(converted), elbo(trace).float())
    assert trace.canvas.dtype == torch.float64


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_the_pictures_of_a_trace_are_the_means_of_its_canvases(likelihood):
    model = tiny_model(channels=3, likelihood=likelihood)
    x, eps = inputs(model)
    for trace in (model(x, eps=eps, record=True), model.generate(3, z=eps, record=True)):
        assert trace.canvas.shape == (3, *model.config.canvas_shape)
        assert trace.mean.shape == x.shape
        assert torch.equal(trace.mean, model.likelihood.mean(trace.canvas))
        assert torch.equal(trace.means, model.likelihood.mean(trace.canvases))


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_reconstruct_returns_pictures(likelihood):
    model = tiny_model(likelihood=likelihood)
    x, _ = inputs(model)
    pictures = model.reconstruct(x, generator=torch.Generator().manual_seed(0))
    trace = model(x, generator=torch.Generator().manual_seed(0))
    assert torch.equal(pictures, trace.mean)
    assert not pictures.requires_grad
    assert ((pictures >= 0) & (pictures <= 1)).all()


# ---------------------------------------------------------------------- gradients and precision


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_every_parameter_has_a_gradient(likelihood):
    for read_size, write_size in ATTENTION:
        model = tiny_model(read_size=read_size, write_size=write_size, likelihood=likelihood)
        x, eps = inputs(model)
        elbo(model(x, eps=eps)).mean().backward()
        for name, parameter in model.named_parameters():
            assert parameter.grad.abs().max() > 0, name


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_gradcheck_of_the_bound(likelihood):
    model = tiny_model(likelihood=likelihood, height=4, width=5, glimpses=3)
    x, eps = inputs(model, batch=1)
    names = ["read_window.bias", "write_window.bias", "canvas_0", "h_enc_0", "h_dec_0"]
    values = [model.get_parameter(name).detach().clone().requires_grad_() for name in names]

    def bound(*values):
        weights = dict(zip(names, values, strict=True))
        return elbo(torch.func.functional_call(model, weights, (x,), {"eps": eps})).sum()

    assert torch.autograd.gradcheck(bound, values)


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_float32_agrees_with_float64_over_64_glimpses(likelihood):
    model = tiny_model(glimpses=64, likelihood=likelihood)
    x, eps = inputs(model)
    exact = elbo(model(x, eps=eps))
    single = elbo(model.float()(x.float(), eps=eps.float()))
    torch.testing.assert_close(single.double(), exact, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
@pytest.mark.parametrize(("size", "n"), [(9, 3), (9, 1), (2, 1), (2, 3)])
@pytest.mark.parametrize("extreme", EXTREMES)
def test_float32_is_accurate_for_extreme_windows(extreme, size, n, likelihood):
    sizes = {"height": size, "width": size, "read_size": n, "write_size": n}
    compare_extreme(network(engine="plain", likelihood=likelihood, **sizes), *extreme)


# ---------------------------------------------------------------------- initialisation


@pytest.fixture(scope="module")
def digits() -> torch.Tensor:
    return load("digits5k", "valid").first(64)


@pytest.mark.parametrize("n", [1, 2, 5, 12])
def test_the_first_read_patch_varies_over_digits(digits, n):
    torch.manual_seed(0)
    model = DRAW(DRAWConfig(read_size=n))
    _, output = model.encode_step(digits, model.initial_state(64), torch.zeros(64, 100))
    patch = attention.read(digits, output.window, n).flatten(1)
    varies = patch.std(0) > 0.01
    assert varies.float().mean() > 0.5  # the outermost cells of a fine grid see only the margin
    assert patch.std(0).max() > 0.03


@pytest.mark.parametrize(("read_size", "write_size"), [(2, 5), (5, 5), (12, 12)])
def test_the_first_gradient_reaches_all_window_parameters(digits, read_size, write_size):
    """Each of the five gets at least 1e-4 of the largest gradient."""
    torch.manual_seed(0)
    model = DRAW(DRAWConfig(glimpses=8, read_size=read_size, write_size=write_size))
    (-elbo(model(digits)).mean()).backward()
    for layer in (model.read_window, model.write_window):
        gradient = layer.bias.grad.abs()
        assert gradient.min() > 1e-4 * gradient.max()
        assert gradient.min() > 1e-6


def test_zero_window_parameters_would_read_only_the_black_corners(digits):
    def contrast(params: torch.Tensor) -> float:
        window = Window.from_params(params.expand(64, 5), 28, 28, 2)
        return float(attention.read(digits, window, 2).std(0).max())

    initial = attention.full_image_params(28, 28, 2, for_write=False)
    assert contrast(torch.zeros(5)) < 0.01 < 0.03 < contrast(initial)


# ---------------------------------------------------------------------- errors


INVALID = {
    "height": (1, 1025),
    "width": (1, 1025),
    "channels": (0, 2, 4),
    "glimpses": (0, 4097),
    "hidden_size": (0, 8193),
    "latent_size": (0, 8193),
    "read_size": (0, 129),
    "write_size": (0, 129),
    "likelihood": ("gauss",),
}


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in INVALID.items() for value in values]
)
def test_an_invalid_configuration_names_the_field(name, value, untyped):
    with pytest.raises(ConfigError, match=f"model.{name} is"):
        DRAWConfig(**{name: value})


def test_images_of_another_size_are_an_error():
    with pytest.raises(ConfigError, match="this model takes"):
        tiny_model()(torch.zeros(2, 1, 7, 6, dtype=torch.float64))
