"""The accuracy of the paper's network in float32, over 64 and 256 glimpses.

The weights are those of the trained model, so windows, canvases and posteriors are realistic. The
reference is the plain engine in float64, which `test_model.py` compares with the NumPy twin.

The tolerances assume that every glimpse adds an error of one rounding, U, all in the same
direction: T U for a value after T glimpses. A gradient sums over glimpses t, whose values have an
error of t U: T (T + 1) U / 2. Both are relative to the norm of the tensor.
"""

import pytest
import torch

from draw import kernels, load
from draw.data import load as load_data
from draw.model import DRAW
from draw.objectives import elbo, log_weight
from draw.trace import Trace

from .kernels.common import VALUES, error

U = 2.0**-24
ENGINES = [
    "plain",
    pytest.param(
        "fused", marks=pytest.mark.skipif(not kernels.available(), reason="no compiler, or no MKL")
    ),
]
Numbers = tuple[Trace, dict[str, torch.Tensor]]


def numbers(dtype: torch.dtype, T: int, engine: str) -> Numbers:
    """Return the trace of two digits, and the gradients of their ELBO by parameter."""
    model: DRAW = load("mnist").to(dtype)
    model.engine = engine
    x = (load_data("digits5k", "valid").first(2) > 0.5).to(dtype)
    eps = torch.randn(T, 2, 100, generator=torch.Generator().manual_seed(0))
    trace = model(x, eps=eps.to(dtype))
    elbo(trace).mean().backward()
    return trace, {name: p.grad for name, p in model.named_parameters()}


@pytest.fixture(scope="module", params=[64, 256])
def reference(request) -> tuple[int, Numbers]:
    """Return T and the exact numbers."""
    return request.param, numbers(torch.float64, request.param, "plain")


@pytest.mark.parametrize("engine", ENGINES)
def test_the_error_is_at_most_one_rounding_per_glimpse(reference, engine):
    T, (exact, exact_gradients) = reference
    trace, gradients = numbers(torch.float32, T, engine)
    for name in VALUES:
        assert error(getattr(trace, name), getattr(exact, name)) < T * U, name
    for bound in (elbo, log_weight):
        assert error(bound(trace), bound(exact)) < T * U
    for name, gradient in gradients.items():
        assert error(gradient, exact_gradients[name]) < T * (T + 1) / 2 * U, name
