"""The CPU engine computes the same values and gradients as the plain path."""

from collections.abc import Iterator

import pytest
import torch

from draw import kernels
from draw.kernels.cpu import recurrence
from draw.model import DRAW, DRAWConfig
from draw.objectives import elbo

from ..common import (
    COLOUR,
    EXTREMES,
    LOGISTIC,
    LOSSES,
    SIZES,
    SMALL,
    TOLERANCE,
    blacken_and_whiten,
    compare,
    compare_extreme,
    compare_without_gradients,
    error,
    inputs,
    network,
    plain64,
)

pytestmark = pytest.mark.skipif(not kernels.available(), reason="the engine cannot be built here")

KINDS = [{}, COLOUR, LOGISTIC]


@pytest.fixture(params=[1, 2, 5])
def threads(request) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize(
    ("read_size", "write_size"),
    [*SIZES, (1, 1), (3, 2), (12, 12)],
)
def test_attention_and_kinds_of_images(read_size, write_size, kind):
    compare(network(read_size=read_size, write_size=write_size, **kind))


@pytest.mark.parametrize("read_size", [2, None])
@pytest.mark.parametrize("likelihood", ["bernoulli", "logistic"])
def test_canvases_beyond_black_and_white(likelihood, read_size):
    model = network(likelihood=likelihood, read_size=read_size)
    blacken_and_whiten(model)
    compare(model, loss="all")


@pytest.mark.parametrize("batch", [1, 3, 64])
def test_batches_and_threads(batch, threads):
    compare(network(), batch=batch)
    compare(network(read_size=None, write_size=None), batch=batch)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize(("read_size", "write_size"), [(2, 5), (None, None)])
def test_gradients_of_every_output(loss, read_size, write_size):
    compare(network(read_size=read_size, write_size=write_size), loss=loss)


@pytest.mark.parametrize(("height", "width"), [(2, 2), (16, 5), (5, 33), (54, 54)])
def test_shapes_of_images(height, width):
    compare(network(height=height, width=width))


@pytest.mark.parametrize("glimpses", [1, 2, 64])
def test_numbers_of_glimpses(glimpses):
    compare(network(glimpses=glimpses), batch=5)


def test_the_papers_network():
    """Use the sizes of table 3, and more rows than one product of a weight's gradient has."""
    torch.manual_seed(0)
    model = DRAW(DRAWConfig(glimpses=24))
    model.engine = "fused"
    compare(model, batch=50)


# ---------------------------------------------------------------- without gradients


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize(("read_size", "write_size"), SIZES)
def test_without_gradients(read_size, write_size, kind):
    model = network(read_size=read_size, write_size=write_size, **kind)
    compare_without_gradients(model, batch=7)


def test_threads_without_gradients(threads):
    compare_without_gradients(network(), batch=7)


# ---------------------------------------------------------------- memory and order


def test_two_forwards_before_a_backward():
    """Each call has its own workspace."""
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


def test_a_retained_graph_can_run_backward_twice():
    model = network()
    x, eps = inputs(model, 3)
    loss = elbo(model(x, eps=eps)).sum()
    loss.backward(retain_graph=True)
    once = model.canvas_0.grad.clone()
    elbo(model(x, eps=eps)).sum().backward()
    loss.backward()
    torch.testing.assert_close(model.canvas_0.grad, 3 * once)


def test_memory_is_reused():
    model = network()
    x, eps = inputs(model, 3)
    elbo(model(x, eps=eps)).sum().backward()
    (spare,) = recurrence._spare
    loss = elbo(model(x, eps=eps)).sum()
    assert recurrence._spare == []
    loss.backward()
    assert recurrence._spare[0].data_ptr() == spare.data_ptr()


def test_equal_inputs_give_equal_bits(threads):
    def gradients() -> list[torch.Tensor]:
        model = network(glimpses=40)
        x, eps = inputs(model, 64)
        torch.empty(int(torch.randint(1, 10**6, ()))).fill_(1)  # shifts later allocations
        trace = model(x, eps=eps)
        (-elbo(trace).mean()).backward()
        return [trace.canvas, trace.kl, *(p.grad for p in model.parameters())]

    assert all(torch.equal(a, b) for a, b in zip(gradients(), gradients(), strict=True))


def test_the_number_of_threads_affects_only_rounding():
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


# ---------------------------------------------------------------- extreme numbers


def test_nan_reaches_the_loss():
    """The non-finite guard of training depends on this."""
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
    """Inputs beyond the range of exp give gates of 0 or 1, and finite gradients."""
    model = network()
    with torch.no_grad():
        model.decoder.bias_ih.add_(torch.tensor([-200.0, -90.0, 90.0, 200.0]).repeat(20))
    x, eps = inputs(model, 3)
    trace, exact = model(x, eps=eps), plain64(model)(x.double(), eps=eps.double())
    assert error(trace.canvas, exact.canvas) < TOLERANCE
    elbo(trace).sum().backward()
    assert all(p.grad.isfinite().all() for p in model.parameters())


def test_an_overflowing_sigma_gives_an_infinite_bound():
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


def test_the_callers_handling_of_denormals_is_restored():
    model = network()
    elbo(model(inputs(model, 2)[0])).sum().backward()
    tiny = torch.tensor([1e-40])
    assert float(tiny * 0.5) != 0


# ---------------------------------------------------------------- other inputs and settings


def test_fewer_glimpses_than_configured():
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


def test_memory_from_inference_mode_can_be_reused_for_training():
    model = network()
    x, eps = inputs(model, 3)
    with torch.inference_mode():
        model(x, eps=eps)
    (spare,) = recurrence._spare
    assert not spare.is_inference()
    elbo(model(x, eps=eps)).sum().backward()


def test_default_dtype_and_device_do_not_matter():
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
