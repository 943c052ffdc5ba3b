"""The fused engine runs only what it computes exactly as the model's own code does."""

import copy
import logging

import pytest
import torch
from torch import nn
from torch.autograd import forward_ad
from torch.nn.utils import prune

from draw import kernels
from draw.errors import ConfigError
from draw.kernels import dispatch
from draw.likelihoods import LIKELIHOODS, Bernoulli
from draw.model import DRAW, DRAWConfig
from draw.objectives import elbo

from .common import SMALL, TOLERANCE, error, inputs, network

pytestmark = pytest.mark.skipif(not kernels.available(), reason="the engine cannot be built here")


def use_fused(model, x, eps, record=False) -> bool:
    return kernels.use_fused(model, x=x, noise=eps, record=record)


def test_auto_is_fused_in_float32_and_plain_elsewhere():
    model = network(engine="auto")
    x, eps = inputs(model, 2)
    assert use_fused(model, x, eps)
    assert not use_fused(model, x, eps, record=True)  # gradients of windows
    assert not use_fused(model, None, eps)
    assert not use_fused(model, x.clone().requires_grad_(), eps)
    assert not use_fused(model, x, eps[:, :1])
    assert not use_fused(model, x, eps[..., :3])
    assert not use_fused(model, x, eps[:0])
    with torch.no_grad():
        assert use_fused(model, x, eps, record=True)
        assert use_fused(model, None, eps)
        with torch.autocast("cpu"):
            assert not use_fused(model, x, eps)
        assert not use_fused(model.double(), x.double(), eps.double())


# ---------------------------------------------------------------- modified models


class Inverted(Bernoulli):
    """A likelihood of inverted pixels."""

    def mean(self, canvas):
        return torch.sigmoid(-canvas)


class OtherStep(DRAW):
    def encode_step(self, x, state, eps):
        return super().encode_step(torch.zeros_like(x), state, eps)


class OtherState(DRAW):
    def initial_state(self, batch_size):
        return super().initial_state(batch_size)._replace(canvas=torch.ones(batch_size, 1, 9, 13))


def replace_class(cls):
    def modify(model, monkeypatch):
        model.__class__ = cls

    return modify


def replace_likelihood(model, monkeypatch):
    model.likelihood = Inverted()


def replace_mean(model, monkeypatch):
    model.likelihood = Bernoulli()
    model.likelihood.mean = Inverted().mean


def patch_likelihood(model, monkeypatch):
    monkeypatch.setattr(Bernoulli, "mean", Inverted.mean)


def replace_entry(model, monkeypatch):
    monkeypatch.setitem(LIKELIHOODS, "bernoulli", Inverted())
    model.likelihood = LIKELIHOODS["bernoulli"]


def replace_method(name, on_class=False):
    def modify(model, monkeypatch):
        original = getattr(DRAW, name)

        def negated(self, *args):
            args = [-a if isinstance(a, torch.Tensor) else a for a in args]
            state = original(self, *args)
            return state._replace(h_dec=state.h_dec + 1) if name == "initial_state" else state

        if on_class:
            monkeypatch.setattr(DRAW, name, negated)
        else:
            setattr(model, name, negated.__get__(model))

    return modify


def replace_layer_forward(model, monkeypatch):
    forward = model.patch.forward
    model.patch.forward = lambda h: 2 * forward(h)


def replace_linear_forward(model, monkeypatch):
    forward = nn.Linear.forward
    monkeypatch.setattr(nn.Linear, "forward", lambda layer, h: 2 * forward(layer, h))


def replace_layer(name, layer):
    def modify(model, monkeypatch):
        setattr(model, name, layer())

    return modify


class DoubleLinear(nn.Linear):
    def forward(self, input):
        return 2 * super().forward(input)


def hook_layer(model, monkeypatch):
    model.decoder.register_forward_pre_hook(lambda layer, args: (2 * args[0], args[1]))


def prune_layer(model, monkeypatch):
    prune.l1_unstructured(model.patch, "weight", amount=0.5)


MODIFICATIONS = {
    "a subclass with its own encode_step": (replace_class(OtherStep), "encode_step is replaced"),
    "a subclass with its own initial_state": (replace_class(OtherState), "initial_state"),
    "initial_state on the instance": (replace_method("initial_state"), "initial_state is replaced"),
    "encode_step on the instance": (replace_method("encode_step"), "encode_step is replaced"),
    "decode_step on the class": (replace_method("decode_step", True), "decode_step is replaced"),
    "another likelihood": (replace_likelihood, "likelihood"),
    "a likelihood with another mean": (replace_mean, "likelihood"),
    "a patched likelihood": (patch_likelihood, "likelihood"),
    "a replaced entry of LIKELIHOODS": (replace_entry, "likelihood"),
    "a layer with its own forward": (replace_layer_forward, "layer patch has a replaced forward"),
    "a patched nn.Linear": (replace_linear_forward, "has a replaced forward"),
    "a layer of another type": (
        replace_layer("patch", lambda: DoubleLinear(20, 25)),
        "layer patch is a DoubleLinear",
    ),
    "a layer without bias": (
        replace_layer("patch", lambda: nn.Linear(20, 25, bias=False)),
        "parameters differ",
    ),
    "an LSTM without bias": (
        replace_layer("decoder", lambda: nn.LSTMCell(7, 20, bias=False)),
        "parameters differ",
    ),
    "a hook": (hook_layer, "layer decoder has a hook"),
    "a pruned layer": (prune_layer, "layer patch has a hook"),
}


@pytest.mark.parametrize("modification", MODIFICATIONS)
@torch.no_grad()
def test_a_modified_model_runs_as_modified(modification, monkeypatch, caplog):
    modify, reason = MODIFICATIONS[modification]
    model = network(engine="auto")
    x, eps = inputs(model, 2)
    unmodified = model(x, eps=eps, record=True)
    torch.manual_seed(0)
    modify(model, monkeypatch)
    with caplog.at_level(logging.INFO, "draw"):
        traces = [model(x, eps=eps, record=is_recorded) for is_recorded in (True, False)]
    assert not torch.equal(traces[0].canvas, unmodified.canvas)
    assert [reason in record.getMessage() for record in caplog.records] == [True]  # logged once
    model.engine = "plain"
    plain = model(x, eps=eps, record=True)
    for trace in traces:
        for name in ("canvas", "kl", "log_likelihood"):
            assert torch.equal(getattr(trace, name), getattr(plain, name)), name
    model.engine = "fused"
    with pytest.raises(ConfigError, match=reason):
        model(x, eps=eps, record=True)


def test_copies_and_subclasses_with_the_same_equations_are_fused():
    class Named(DRAW):
        name = "a name"

    torch.manual_seed(0)
    model = Named(DRAWConfig(**SMALL))
    x, eps = inputs(model, 2)
    assert use_fused(model, x, eps)
    assert use_fused(copy.deepcopy(model), x, eps)


def test_a_global_hook_is_called():
    model = network(engine="auto")
    x, eps = inputs(model, 2)
    calls = []
    hook = nn.modules.module.register_module_forward_hook(lambda module, *_: calls.append(module))
    try:
        model(x, eps=eps)
    finally:
        hook.remove()
    assert calls.count(model.patch) == SMALL["glimpses"]
    assert use_fused(model, x, eps)


# ---------------------------------------------------------------- PyTorch's modes


def test_under_a_transformation_of_torch_func():
    model = network(engine="auto")
    x, eps = inputs(model, 2)
    weights = dict(model.named_parameters())

    def bound(weights: dict[str, torch.Tensor]) -> torch.Tensor:
        return elbo(torch.func.functional_call(model, weights, (x,), {"eps": eps})).sum()

    gradient = torch.func.grad(bound)(weights)
    elbo(model(x, eps=eps)).sum().backward()
    assert error(model.canvas_0.grad, gradient["canvas_0"].double()) < TOLERANCE


def test_under_a_transformation_that_maps_over_something_else():
    model = network(engine="auto")
    x, eps = inputs(model, 2)
    sums = torch.vmap(lambda scale: scale * elbo(model(x, eps=eps)).sum())(torch.tensor([1.0, 2.0]))
    torch.testing.assert_close(sums[1], 2 * elbo(model(x, eps=eps)).sum())


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")  # raised inside torch
def test_forward_mode_gives_the_canvas_its_tangent():
    model = network(engine="auto")
    x, eps = inputs(model, 2)
    with torch.no_grad(), forward_ad.dual_level():
        seen = model(x, eps=forward_ad.make_dual(eps, torch.ones_like(eps))).canvas
        painted = model.generate(2, z=forward_ad.make_dual(eps, torch.ones_like(eps))).canvas
        for canvas in (seen, painted):
            assert forward_ad.unpack_dual(canvas).tangent.abs().max() > 0


def test_torch_jit_traces_the_plain_engine(monkeypatch):
    """Simulate tracing, because the type checks of the tests cannot be traced."""
    model = network(engine="auto")
    x, eps = inputs(model, 2)
    monkeypatch.setattr(torch.jit, "is_tracing", lambda: True)
    assert not use_fused(model, x, eps)


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (torch.jit, "is_tracing"),
        (torch._C, "_are_functorch_transforms_active"),
        (forward_ad, "_current_level"),
        (nn.modules.module, "_has_any_global_hook"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_later_torch_without_a_private_name_runs_the_plain_engine(owner, name, monkeypatch):
    model = network(engine="auto")
    x, eps = inputs(model, 2)
    with monkeypatch.context() as patch:
        patch.delattr(owner, name)
        reason = dispatch.unsupported_reason(model, x, eps, record=False)
        assert not use_fused(model, x, eps)
    assert name in reason
    assert use_fused(model, x, eps)


@pytest.mark.parametrize("backend", ["cuda", "mkldnn"])
def test_the_new_precision_settings_of_torch_do_not_matter(backend):
    matmul = getattr(torch.backends, backend).matmul
    before = matmul.fp32_precision
    model = network(engine="auto")
    x, eps = inputs(model, 2)
    try:
        matmul.fp32_precision = "tf32"
        assert use_fused(model, x, eps)
    finally:
        matmul.fp32_precision = before


# ---------------------------------------------------------------- gradients and errors


@pytest.mark.parametrize("engine", ["auto", "plain"])
def test_gradients_that_only_the_plain_engine_has(engine):
    model = network(engine=engine)
    x, eps = inputs(model, 2)
    x.requires_grad_()
    elbo(model(x, eps=eps)).sum().backward()
    assert x.grad.abs().max() > 0
    trace = model(x.detach(), eps=eps, record=True)
    trace.write_window.delta.sum().backward()
    assert model.write_window.weight.grad.abs().max() > 0
    model.zero_grad()
    model.generate(2, requires_grad=True).canvas.sum().backward()
    assert model.patch.weight.grad.abs().max() > 0


def test_frozen_parameters_get_no_gradient():
    model = network()
    model.encoder.requires_grad_(False)
    elbo(model(inputs(model, 2)[0])).sum().backward()
    assert model.encoder.weight_ih.grad is None
    assert model.decoder.weight_ih.grad.abs().max() > 0


def test_fused_raises_what_it_cannot_do():
    model = network().double()
    with pytest.raises(ConfigError, match="float32"):
        model(torch.zeros(1, 1, 9, 13, dtype=torch.float64))
    model = network()
    with pytest.raises(ConfigError, match="no_grad"):
        model(inputs(model, 1)[0], record=True)


def test_the_engine_is_not_saved_with_a_model(tmp_path):
    model = network(engine="plain")
    model.save(tmp_path)
    assert "engine" not in (tmp_path / "config.json").read_text()
    loaded = DRAW.from_pretrained(tmp_path)
    assert loaded.engine == "auto"
    assert elbo(loaded(inputs(loaded, 2)[0])).isfinite().all()
