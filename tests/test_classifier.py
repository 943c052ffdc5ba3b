"""The glimpse classifier: against the NumPy twin, its gradients, and that it learns to look."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Generator

from draw.attention import box
from draw.classifier import (
    MAX_WINDOW_GRADIENT,
    ClassifierConfig,
    ClassifierOutput,
    GlimpseClassifier,
    GradientLimit,
    log_probability,
)
from draw.data import Batches, Images
from draw.data.transforms import Cluttered
from draw.errors import ConfigError
from draw.evaluation import classify
from draw.training.config import TrainConfig
from draw.training.state import TrainState
from draw.training.step import Stepper
from tests import twin
from tests.kernels.common import EXTREMES

TINY = ClassifierConfig(height=9, width=11, glimpses=3, hidden_size=6, read_size=3, classes=4)


def tiny_classifier(**changes) -> GlimpseClassifier:
    """Create a float64 classifier in which no parameter is zero."""
    torch.manual_seed(0)
    model = GlimpseClassifier(replace(TINY, **changes)).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return model


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("read_size", [1, 3])
def test_the_classifier_equals_the_twin(channels, read_size):
    model = tiny_classifier(channels=channels, read_size=read_size)
    x = torch.rand(2, *model.config.image_shape, dtype=torch.float64)
    output = model(x)
    weights = {name: value.numpy() for name, value in model.state_dict().items()}
    for b in range(len(x)):
        expected = twin.classify(weights, x[b].numpy(), 3, read_size)
        np.testing.assert_allclose(output.logits[:, b].detach(), expected, rtol=1e-9)


def test_gradcheck_of_every_parameter():
    model = tiny_classifier(hidden_size=2, read_size=2, height=5, width=5, glimpses=2)
    x, labels = torch.rand(2, 1, 5, 5, dtype=torch.float64), torch.tensor([0, 3])
    names, values = zip(*model.named_parameters(), strict=True)

    def nats(*values):
        output = torch.func.functional_call(model, dict(zip(names, values, strict=True)), (x,))
        return log_probability(output, labels)

    assert torch.autograd.gradcheck(nats, values)
    nats(*values).sum().backward()
    assert all(value.grad.abs().max() > 0 for value in values)


def window_gradients(
    model: GlimpseClassifier, loss_scale: float = 1, max_norm: float = MAX_WINDOW_GRADIENT
) -> torch.Tensor:
    """Return each image's gradient with respect to the bias of its windows, [5, 5]."""
    x = torch.rand(5, 1, 9, 11, generator=Generator().manual_seed(1)).to(model.h_0.dtype)
    labels = torch.arange(5) % 4
    rows = []
    for b in range(len(x)):
        model.zero_grad()
        limit = GradientLimit(max_norm)
        nats = log_probability(model(x[b : b + 1], limit=limit), labels[b : b + 1])
        (loss_scale * limit.watch(nats)).sum().backward()
        rows.append(model.read_window.bias.grad.clone())
    return torch.stack(rows)


@pytest.mark.parametrize(("scale", "is_small"), [(1, True), (10_000, False)])
def test_large_window_gradients_of_an_image_are_clipped(scale, is_small):
    model = tiny_classifier(glimpses=2)
    with torch.no_grad():
        model.read_window.weight.zero_()  # no gradient flows from a window to earlier glimpses
        model.head.weight.mul_(scale)
    clipped = window_gradients(model)
    unclipped = window_gradients(model, max_norm=math.inf)
    assert (clipped.norm(dim=1) <= 2 * MAX_WINDOW_GRADIENT).all()  # two glimpses
    assert (unclipped.norm(dim=1).max() <= 2 * MAX_WINDOW_GRADIENT) == is_small
    assert torch.equal(clipped, unclipped) == is_small


@pytest.mark.parametrize("engine", ["plain", "auto"])
@pytest.mark.parametrize("loss_scale", [1 / 128, 65_536])
def test_the_limit_of_window_gradients_does_not_depend_on_the_scale_of_the_loss(loss_scale, engine):
    """A mean instead of a sum, or the initial scale of a GradScaler."""
    model = tiny_classifier(glimpses=2)
    model.head.weight.data.mul_(10_000)  # large gradients, which are clipped
    if engine == "auto":
        model.float()
    model.engine = engine
    gradients = window_gradients(model)
    torch.testing.assert_close(window_gradients(model, loss_scale), loss_scale * gradients)


def test_the_objective_limits_the_gradients_of_windows():
    model, x = tiny_classifier(glimpses=1), torch.rand(2, 1, 9, 11, dtype=torch.float64)
    model.head.weight.data.mul_(10_000)
    norms = []
    for nats in (
        model.objective(x, torch.tensor([0, 1]), torch.empty(0, 2)),
        log_probability(model(x), torch.tensor([0, 1])),
    ):
        model.zero_grad()
        (-nats).sum().backward()
        norms.append(model.read_window.bias.grad.norm())
    assert norms[0] <= 2 * MAX_WINDOW_GRADIENT < norms[1]


def test_the_first_glimpse_covers_the_image_and_does_not_depend_on_it():
    model = GlimpseClassifier(ClassifierConfig())
    window = model(torch.rand(2, 1, 100, 100)).read_window
    edges = torch.stack([edge[0] for edge in box(window, 12)])  # first glimpse
    expected = torch.tensor([0.5, 0.5, 100.5, 100.5])[:, None].expand(4, 2)
    torch.testing.assert_close(edges, expected, rtol=0, atol=1e-3)


def test_log_probability_is_that_of_the_label_after_the_last_glimpse():
    logits = torch.randn(3, 5, 4, generator=Generator().manual_seed(0))
    labels = torch.tensor([0, 1, 2, 3, 0])
    p = np.exp(logits[-1].double().numpy())
    p /= p.sum(1, keepdims=True)
    nats = log_probability(ClassifierOutput(logits, None), labels)
    np.testing.assert_allclose(nats, np.log(p[range(5), labels]), rtol=1e-5)


@pytest.mark.parametrize("read_size", [1, 3])
@pytest.mark.parametrize("extreme", EXTREMES)
def test_extreme_windows_give_finite_numbers_in_float32(extreme, read_size):
    g, *logs = extreme
    model = tiny_classifier(read_size=read_size).float()
    with torch.no_grad():
        model.read_window.bias.copy_(torch.tensor([g, g, *logs]))
    nats = log_probability(model(torch.rand(4, 1, 9, 11)), torch.tensor([0, 1, 2, 3]))
    nats.sum().backward()
    assert nats.isfinite().all()
    assert all(p.grad.isfinite().all() for p in model.parameters())


def test_images_of_another_size_and_other_engines_are_errors():
    model = tiny_classifier()
    with pytest.raises(ConfigError, match=r"takes \(batch, 1, 9, 11\)"):
        model(torch.rand(2, 1, 11, 9, dtype=torch.float64))
    for engine, message in [
        ("fused", "only supports float32"),
        ("foo", "unknown engine 'foo'; use 'auto', 'plain' or 'fused'"),
    ]:
        model.engine = engine
        with pytest.raises(ConfigError, match=message):
            model(torch.rand(2, 1, 9, 11, dtype=torch.float64))


@pytest.mark.parametrize(
    ("name", "value"), [("glimpses", 0), ("classes", 1), ("read_size", 200), ("channels", 2)]
)
def test_an_invalid_configuration_names_the_field(name, value):
    with pytest.raises(ConfigError, match=f"model.{name} is {value}; it must be"):
        ClassifierConfig(**{name: value})


def test_it_learns_to_distinguish_shapes_at_random_positions():
    """Training on bars and blocks, drawn anew for every minibatch, leads to almost no errors."""
    shapes = torch.zeros(2, 1, 6, 6, dtype=torch.uint8)
    shapes[0, 0, :, 2:4] = 255
    shapes[1, 0, 1:5, 1:5] = 255
    pixels, labels = shapes.repeat(20, 1, 1, 1), torch.arange(2).repeat(20)
    transform = Cluttered(pixels.new_zeros(1, 1, 8, 8), size=24, pieces=0)
    images = Images(pixels=pixels, labels=labels, transform=transform)
    model = ClassifierConfig(
        height=24, width=24, glimpses=3, hidden_size=32, read_size=4, classes=2
    )
    config = TrainConfig(model=model, data="mnist", batch_size=40, learning_rate=3e-3, steps=250)
    state = TrainState.create(config)
    stepper = Stepper(state, config, Batches(images, 40, seed=0))
    for _ in range(config.steps):
        stepper.start_step()
        list(stepper.read())
    assert classify(state.ema, images, seed=1).errors <= 2
