"""The CPU engine computes the same values and gradients for classifiers as the plain engine."""

import logging
from dataclasses import replace

import pytest
import torch
from torch import nn

from draw import kernels
from draw.classifier import ClassifierConfig, GlimpseClassifier, GradientLimit
from draw.errors import ConfigError
from draw.kernels import loops, self_check

from ..classifier_tests import SMALL, ClassifierTests, compare, every_output, network

pytestmark = pytest.mark.skipif(not kernels.available(), reason="the engine cannot be built here")


class TestCPU(ClassifierTests):
    network = staticmethod(network)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("read_size", [1, 2, 3, 5, 12, 17])
def test_patches_and_channels(read_size, channels):
    compare(network(read_size=read_size, channels=channels), loss=every_output)


@pytest.mark.parametrize(("height", "width"), [(2, 2), (16, 5), (5, 33), (40, 38), (100, 100)])
def test_images_that_are_mostly_black(height, width):
    compare(network(height=height, width=width), sparse=True)


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


def test_a_sharp_window_far_from_the_centre():
    """Its filters weigh a small part of the image, on which the engine spends its time."""
    model = network(height=100, width=100, read_size=5)
    with torch.no_grad():
        model.read_window.weight.mul_(0.1)
        model.read_window.bias.copy_(torch.tensor([0.6, -0.7, -1.0, -2.0, 0.0]))
    compare(model, sparse=True)


# ---------------------------------------------------------------- dispatch and self-check


class OtherStep(GlimpseClassifier):
    def encode_step(self, x, state, limit):
        return super().encode_step(torch.zeros_like(x), state, limit)


def replace_step(model):
    model.__class__ = OtherStep


def hook_head(model):
    model.head.register_forward_hook(lambda layer, inputs, output: 2 * output)


def replace_cell(model):
    model.cell = nn.LSTMCell(9, 20, bias=False)


@pytest.mark.parametrize(
    ("modify", "reason"),
    [
        (replace_step, "OtherStep.encode_step is replaced"),
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


class NoGradient(GradientLimit):
    """A limit that stops the gradients."""

    def __call__(self, d_params):
        return torch.zeros_like(d_params)


def test_a_modified_gradient_limit_is_called(caplog):
    model, x = network(engine="auto"), torch.rand(2, 1, 9, 13)
    with caplog.at_level(logging.INFO, "draw"):
        model(x, limit=NoGradient()).logits.sum().backward()
    assert "NoGradient.__call__ is replaced" in caplog.text
    assert not model.read_window.weight.grad.any()
    model.engine = "fused"
    with pytest.raises(ConfigError, match="is replaced"):
        model(x, limit=NoGradient())


def test_auto_is_fused_in_float32_and_plain_elsewhere():
    model, x = network(engine="auto"), torch.rand(2, 1, 9, 13)
    assert kernels.use_fused(model, x=x)
    assert not kernels.use_fused(model, x=x.clone().requires_grad_())
    assert not kernels.use_fused(model, x=x[:0])
    assert kernels.use_fused(model, x=x, limit=GradientLimit())
    assert not kernels.use_fused(model, x=x, limit=torch.zeros_like)
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
    module = loops.engine_for("cpu", ".classifier")
    original = getattr(module, function)
    monkeypatch.setattr(module, function, lambda *args, **kw: fault(*original(*args, **kw)))
    errors = self_check.relative_errors(GlimpseClassifier, SMALL, torch.device("cpu"), 5)
    assert errors[found] > self_check.FLOAT32_TOLERANCE
    assert self_check.failure(GlimpseClassifier, SMALL, torch.device("cpu"), 5)
