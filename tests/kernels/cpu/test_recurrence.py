"""The CPU engine computes the same values and gradients as the plain engine."""

from collections.abc import Iterator

import pytest
import torch

from draw import kernels
from draw.kernels.cpu import job
from draw.model import DRAW, DRAWConfig
from draw.objectives import elbo

from ..common import (
    COLOUR,
    COUPLED,
    EXTREMES,
    LOGISTIC,
    SIZES,
    TOLERANCE,
    compare,
    compare_extreme,
    compare_without_gradients,
    error,
    inputs,
    network,
    plain64,
)
from ..engine_tests import EngineTests

pytestmark = pytest.mark.skipif(not kernels.available(), reason="the engine cannot be built here")

KINDS = [{}, COLOUR, LOGISTIC, COUPLED]


@pytest.fixture(params=[1, 2, 5])
def threads(request) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


class TestCPU(EngineTests):
    network = staticmethod(network)


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize(("read_size", "write_size"), [*SIZES, (1, 1), (3, 2), (12, 12)])
def test_attention_and_kinds_of_images(read_size, write_size, kind):
    compare(network(read_size=read_size, write_size=write_size, **kind), loss="all")


@pytest.mark.parametrize("batch", [1, 3, 64])
def test_batches_and_threads(batch, threads):
    compare(network(), batch=batch)
    compare(network(read_size=None, write_size=None), batch=batch)


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
    (spare,) = job._spare
    loss = elbo(model(x, eps=eps)).sum()
    assert job._spare == []
    loss.backward()
    assert job._spare[0].data_ptr() == spare.data_ptr()


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


# ---------------------------------------------------------------- other inputs and settings


@pytest.mark.parametrize("extreme", EXTREMES, ids=str)
def test_extreme_windows_on_small_images(extreme):
    compare_extreme(network(height=2, width=2, read_size=1, write_size=1), *extreme)


def test_the_callers_handling_of_denormals_is_restored():
    model = network()
    elbo(model(inputs(model, 2)[0])).sum().backward()
    tiny = torch.tensor([1e-40])
    assert float(tiny * 0.5) != 0


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
    (spare,) = job._spare
    assert not spare.is_inference()
    elbo(model(x, eps=eps)).sum().backward()


def test_default_dtype_and_device_do_not_matter():
    model = network()
    x, eps = inputs(model, 3)
    expected = model(x, eps=eps)
    job._spare.clear()
    torch.set_default_dtype(torch.float64)
    try:
        with torch.device("meta"):
            assert torch.equal(model(x, eps=eps).kl, expected.kl)
    finally:
        torch.set_default_dtype(torch.float32)
