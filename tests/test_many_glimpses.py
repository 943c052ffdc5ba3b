"""The paper's network in float32: its bound and gradients over its 64 glimpses, and over 256.

The weights are those of the trained model, so windows, canvases and posteriors are real ones. The
plain path in float64 is the truth (`test_model.py` holds it against the NumPy twin).

The tolerances suppose that every glimpse makes an error of one rounding, U, and that all of them go
the same way: T U of a value after T glimpses. A gradient is summed on its way back over glimpses of
whose values the t-th is wrong by t U: T (T + 1) U / 2. They are relative, in the norm of a tensor.
"""

import pytest
import torch

from draw import kernels, load
from draw.data import load as load_data
from draw.model import DRAW, Trace
from draw.objectives import elbo, log_weight

from .kernels.common import VALUES, error

U = 2.0**-24
ENGINES = [
    "plain",
    pytest.param(
        "fused",
        marks=pytest.mark.skipif(not kernels.available(), reason="no compiler, or no MKL"),
    ),
]
Numbers = tuple[Trace, dict[str, torch.Tensor]]


def numbers(dtype: torch.dtype, T: int, engine: str) -> Numbers:
    """A trace of two digits, and the gradients of their bound."""
    model: DRAW = load("mnist").to(dtype)
    model.engine = engine
    x = (load_data("digits5k", "valid").first(2) > 0.5).to(dtype)
    eps = torch.randn(T, 2, 100, generator=torch.Generator().manual_seed(0))
    trace = model(x, eps=eps.to(dtype))
    elbo(trace).mean().backward()
    return trace, {name: p.grad for name, p in model.named_parameters()}


@pytest.fixture(scope="module", params=[64, 256])
def truth(request) -> tuple[int, Numbers]:
    """T, and what is true of so many glimpses."""
    return request.param, numbers(torch.float64, request.param, "plain")


@pytest.mark.parametrize("engine", ENGINES)
def test_float32_is_wrong_by_a_rounding_a_glimpse(truth, engine):
    T, (exact, exact_gradients) = truth
    trace, gradients = numbers(torch.float32, T, engine)
    for name in VALUES:
        assert error(getattr(trace, name), getattr(exact, name)) < T * U, name
    for bound in (elbo, log_weight):
        assert error(bound(trace), bound(exact)) < T * U
    for name, gradient in gradients.items():
        assert error(gradient, exact_gradients[name]) < T * (T + 1) / 2 * U, name
