"""The glimpses that classify: against their twin, their start, and that they learn to look."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from draw.tasks import CLASSIFYING
from torch import Generator
from torch.nn.functional import cross_entropy

from draw.attention import box
from draw.classifier import ClassifierConfig, ClassifierOutput, GlimpseClassifier
from draw.data import Batches
from draw.data.dataset import Images
from draw.data.transforms import Cluttered
from draw.errors import ConfigError
from draw.evaluation import classify, wilson_interval
from draw.objectives import log_probability
from draw.training.config import TrainConfig
from draw.training.step import Stepper, TrainState
from tests import twin
from tests.kernels.common import EXTREMES

TINY = ClassifierConfig(height=9, width=11, glimpses=3, hidden_size=6, read_size=3, classes=4)


def tiny_classifier(**changes) -> GlimpseClassifier:
    """A float64 model, all of whose parameters are away from where they start."""
    torch.manual_seed(0)
    model = GlimpseClassifier(replace(TINY, **changes)).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return model


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("read_size", [1, 3])
def test_it_equals_its_twin(channels, read_size):
    model = tiny_classifier(channels=channels, read_size=read_size)
    x = torch.rand(2, *model.config.image_shape, dtype=torch.float64)
    seen = model(x)
    weights = {name: value.numpy() for name, value in model.state_dict().items()}
    for b in range(len(x)):
        expected = twin.classify(weights, x[b].numpy(), 3, read_size)
        np.testing.assert_allclose(seen.logits[:, b].detach(), expected, rtol=1e-9)


def test_every_parameter_has_a_gradient_and_gradcheck_agrees():
    model = tiny_classifier(hidden_size=2, read_size=2, height=5, width=5, glimpses=2)
    x, labels = torch.rand(2, 1, 5, 5, dtype=torch.float64), torch.tensor([0, 3])
    names, values = zip(*model.named_parameters(), strict=True)

    def nats(*values):
        seen = torch.func.functional_call(model, dict(zip(names, values, strict=True)), (x,))
        return log_probability(seen, labels)

    assert torch.autograd.gradcheck(nats, values)
    nats(*values).sum().backward()
    assert all(value.grad.abs().max() > 0 for value in values)


@pytest.mark.parametrize(("loudness", "tame"), [(1, True), (10_000, False)])
def test_no_image_pulls_at_a_window_with_more_than_its_share(monkeypatch, loudness, tame):
    """A gradient of at most 30 a glimpse; a smaller one as it is."""
    model = tiny_classifier(glimpses=2)
    x, labels = torch.rand(5, 1, 9, 11, dtype=torch.float64), torch.arange(5) % 4
    with torch.no_grad():
        model.read_window.weight.zero_()  # so that no glimpse leads back to the one before
        model.answer.weight.mul_(loudness)

    def pulls() -> torch.Tensor:
        gradients = []
        for b in range(len(x)):
            model.zero_grad()
            log_probability(model(x[b : b + 1]), labels[b : b + 1]).sum().backward()
            gradients.append(model.read_window.bias.grad.clone())
        return torch.stack(gradients)

    limited = pulls()
    monkeypatch.setattr("draw.classifier.WINDOW_GRADIENT", math.inf)
    free = pulls()
    assert (limited.norm(dim=1) <= 60).all()
    assert (free.norm(dim=1).max() <= 60) == tame
    assert torch.equal(limited, free) == tame


def test_the_first_glimpse_covers_the_image_and_does_not_depend_on_it():
    model = GlimpseClassifier(ClassifierConfig())
    window = model(torch.rand(2, 1, 100, 100)).read
    edges = torch.stack([edge[0] for edge in box(window, 12)])  # of the first glimpse
    expected = torch.tensor([0.5, 0.5, 100.5, 100.5])[:, None].expand(4, 2)
    torch.testing.assert_close(edges, expected, rtol=0, atol=1e-3)


def test_log_probability_is_that_of_the_label_after_the_last_glimpse():
    logits = torch.randn(3, 5, 4, generator=Generator().manual_seed(0))
    labels = torch.tensor([0, 1, 2, 3, 0])
    got = log_probability(ClassifierOutput(logits, None), labels)
    assert torch.equal(got, -cross_entropy(logits[-1], labels, reduction="none"))
    p = np.exp(logits[-1].double().numpy())
    p /= p.sum(1, keepdims=True)
    np.testing.assert_allclose(got, np.log(p[range(5), labels]), rtol=1e-5)


def test_images_of_another_size_and_the_fused_engine_are_refused():
    model = tiny_classifier()
    with pytest.raises(ConfigError, match=r"takes \(batch, 1, 9, 11\)"):
        model(torch.rand(2, 1, 11, 9, dtype=torch.float64))
    model.engine = "fused"
    with pytest.raises(ConfigError, match="cannot run a classifier"):
        model(torch.rand(2, 1, 9, 11, dtype=torch.float64))


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


@pytest.mark.parametrize(
    ("name", "value"), [("glimpses", 0), ("classes", 1), ("read_size", 200), ("channels", 2)]
)
def test_a_configuration_outside_its_range_is_refused(name, value):
    with pytest.raises(ConfigError, match=f"model.{name} is {value}; it must be"):
        ClassifierConfig(**{name: value})


# ---------------------------------------------------------------------- errors


class Oracle(GlimpseClassifier):
    """Says of a picture what its first pixel says, and before that always 0."""

    def forward(self, x):
        last = torch.eye(10)[(x[:, 0, 0, 0] * 255).round().long()]
        return ClassifierOutput(torch.stack([torch.eye(10)[:1].expand(len(x), 10), last]), None)


def test_errors_are_counted_by_glimpse():
    pixels = torch.zeros(700, 1, 4, 4, dtype=torch.uint8)  # more than are run side by side
    pixels[:, 0, 0, 0] = torch.arange(700) % 10
    labels = torch.arange(700) % 10
    labels[:7] = 9
    progress = []
    result = classify(
        Oracle(replace(TINY, classes=10)),
        Images(pixels=pixels, labels=labels),
        progress=lambda *p: progress.append(p),
    )
    assert (result.images, result.errors) == (700, 7)
    assert result.error == 0.01
    assert result.error_interval == wilson_interval(7, 700)
    assert result.error_by_glimpse == (1 - 69 / 700, 0.01)
    assert progress == [(512, 700), (700, 700)]
    right, wrong = np.log(np.e / (np.e + 9)), np.log(1 / (np.e + 9))
    assert result.log_likelihood_nats == pytest.approx(0.99 * right + 0.01 * wrong)


@pytest.mark.parametrize(("errors", "trials"), [(0, 10), (10, 10), (3, 50), (336, 10_000)])
def test_the_interval_is_wilsons(errors, trials):
    """Its ends are the shares from which what was counted is 1.96 standard errors away."""
    for end in wilson_interval(errors, trials):
        deviation = 1.959964 * np.sqrt(end * (1 - end) / trials)
        assert abs(errors / trials - end) == pytest.approx(deviation, abs=1e-9)


def test_images_without_labels_or_with_unknown_ones_are_refused():
    pixels = torch.zeros(3, 1, 9, 11, dtype=torch.uint8)
    with pytest.raises(ConfigError, match="have none"):
        CLASSIFYING.check(TINY, Images(pixels=pixels))
    with pytest.raises(ConfigError, match="have none"):
        classify(tiny_classifier().float(), Images(pixels=pixels))
    with pytest.raises(ConfigError, match=r"from 0 to 4, but model\.classes is 4"):
        CLASSIFYING.check(TINY, Images(pixels=pixels, labels=torch.tensor([0, 1, 4])))
    with pytest.raises(ConfigError, match="from -1 to 2"):
        classify(tiny_classifier().float(), Images(pixels=pixels, labels=torch.tensor([0, 2, -1])))
    CLASSIFYING.check(TINY, Images(pixels=pixels, labels=torch.tensor([0, 1, 3])))


# ---------------------------------------------------------------------- learning


def test_it_learns_to_tell_bars_from_blocks_that_lie_anywhere():
    """The whole way from pictures made afresh to few errors; their brightness alone would do."""
    shapes = torch.zeros(2, 1, 6, 6, dtype=torch.uint8)
    shapes[0, 0, :, 2:4] = 255
    shapes[1, 0, 1:5, 1:5] = 255
    pixels, labels = shapes.repeat(20, 1, 1, 1), torch.arange(2).repeat(20)
    clutter = Cluttered(pixels.new_zeros(1, 1, 8, 8), size=24, pieces=0)
    images = Images(pixels=pixels, labels=labels, transform=clutter)
    model = ClassifierConfig(
        height=24, width=24, glimpses=3, hidden_size=32, read_size=4, classes=2
    )
    config = TrainConfig(model=model, data="mnist", batch_size=40, learning_rate=3e-3, steps=250)
    state = TrainState.create(config)
    steps = Stepper(state, config, Batches(images, 40, seed=0))
    for _ in range(config.steps):
        steps.take()
        list(steps.read())
    assert classify(state.ema, images, seed=1).errors <= 2
