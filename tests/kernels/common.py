"""Compare a fused engine with the plain engine, on either device.

The plain engine in float64 is the reference. The error of a tensor is the norm of the difference
divided by the norm of the reference.
"""

import copy

import torch

from draw.attention import MAX_LOG
from draw.model import DRAW, DRAWConfig
from draw.objectives import elbo, log_weight
from draw.trace import Trace

SMALL = {"height": 9, "width": 13, "glimpses": 4, "hidden_size": 20, "latent_size": 7}
COLOUR = {"channels": 3}
LOGISTIC = {"channels": 3, "likelihood": "logistic"}  # the canvas has more channels than the image
COUPLED = LOGISTIC | {"likelihood": "coupled-logistic"}
SIZES = [(None, None), (2, None), (None, 3), (2, 5)]  # patch sizes of read and write
VALUES = ("canvas", "z", "mu", "log_sigma", "kl", "log_likelihood")
TOLERANCE = 1e-5


def network(seed: int = 0, engine: str = "fused", **changes) -> DRAW:
    """Create a float32 model in which no parameter, including initial states, is zero."""
    torch.manual_seed(seed)
    model = DRAW(DRAWConfig(**SMALL | changes))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    model.engine = engine
    return model


def plain64(model: DRAW) -> DRAW:
    twin = copy.deepcopy(model).double()
    twin.engine = "plain"
    return twin


def inputs(model: DRAW, batch: int) -> tuple[torch.Tensor, torch.Tensor]:
    config = model.config
    return (
        torch.rand(batch, *config.image_shape).to(model.device),
        torch.randn(config.glimpses, batch, config.latent_size).to(model.device),
    )


def every_output(trace: Trace) -> torch.Tensor:
    """A loss with a different gradient for each tensor of the trace."""
    generator = torch.Generator().manual_seed(1)
    values = [getattr(trace, name) for name in VALUES]
    return sum((v * torch.randn(v.shape, generator=generator).to(v)).sum() for v in values)


LOSSES = {
    "elbo": lambda trace: -elbo(trace).mean(),
    "iwae": lambda trace: -log_weight(trace).logsumexp(0),
    "all": every_output,
    "kl alone": lambda trace: trace.kl.sum(),
    "canvas alone": lambda trace: trace.canvas.square().sum(),
}


EXTREMES = [
    (40.0, 0.0, 0.0, 0.1),  # far outside the image
    (0.03, -12.0, -1.0, 0.1),  # very sharp
    (-3.0, -3.0, 2.0, 0.1),  # half outside, with a large stride
    (1e6, -100.0, 60.0, 0.1),  # beyond all limits
    (0.5, 100.0, -100.0, -5.0),  # maximal variance, all filters at one place
    (0.1, 0.3, 0.0, 50.0),  # extreme intensity
    (0.1, 0.3, 0.0, -50.0),  # division by almost zero
]


def compare_extreme(model: DRAW, g: float, log_sigma2: float, log_delta: float, log_gamma: float):
    """Compare windows for which exponentials underflow or parameters exceed their limits."""
    with torch.no_grad():
        for layer in (model.read_window, model.write_window):
            layer.weight.mul_(0.01)
            layer.bias.copy_(torch.tensor([g, g, log_sigma2, log_delta, log_gamma]))
    x, eps = inputs(model, 1)
    truth = plain64(model)
    trace, exact = model(x, eps=eps), truth(x.double(), eps=eps.double())
    assert error(trace.canvas, exact.canvas) < 1e-4
    elbo(trace).sum().backward()
    for name, got in model.named_parameters():
        assert got.grad.isfinite().all(), name
    for layer in (model.read_window, model.write_window):
        beyond = layer.bias[2:].abs() > MAX_LOG + 1
        assert not layer.bias.grad[2:][beyond].any()  # zero, not NaN


def blacken_and_whiten(model: DRAW) -> None:
    """Set an initial canvas with black, white and grey parts, some beyond the clamping limits."""
    with torch.no_grad():
        model.canvas_0[:, ::2] = 0.3
        model.canvas_0[:, 1::4] = -9.0
        model.canvas_0[:, 3::4] = 200.0


def error(got: torch.Tensor, truth: torch.Tensor) -> float:
    return float((got.detach().double() - truth.detach()).norm() / truth.detach().norm())


def compare(model: DRAW, batch: int = 3, loss: str = "elbo") -> None:
    """Compare values and gradients with those of the plain engine in float64."""
    x, eps = inputs(model, batch)
    truth = plain64(model)
    exact, fused = truth(x.double(), eps=eps.double()), model(x, eps=eps)
    for name in VALUES:
        assert error(getattr(fused, name), getattr(exact, name)) < TOLERANCE, name
    LOSSES[loss](exact).backward()
    LOSSES[loss](fused).backward()
    for (name, got), expected in zip(model.named_parameters(), truth.parameters(), strict=True):
        if expected.grad is None or not expected.grad.any():
            assert got.grad is None or not got.grad.any(), name
        else:
            assert error(got.grad, expected.grad) < TOLERANCE, name


@torch.no_grad()
def compare_without_gradients(model: DRAW, batch: int) -> None:
    """Compare recorded and lean traces, encoded and generated, with the plain engine in float64."""
    x, eps = inputs(model, batch)
    truth = plain64(model)
    exact, fused = truth(x.double(), eps=eps.double(), record=True), model(x, eps=eps, record=True)
    lean = model(x, eps=eps)
    for name in VALUES:
        assert error(getattr(fused, name), getattr(exact, name)) < TOLERANCE, name
    compare_recorded(fused, exact, lean)
    assert torch.equal(lean.kl, fused.kl)
    exact = truth.generate(batch, z=eps.double(), record=True)
    fused, lean = model.generate(batch, z=eps, record=True), model.generate(batch, z=eps)
    assert fused.read_window is None
    compare_recorded(fused, exact, lean)


def compare_recorded(fused: Trace, exact: Trace, lean: Trace) -> None:
    assert error(fused.canvases, exact.canvases) < TOLERANCE
    assert torch.equal(fused.canvases[-1], fused.canvas)
    assert torch.equal(lean.canvas, fused.canvas)
    assert lean.canvases is None
    for window in ("read_window", "write_window"):
        got, expected = getattr(fused, window) or (), getattr(exact, window) or ()
        assert all(error(a, b) < TOLERANCE for a, b in zip(got, expected, strict=True))
        assert getattr(lean, window) is None
