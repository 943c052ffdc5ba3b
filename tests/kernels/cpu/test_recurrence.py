"""The fused engine against the plain path: the same values, the same gradients."""

from collections.abc import Iterator

import pytest
import torch

from draw import kernels
from draw.kernels.cpu import recurrence
from draw.model import DRAW, DRAWConfig
from draw.objectives import elbo

from ..common import (
    EXTREMES,
    KINDS,
    LOSSES,
    SMALL,
    TOLERANCE,
    VALUES,
    blacken_and_whiten,
    compare,
    compare_extreme,
    error,
    inputs,
    network,
    plain64,
)

pytestmark = pytest.mark.skipif(not kernels.available(), reason="no compiler, or no MKL")


@pytest.fixture(params=[1, 2, 5])
def threads(request) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize(
    ("read_size", "write_size"),
    [(None, None), (2, None), (None, 3), (2, 5), (1, 1), (3, 2), (12, 12)],
)
def test_every_attention_on_every_kind_of_picture(read_size, write_size, kind):
    compare(network(read_size=read_size, write_size=write_size, **kind))


@pytest.mark.parametrize("read_size", [2, None])
@pytest.mark.parametrize("likelihood", ["bernoulli", "logistic"])
def test_canvases_beyond_black_and_white(likelihood, read_size):
    model = network(likelihood=likelihood, read_size=read_size)
    blacken_and_whiten(model)
    compare(model, loss="all")


@pytest.mark.parametrize("batch", [1, 2, 3, 7, 64])
def test_every_batch_and_number_of_threads(batch, threads):
    compare(network(), batch=batch)
    compare(network(read_size=None, write_size=None), batch=batch)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize(("read_size", "write_size"), [(2, 5), (None, None)])
def test_gradients_enter_by_every_output(loss, read_size, write_size):
    compare(network(read_size=read_size, write_size=write_size), loss=loss)


@pytest.mark.parametrize(("height", "width"), [(2, 2), (16, 5), (5, 33), (54, 54)])
def test_every_shape_of_image(height, width):
    compare(network(height=height, width=width))


@pytest.mark.parametrize("glimpses", [1, 2, 64])
def test_every_number_of_steps(glimpses):
    compare(network(glimpses=glimpses), batch=5)


def test_the_papers_network():
    """All sizes as in table 3; more rows than one product of a weight's gradient takes."""
    torch.manual_seed(0)
    model = DRAW(DRAWConfig(glimpses=24))
    model.engine = "fused"
    compare(model, batch=50)


# ---------------------------------------------------------------- without gradients


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize(("read_size", "write_size"), [(None, None), (2, None), (None, 3), (2, 5)])
@torch.no_grad()
def test_the_path_that_saves_nothing(read_size, write_size, kind, threads):
    model = network(read_size=read_size, write_size=write_size, **kind)
    x, eps = inputs(model, 7)
    exact, fused = (m(x.to(e.dtype), eps=e, record=True) for m, e in _both(model, eps))
    lean = model(x, eps=eps)
    for name in VALUES:
        assert error(getattr(fused, name), getattr(exact, name)) < TOLERANCE, name
    for window in ("read", "write"):
        got, expected = getattr(fused, window) or (), getattr(exact, window) or ()
        assert all(error(a, b) < TOLERANCE for a, b in zip(got, expected, strict=True))
    assert torch.equal(lean.canvas[0], fused.canvas[-1])
    assert torch.equal(lean.kl, fused.kl)
    assert lean.read is None
    assert lean.write is None


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize(("read_size", "write_size"), [(None, None), (2, None), (None, 3), (2, 5)])
@torch.no_grad()
def test_generation(read_size, write_size, kind, threads):
    model = network(read_size=read_size, write_size=write_size, **kind)
    _, eps = inputs(model, 7)
    exact, fused = (m.generate(7, z=e, record=True) for m, e in _both(model, eps))
    assert error(fused.canvas, exact.canvas) < TOLERANCE
    assert fused.read is None
    assert (fused.write is None) == (exact.write is None)
    if fused.write is not None:
        assert error(fused.write.sigma2, exact.write.sigma2) < TOLERANCE
    assert torch.equal(model.generate(7, z=eps).canvas[0], fused.canvas[-1])


def _both(model: DRAW, eps: torch.Tensor) -> list[tuple[DRAW, torch.Tensor]]:
    return [(plain64(model), eps.double()), (model, eps)]


# ---------------------------------------------------------------- memory and order


def test_two_forwards_before_a_backward():
    """Each run keeps a memory of its own, whichever goes back first."""
    model = network()
    (x, eps), (x2, eps2) = inputs(model, 3), inputs(model, 3)

    def gradient(loss: torch.Tensor) -> torch.Tensor:
        model.zero_grad()
        loss.backward()
        return model.encoder.weight_hh.grad.clone()

    alone = [gradient(elbo(model(a, eps=e)).sum()) for a, e in ((x, eps), (x2, eps2))]
    first, second = elbo(model(x, eps=eps)).sum(), elbo(model(x2, eps=eps2)).sum()
    with torch.no_grad():
        model(x2, eps=eps2)
        model.generate(3)
    assert torch.equal(gradient(second), alone[1])
    assert torch.equal(gradient(first), alone[0])


def test_a_graph_that_is_retained_goes_back_twice():
    model = network()
    x, eps = inputs(model, 3)
    loss = elbo(model(x, eps=eps)).sum()
    loss.backward(retain_graph=True)
    once = model.canvas_0.grad.clone()
    elbo(model(x, eps=eps)).sum().backward()
    loss.backward()
    torch.testing.assert_close(model.canvas_0.grad, 3 * once)


def test_memory_is_used_again():
    model = network()
    x, eps = inputs(model, 3)
    elbo(model(x, eps=eps)).sum().backward()
    (spare,) = recurrence._spare
    loss = elbo(model(x, eps=eps)).sum()
    assert recurrence._spare == []
    loss.backward()
    assert recurrence._spare[0].data_ptr() == spare.data_ptr()


def test_the_same_inputs_give_the_same_bits(threads):
    def gradients() -> list[torch.Tensor]:
        model = network(glimpses=40)
        x, eps = inputs(model, 64)
        torch.empty(int(torch.randint(1, 10**6, ()))).fill_(1)  # other places in memory
        trace = model(x, eps=eps)
        (-elbo(trace).mean()).backward()
        return [trace.canvas, trace.kl, *(p.grad for p in model.parameters())]

    assert all(torch.equal(a, b) for a, b in zip(gradients(), gradients(), strict=True))


def test_other_threads_other_rounding_same_gradient():
    model = network()
    x, eps = inputs(model, 64)
    gradients = []
    before = torch.get_num_threads()
    for count in (1, 2):
        torch.set_num_threads(count)
        model.zero_grad()
        elbo(model(x, eps=eps)).sum().backward()
        gradients.append(model.encoder.weight_ih.grad.clone())
    torch.set_num_threads(before)
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-4)


def test_the_threads_may_change_between_forward_and_backward():
    model = network()
    x, eps = inputs(model, 8)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    loss = elbo(model(x, eps=eps)).sum()
    torch.set_num_threads(1)
    loss.backward()
    got = model.encoder.weight_ih.grad.clone()
    model.zero_grad()
    torch.set_num_threads(2)
    elbo(model(x, eps=eps)).sum().backward()
    torch.set_num_threads(before)
    assert torch.equal(got, model.encoder.weight_ih.grad)


# ---------------------------------------------------------------- numbers at the edge


def test_not_a_number_reaches_the_loss():
    """The guard of the training must see it."""
    for sizes in ({}, {"read_size": None, "write_size": None}):
        model = network(**sizes)
        x, eps = inputs(model, 3)
        x[1, 0, 4, 5] = torch.nan
        bound = elbo(model(x, eps=eps))
        assert bound.isnan().tolist() == [False, True, False]
        bound.mean().backward()
        assert model.encoder.weight_ih.grad.isnan().any()


@pytest.mark.parametrize("logit", [-1e30, -1e4, -200.0, -95.0, 89.0, 200.0, 1e4, 1e30])
def test_canvases_beyond_the_range_of_exp(logit):
    model = network()
    with torch.no_grad():
        model.canvas_0.fill_(logit)
        model.canvas_0[:, ::2] = 0.3
    compare(model)


def test_saturated_gates():
    """Beyond the range of exp either way, the gates are 0 or 1, and nothing is infinite."""
    model = network()
    with torch.no_grad():
        model.decoder.bias_ih.add_(torch.tensor([-200.0, -90.0, 90.0, 200.0]).repeat(20))
    x, eps = inputs(model, 3)
    trace, exact = model(x, eps=eps), plain64(model)(x.double(), eps=eps.double())
    assert error(trace.canvas, exact.canvas) < TOLERANCE
    elbo(trace).sum().backward()
    assert all(p.grad.isfinite().all() for p in model.parameters())


def test_an_overflowing_sigma_is_infinite():
    model = network()
    with torch.no_grad():
        model.posterior.bias[SMALL["latent_size"] :] = 100
    bound = elbo(model(*inputs(model, 2)[:1]))
    assert not bound.isfinite().any()


@pytest.mark.parametrize(("height", "width"), [(9, 13), (2, 2)])
@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("extreme", EXTREMES)
def test_extreme_windows(extreme, n, height, width):
    compare_extreme(network(height=height, width=width, read_size=n, write_size=n), *extreme)


def test_denormals_are_left_to_the_caller():
    model = network()
    elbo(model(inputs(model, 2)[0])).sum().backward()
    tiny = torch.tensor([1e-40])
    assert float(tiny * 0.5) != 0


# ---------------------------------------------------------------- other inputs and settings


def test_fewer_steps_than_the_configuration_says():
    model = network()
    x, eps = inputs(model, 3)
    exact = plain64(model)(x.double(), eps=eps[:2].double())
    assert error(model(x, eps=eps[:2]).kl, exact.kl) < TOLERANCE


def test_parameters_and_inputs_that_are_not_contiguous():
    model = network()
    for linear in (model.posterior, model.patch):
        linear.weight.data = linear.weight.data.t().contiguous().t()
    x, eps = inputs(model, 3)
    exact = plain64(model)(x.double(), eps=eps.double())
    fused = model(x.transpose(2, 3).contiguous().transpose(2, 3), eps=eps)
    assert error(fused.canvas, exact.canvas) < TOLERANCE


def test_memory_of_an_inference_can_serve_a_training():
    model = network()
    x, eps = inputs(model, 3)
    with torch.inference_mode():
        model(x, eps=eps)
    (spare,) = recurrence._spare
    assert not spare.is_inference()
    elbo(model(x, eps=eps)).sum().backward()


def test_other_defaults_of_torch_do_not_matter():
    model = network()
    x, eps = inputs(model, 3)
    expected = model(x, eps=eps)
    recurrence._spare.clear()
    torch.set_default_dtype(torch.float64)
    try:
        with torch.device("meta"):
            assert torch.equal(model(x, eps=eps).kl, expected.kl)
    finally:
        torch.set_default_dtype(torch.float32)
