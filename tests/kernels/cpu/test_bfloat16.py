"""With reduced precision, the CPU engine rounds the factors of the large products to bfloat16.

The reference is the plain engine in float64 with the same rounding. A processor without AVX512-BF16
must ignore the setting.
"""

import ctypes
from collections.abc import Iterator

import pytest
import torch
from torch import nn

from draw import kernels
from draw.classifier import ClassifierConfig, GlimpseClassifier
from draw.kernels.cpu import build
from draw.model import DRAW
from draw.training.step import matmul_precision

from ..common import COUPLED, SIZES, error, every_output, inputs, network, plain64

pytestmark = pytest.mark.skipif(not kernels.available(), reason="the engine cannot be built here")

TOLERANCE = 3e-3  # a difference of 1e-7 can change how a number is rounded, by 1/256 of it


def has_bfloat16() -> bool:
    function = build.load().functions.has_bfloat16
    function.restype = ctypes.c_int64
    return bool(function())


def rounded(x: torch.Tensor) -> torch.Tensor:
    return x.bfloat16().to(x) if has_bfloat16() else x


class RoundedProduct(torch.autograd.Function):
    """x W^T with rounded factors, or float64 with rounded factors for the gradient of W only."""

    @staticmethod
    def forward(ctx, x, W, gradient_only):
        ctx.save_for_backward(x, W)
        ctx.gradient_only = gradient_only
        return x @ W.t() if gradient_only else rounded(x) @ rounded(W).t()

    @staticmethod
    def backward(ctx, d):
        x, W = ctx.saved_tensors
        dx = d @ W if ctx.gradient_only else rounded(d) @ rounded(W)
        return dx, rounded(d).t() @ rounded(x), None


class RoundedLSTMCell(nn.LSTMCell):
    def forward(self, x, state):
        h, c = state
        gates = RoundedProduct.apply(x, self.weight_ih, False) + self.bias_ih + self.bias_hh
        gates = gates + RoundedProduct.apply(h, self.weight_hh, False)
        i, f, g, o = gates.chunk(4, dim=1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        return o.sigmoid() * c.tanh(), c


class RoundedLinear(nn.Linear):
    def forward(self, x):
        return RoundedProduct.apply(x, self.weight, True) + self.bias


def reference(model: nn.Module, *, linear: type[nn.Module] = RoundedLinear) -> nn.Module:
    twin = plain64(model)
    for layer in twin.children():
        if isinstance(layer, nn.LSTMCell):
            layer.__class__ = RoundedLSTMCell
        elif isinstance(layer, nn.Linear):
            layer.__class__ = linear
    return twin


@pytest.fixture(autouse=True)
def medium() -> Iterator[None]:
    with matmul_precision("medium"):
        yield


@pytest.fixture(params=[1, 3])
def threads(request) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def compare_gradients(model: nn.Module, truth: nn.Module) -> None:
    for (name, got), expected in zip(model.named_parameters(), truth.parameters(), strict=True):
        assert error(got.grad, expected.grad) < TOLERANCE, name


@pytest.mark.parametrize(("read_size", "write_size"), [s for s in SIZES if s[0]])
@pytest.mark.parametrize(("hidden", "batch"), [(20, 1), (33, 7), (64, 21)])
def test_values_and_gradients(read_size, write_size, hidden, batch, threads):
    sizes = {"read_size": read_size, "write_size": write_size, "hidden_size": hidden}
    model = network(**COUPLED | sizes)
    truth, (x, eps) = reference(model), inputs(model, batch)
    exact, fused = truth(x.double(), eps=eps.double()), model(x, eps=eps)
    for name in ("canvas", "mu", "log_sigma", "kl", "log_likelihood"):
        assert error(getattr(fused, name), getattr(exact, name)) < TOLERANCE, name
    every_output(exact).backward()
    every_output(fused).backward()
    compare_gradients(model, truth)
    with torch.no_grad():
        generated = model.generate(batch, z=eps).canvas
        assert error(generated, truth.generate(batch, z=eps.double()).canvas) < TOLERANCE


def test_the_classifier(threads):
    torch.manual_seed(0)
    config = ClassifierConfig(height=20, width=17, glimpses=3, read_size=5, hidden_size=37)
    model = GlimpseClassifier(config)
    model.engine = "fused"
    truth, x = reference(model, linear=nn.Linear), torch.rand(19, 1, 20, 17)
    weight = torch.randn(3, 19, 10, dtype=torch.float64)
    (truth(x.double()).logits * weight).sum().backward()
    (model(x).logits * weight.float()).sum().backward()
    compare_gradients(model, truth)


def test_it_is_used_only_if_the_setting_and_the_processor_allow_it():
    model: DRAW = network()
    x, eps = inputs(model, 2)
    reduced = model(x, eps=eps).canvas
    with matmul_precision("highest"):
        exact = model(x, eps=eps).canvas
    assert torch.equal(reduced, exact) != has_bfloat16()
