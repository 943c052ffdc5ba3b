"""The CPU engine computes the same values and gradients for classifiers as the plain engine."""

import copy
import logging
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import nn

from draw import kernels
from draw.classifier import ClassifierConfig, ClassifierOutput, GlimpseClassifier, log_probability
from draw.errors import ConfigError
from draw.kernels import classifier, self_check

from ..common import EXTREMES, TOLERANCE, error

pytestmark = pytest.mark.skipif(not kernels.available(), reason="the engine cannot be built here")

SMALL = ClassifierConfig(height=9, width=13, glimpses=4, hidden_size=20, read_size=3, classes=4)


def network(engine: str = "fused", **changes) -> GlimpseClassifier:
    """Create a float32 classifier in which no parameter is zero."""
    torch.manual_seed(0)
    model = GlimpseClassifier(replace(SMALL, **changes))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    model.engine = engine
    return model


def nats(output: ClassifierOutput) -> torch.Tensor:
    labels = torch.arange(output.logits.shape[1]) % 4
    return log_probability(output, labels).sum()


def every_output(output: ClassifierOutput) -> torch.Tensor:
    """A loss with a different gradient for each tensor of the output."""
    generator = torch.Generator().manual_seed(1)
    values = (output.logits, *output.read_window)
    return sum((v * torch.randn(v.shape, generator=generator).to(v)).sum() for v in values)


LOSSES = {
    "log probability": nats,
    "mean": lambda output: nats(output) / output.logits.shape[1],
    "all": every_output,
    "windows alone": lambda output: output.read_window.g_x.square().sum(),
    "first glimpse alone": lambda output: output.logits[0].square().sum(),
}


def compare(
    model: GlimpseClassifier, batch: int = 3, loss: Callable = nats, sparse: bool = False
) -> None:
    """Compare values and gradients with those of the plain engine in float64."""
    truth = copy.deepcopy(model).double()
    truth.engine = "plain"
    x = torch.rand(batch, *model.config.image_shape)
    if sparse:
        x[torch.rand(x.shape) < 0.9] = 0
        x[0, :, 2:, :] = 0
    fused, exact = model(x), truth(x.double())
    assert error(fused.logits, exact.logits) < TOLERANCE
    for name, value in exact.read_window._asdict().items():
        assert error(getattr(fused.read_window, name), value) < TOLERANCE, name
    with torch.no_grad():
        assert torch.equal(model(x).logits, fused.logits)
    loss(exact).backward()
    loss(fused).backward()
    for (name, got), expected in zip(model.named_parameters(), truth.parameters(), strict=True):
        if expected.grad is None or not expected.grad.any():
            assert got.grad is None or not got.grad.any(), name
        else:
            assert error(got.grad, expected.grad) < TOLERANCE, name


@pytest.mark.parametrize("loss", LOSSES)
def test_losses(loss):
    compare(network(), loss=LOSSES[loss])


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("read_size", [1, 2, 3, 5, 12, 17])
def test_patches_and_channels(read_size, channels):
    compare(network(read_size=read_size, channels=channels), loss=every_output)


@pytest.mark.parametrize(("height", "width"), [(2, 2), (16, 5), (5, 33), (40, 38), (100, 100)])
@pytest.mark.parametrize("sparse", [False, True])
def test_shapes_of_images_and_images_that_are_mostly_black(height, width, sparse):
    compare(network(height=height, width=width), sparse=sparse)


@pytest.mark.parametrize("batch", [1, 3, 64])
@pytest.mark.parametrize("threads", [1, 2, 5])
def test_batches_and_threads(batch, threads):
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        compare(network(), batch=batch)
    finally:
        torch.set_num_threads(before)


def test_the_papers_network():
    torch.manual_seed(0)
    model = GlimpseClassifier(ClassifierConfig(classes=4))
    model.engine = "fused"
    compare(model, batch=20)


def test_black_images():
    model = network()
    output = model(torch.zeros(2, 1, 9, 13))
    nats(output).backward()
    assert not model.cell.weight_ih.grad.any()  # the patches are zero
    assert model.cell.weight_hh.grad.any()


def test_gradients_beyond_the_limit():
    model = network()
    model.head.weight.data.mul_(10_000)
    compare(model)


def test_a_sharp_window_far_from_the_centre():
    """Its filters weigh a small part of the image, on which the engine spends its time."""
    model = network(height=100, width=100, read_size=5)
    with torch.no_grad():
        model.read_window.weight.mul_(0.1)
        model.read_window.bias.copy_(torch.tensor([0.6, -0.7, -1.0, -2.0, 0.0]))
    compare(model, sparse=True)


@pytest.mark.parametrize("extreme", EXTREMES, ids=str)
def test_extreme_windows_have_finite_gradients(extreme):
    g, *logs = extreme
    model = network()
    with torch.no_grad():
        model.read_window.bias.copy_(torch.tensor([g, g, *logs]))
    output = model(torch.rand(3, 1, 9, 13))
    nats(output).backward()
    assert output.logits.isfinite().all()
    assert all(p.grad.isfinite().all() for p in model.parameters())


def test_nan_reaches_the_loss(monkeypatch):
    """The non-finite guard of training depends on this."""
    monkeypatch.setattr("draw.classifier.check_images", lambda *_: None)  # rejects NaN on a CPU
    model = network()
    x = torch.rand(3, 1, 9, 13)
    x[1, 0, 4, 5] = torch.nan
    output = model(x)
    assert output.logits[-1].isnan().any(1).tolist() == [False, True, False]
    nats(output).backward()
    assert model.cell.weight_ih.grad.isnan().any()


def test_a_retained_graph_can_run_backward_twice():
    model, x = network(), torch.rand(3, 1, 9, 13)
    loss = nats(model(x))
    loss.backward(retain_graph=True)
    once = model.h_0.grad.clone()
    nats(model(x)).backward()
    loss.backward()
    torch.testing.assert_close(model.h_0.grad, 3 * once)


def test_frozen_parameters_get_no_gradient():
    model = network()
    model.cell.requires_grad_(False)
    nats(model(torch.rand(3, 1, 9, 13))).backward()
    assert model.cell.weight_ih.grad is None
    assert model.head.weight.grad.abs().max() > 0


# ---------------------------------------------------------------- dispatch and self-check


class OtherStep(GlimpseClassifier):
    def step(self, x, state, limit):
        return super().step(torch.zeros_like(x), state, limit)


def replace_step(model):
    model.__class__ = OtherStep


def hook_head(model):
    model.head.register_forward_hook(lambda layer, inputs, output: 2 * output)


def replace_cell(model):
    model.cell = nn.LSTMCell(9, 20, bias=False)


@pytest.mark.parametrize(
    ("modify", "reason"),
    [
        (replace_step, "OtherStep.step is replaced"),
        (hook_head, "layer head has a hook"),
        (replace_cell, "parameters differ"),
    ],
)
def test_a_modified_classifier_runs_as_modified(modify, reason, caplog):
    model, x = network(engine="auto"), torch.rand(2, 1, 9, 13)
    unmodified = model(x).logits
    modify(model)
    with caplog.at_level(logging.INFO, "draw"):
        logits = model(x).logits
    assert reason in caplog.text
    assert not torch.equal(logits, unmodified)
    model.engine = "plain"
    assert torch.equal(logits, model(x).logits)
    model.engine = "fused"
    with pytest.raises(ConfigError, match=reason):
        model(x)


def test_auto_is_fused_in_float32_and_plain_elsewhere():
    model, x = network(engine="auto"), torch.rand(2, 1, 9, 13)
    assert kernels.use_fused(model, x=x)
    assert not kernels.use_fused(model, x=x.clone().requires_grad_())
    assert not kernels.use_fused(model, x=x[:0])
    assert not kernels.use_fused(model.double(), x=x.double())


@pytest.mark.usefixtures("fresh_self_check")
@pytest.mark.parametrize("config", [SMALL, ClassifierConfig(), replace(SMALL, channels=3)])
def test_a_correct_engine_passes_the_self_check_by_a_wide_margin(config):
    errors = self_check.relative_errors(GlimpseClassifier, config, torch.device("cpu"), 5)
    assert max(errors.values()) < self_check.FLOAT32_TOLERANCE / 10


@pytest.mark.usefixtures("fresh_self_check")
@pytest.mark.parametrize(
    ("function", "fault", "found"),
    [
        ("run_forward", lambda h, params, kept: (1.1 * h, params, kept), "logits in evaluation"),
        ("run_forward", lambda h, params, kept: (h, 1.1 * params, kept), "g_x in evaluation"),
        ("run_backward", lambda *gradients: [1.01 * g for g in gradients], "gradient of h_0"),
    ],
)
def test_a_wrong_engine_fails_the_self_check(function, fault, found, monkeypatch):
    module = classifier.engine_for("cpu")
    original = getattr(module, function)
    monkeypatch.setattr(module, function, lambda *args, **kw: fault(*original(*args, **kw)))
    errors = self_check.relative_errors(GlimpseClassifier, SMALL, torch.device("cpu"), 5)
    assert errors[found] > self_check.FLOAT32_TOLERANCE
    assert self_check.failure(GlimpseClassifier, SMALL, torch.device("cpu"), 5)
