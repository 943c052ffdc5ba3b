"""The GPU engine computes the same values and gradients as the plain path.

Triton's interpreter needs tens of milliseconds per kernel, so the networks are tiny.
"""

import logging
import sys

import pytest
import torch

from draw import kernels
from draw.errors import ConfigError
from draw.kernels import gpu
from draw.kernels.gpu.layout import product_options
from draw.kernels.layout import Shape
from draw.kernels.self_check import failure
from draw.model import DRAW, DRAWConfig
from draw.objectives import elbo

from .. import common
from ..common import (
    COLOUR,
    EXTREMES,
    LOGISTIC,
    LOSSES,
    SIZES,
    TOLERANCE,
    blacken_and_whiten,
    compare,
    compare_extreme,
    compare_without_gradients,
    error,
    inputs,
    plain64,
)
from .conftest import DEVICE

TINY = {"height": 7, "width": 9, "glimpses": 2, "hidden_size": 6, "latent_size": 3}


def network(**changes) -> DRAW:
    return common.network(**TINY | changes).to(DEVICE)


@pytest.mark.parametrize(
    ("read_size", "write_size", "kind"),
    [
        *((n_read, n_write, {}) for n_read, n_write in [*SIZES, (1, 1), (3, 2)]),
        (2, 5, COLOUR),
        (3, 2, LOGISTIC),
        (None, None, LOGISTIC),
    ],
    ids=str,
)
def test_attention_and_kinds_of_images(read_size, write_size, kind):
    model = network(read_size=read_size, write_size=write_size, **kind)
    compare(model, batch=1 if kind else 2, loss="all")


@pytest.mark.parametrize("read_size", [2, None])
@pytest.mark.parametrize("likelihood", ["bernoulli", "logistic"])
def test_canvases_beyond_black_and_white(likelihood, read_size):
    model = network(likelihood=likelihood, read_size=read_size)
    blacken_and_whiten(model)
    compare(model, batch=1, loss="all")


@pytest.mark.parametrize("loss", LOSSES)
def test_gradients_of_every_output(loss):
    compare(network(), batch=1, loss=loss)


@pytest.mark.parametrize(("height", "width"), [(2, 2), (16, 5), (5, 33), (40, 38)])
def test_shapes_of_images(height, width):
    """Images span from less than one tile to several tiles on either axis."""
    compare(network(height=height, width=width, glimpses=1), batch=1)


def test_patches_larger_than_the_minimum_tile():
    compare(network(height=30, width=40, read_size=17, write_size=20, glimpses=1), batch=1)


def test_more_rows_units_and_terms_than_one_program_processes():
    sizes = {"read_size": None, "write_size": None, "hidden_size": 70, "latent_size": 20}
    compare(network(glimpses=1, **sizes), batch=33)


@pytest.mark.parametrize("glimpses", [1, 4])
def test_numbers_of_glimpses(glimpses):
    compare(network(glimpses=glimpses), batch=1)


def test_fewer_glimpses_than_configured():
    model = network(glimpses=3)
    x, eps = inputs(model, 2)
    exact = plain64(model)(x.double(), eps=eps[:1].double())
    assert error(model(x, eps=eps[:1]).kl, exact.kl) < TOLERANCE


# ---------------------------------------------------------------- without gradients


@pytest.mark.parametrize(
    ("read_size", "write_size", "kind"),
    [*((n_read, n_write, {}) for n_read, n_write in SIZES), (2, 5, LOGISTIC)],
    ids=str,
)
@torch.no_grad()
def test_without_gradients(read_size, write_size, kind):
    model = network(read_size=read_size, write_size=write_size, **kind)
    compare_without_gradients(model, batch=1 if kind else 2)


# ---------------------------------------------------------------- order


def test_interleaved_and_repeated_backward_passes():
    model = network(glimpses=1)
    (x, eps), (x2, eps2) = inputs(model, 1), inputs(model, 1)

    def gradient(loss: torch.Tensor) -> torch.Tensor:
        model.zero_grad()
        loss.backward(retain_graph=True)
        return model.encoder.weight_hh.grad.clone()

    alone = [gradient(elbo(model(a, eps=e)).sum()) for a, e in ((x, eps), (x2, eps2))]
    first, second = elbo(model(x, eps=eps)).sum(), elbo(model(x2, eps=eps2)).sum()
    assert torch.equal(gradient(second), alone[1])
    assert torch.equal(gradient(first), alone[0])
    assert torch.equal(gradient(first), alone[0])


def test_equal_inputs_give_equal_bits():
    def gradients() -> list[torch.Tensor]:
        model = network(glimpses=1)
        x, eps = inputs(model, 2)
        trace = model(x, eps=eps)
        (-elbo(trace).mean()).backward()
        return [trace.canvas, trace.kl, *(p.grad for p in model.parameters())]

    assert all(torch.equal(a, b) for a, b in zip(gradients(), gradients(), strict=True))


# ---------------------------------------------------------------- extreme numbers


@pytest.mark.parametrize("sizes", [{}, {"read_size": None, "write_size": None}])
def test_nan_reaches_the_loss(sizes):
    """The non-finite guard of training depends on this."""
    model = network(glimpses=1, **sizes)
    x, eps = inputs(model, 3)
    x[1, 0, 4, 5] = torch.nan
    bound = elbo(model(x, eps=eps))
    assert bound.isnan().tolist() == [False, True, False]
    bound.mean().backward()
    assert model.encoder.weight_ih.grad.isnan().any()


@pytest.mark.parametrize("logit", [-200.0, -95.0, 89.0, 200.0])
def test_canvases_beyond_the_range_of_exp(logit):
    model = network()
    with torch.no_grad():
        model.canvas_0.fill_(logit)
        model.canvas_0[:, ::2] = 0.3
    compare(model, batch=1)


def test_saturated_gates():
    """Inputs beyond the range of exp give gates of 0 or 1, and finite gradients."""
    model = network(hidden_size=4)
    with torch.no_grad():
        extremes = torch.tensor([-200.0, -90.0, 90.0, 200.0], device=DEVICE)
        model.decoder.bias_ih.add_(extremes.repeat(4))
    x, eps = inputs(model, 2)
    trace, exact = model(x, eps=eps), plain64(model)(x.double(), eps=eps.double())
    assert error(trace.canvas, exact.canvas) < TOLERANCE
    elbo(trace).sum().backward()
    assert all(p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # NumPy's, in the interpreter
def test_an_overflowing_sigma_gives_an_infinite_bound():
    model = network()
    with torch.no_grad():
        model.posterior.bias[TINY["latent_size"] :] = 100
        assert not elbo(model(inputs(model, 1)[0])).isfinite().any()


@pytest.mark.parametrize("extreme", EXTREMES)
def test_extreme_windows(extreme):
    compare_extreme(network(read_size=3, write_size=3), *extreme)


def test_tf32_rounds_the_factors_and_stays_close():
    model = network(hidden_size=70, glimpses=1)
    x, eps = inputs(model, 1)
    exact = plain64(model)
    trace, expected = model(x, eps=eps), exact(x.double(), eps=eps.double())
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        rounded = model(x, eps=eps)
        elbo(rounded).sum().backward()
    finally:
        torch.set_float32_matmul_precision(before)
    elbo(expected).sum().backward()
    assert not torch.equal(rounded.canvas, trace.canvas)
    assert error(rounded.canvas, expected.canvas) < 1e-2
    for (name, p), q in zip(model.named_parameters(), exact.parameters(), strict=True):
        assert error(p.grad, q.grad) < 2e-2, name


# ---------------------------------------------------------------- supported inputs


def test_products_use_the_precision_set_in_pytorch():
    before = torch.get_float32_matmul_precision()
    precisions = {}
    try:
        for name in ("highest", "high", "medium"):
            torch.set_float32_matmul_precision(name)
            precisions[name] = product_options()["PRECISION"]
    finally:
        torch.set_float32_matmul_precision(before)
    assert precisions == {"highest": "ieee", "high": "tf32", "medium": "tf32"}


def test_large_patches_run_the_plain_path():
    model = network(read_size=65)
    x, eps = inputs(model, 1)
    with pytest.raises(ConfigError, match="up to 64 x 64"):
        model(x, eps=eps)
    model.engine = "auto"
    assert not kernels.use_fused(model, x=x, noise=eps, record=False)


def test_batches_beyond_32_bit_indices_run_the_plain_path():
    colour = {"channels": 3, "height": 1024, "width": 1024, "hidden_size": 64}
    for config, largest in (
        (DRAWConfig(read_size=None, **colour), 682),
        (DRAWConfig(write_size=None, likelihood="logistic", **colour), 341),
    ):
        shapes = [
            Shape.of(config, torch.empty(2, batch, 100, device="meta"))
            for batch in (largest, largest + 1)
        ]
        assert gpu.unsupported_reason(shapes[0], torch.device("cpu")) is None
        assert "too large" in gpu.unsupported_reason(shapes[1], torch.device("cpu"))


@pytest.mark.parametrize(
    ("cuda", "capability", "unsupported"),
    [
        ("13.0", (9, 0), False),
        ("13.0", (8, 0), False),
        ("13.0", (7, 5), True),
        (None, (9, 4), True),
    ],
)
def test_supported_gpus(monkeypatch, cuda, capability, unsupported):
    monkeypatch.setattr("torch.version.cuda", cuda)
    monkeypatch.setattr("torch.cuda.get_device_capability", lambda device: capability)
    model = network()
    shape = Shape.of(model.config, inputs(model, 1)[1])
    assert bool(gpu.unsupported_reason(shape, torch.device("cuda"))) == unsupported


def test_without_triton_the_plain_path_runs(monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "triton", None)
    gpu.unavailable_reason.cache_clear()
    try:
        model = network(engine="auto")
        with caplog.at_level(logging.WARNING, "draw"):
            for _ in range(2):
                assert elbo(model(inputs(model, 1)[0])).isfinite().all()
        assert [r.name for r in caplog.records] == ["draw"]
        assert "triton" in caplog.text
        model.engine = "fused"
        with pytest.raises(ConfigError, match="not available"):
            model(inputs(model, 1)[0])
    finally:
        gpu.unavailable_reason.cache_clear()


@pytest.mark.parametrize(("size", "precision"), [(2, "highest"), (2, "high"), (None, "highest")])
def test_it_passes_its_self_check(size, precision):
    config = DRAWConfig(**TINY | {"glimpses": 1, "read_size": size, "write_size": size})
    torch.set_float32_matmul_precision(precision)
    try:
        assert failure(DRAW, config, torch.device(DEVICE), batch=1) is None
    finally:
        torch.set_float32_matmul_precision("highest")
