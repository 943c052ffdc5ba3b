"""The GPU engine computes the same values and gradients as the plain engine.

Triton's interpreter needs tens of milliseconds per kernel, so the networks are tiny.
"""

import logging
import sys

import pytest
import torch

from draw import kernels
from draw.errors import ConfigError
from draw.kernels import gpu
from draw.kernels.gpu.layout import Layout
from draw.kernels.layout import Shape
from draw.kernels.self_check import failure
from draw.model import DRAW, DRAWConfig
from draw.objectives import elbo

from .. import common
from ..common import (
    COLOUR,
    COUPLED,
    LOGISTIC,
    SIZES,
    compare,
    compare_without_gradients,
    error,
    inputs,
    plain64,
)
from ..engine_tests import EngineTests
from .conftest import DEVICE

TINY = {"height": 7, "width": 9, "glimpses": 2, "hidden_size": 6, "latent_size": 3}


def network(**changes) -> DRAW:
    return common.network(**TINY | changes).to(DEVICE)


class TestGPU(EngineTests):
    network = staticmethod(network)


@pytest.mark.parametrize(
    ("read_size", "write_size", "kind"),
    [
        *((n_read, n_write, {}) for n_read, n_write in [*SIZES, (1, 1), (3, 2)]),
        (2, 5, COLOUR),
        (3, 2, LOGISTIC),
        (None, None, COUPLED),
    ],
    ids=str,
)
def test_attention_and_kinds_of_images(read_size, write_size, kind):
    model = network(read_size=read_size, write_size=write_size, **kind)
    compare(model, batch=1 if kind else 2, loss="all")


def test_patches_larger_than_the_minimum_tile():
    compare(network(height=30, width=40, read_size=17, write_size=20, glimpses=1), batch=1)


def test_more_rows_units_and_terms_than_one_program_processes():
    sizes = {"read_size": None, "write_size": None, "hidden_size": 70, "latent_size": 20}
    compare(network(glimpses=1, **sizes), batch=33)


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
    shape = Shape.of(DRAWConfig(), torch.empty(1, 1, 100))
    try:
        for name in ("highest", "high", "medium"):
            torch.set_float32_matmul_precision(name)
            precisions[name] = Layout.of(shape).precision
    finally:
        torch.set_float32_matmul_precision(before)
    assert precisions == {"highest": "ieee", "high": "tf32", "medium": "tf32"}


def test_large_patches_run_the_plain_engine():
    model = network(read_size=65)
    x, eps = inputs(model, 1)
    with pytest.raises(ConfigError, match="up to 64 x 64"):
        model(x, eps=eps)
    model.engine = "auto"
    assert not kernels.use_fused(model, x=x, noise=eps, record=False)


def test_batches_beyond_32_bit_indices_run_the_plain_engine():
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


def test_without_triton_the_plain_engine_runs(monkeypatch, caplog):
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
