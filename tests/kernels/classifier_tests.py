"""Tests that every engine passes for classifiers: the results are those of the plain engine."""

import copy
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from draw.classifier import ClassifierConfig, ClassifierOutput, GlimpseClassifier, log_probability

from .common import EXTREMES, TOLERANCE, error

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


def images(model: GlimpseClassifier, batch: int) -> torch.Tensor:
    return torch.rand(batch, *model.config.image_shape).to(model.device)


def nats(output: ClassifierOutput) -> torch.Tensor:
    labels = torch.arange(output.logits.shape[1], device=output.logits.device) % 4
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
    x = images(model, batch)
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
    compare_gradients(model, truth)


def compare_gradients(model: GlimpseClassifier, truth: GlimpseClassifier) -> None:
    for (name, got), expected in zip(model.named_parameters(), truth.parameters(), strict=True):
        if expected.grad is None or not expected.grad.any():
            assert got.grad is None or not got.grad.any(), name
        else:
            assert error(got.grad, expected.grad) < TOLERANCE, name


class ClassifierTests:
    """Tests of one engine; a subclass defines `network`."""

    @staticmethod
    def network(**changes) -> GlimpseClassifier:
        raise NotImplementedError

    @pytest.mark.parametrize("loss", LOSSES)
    def test_losses(self, loss):
        compare(self.network(), batch=2, loss=LOSSES[loss])

    @pytest.mark.parametrize(("height", "width"), [(2, 2), (16, 5), (5, 33), (40, 38)])
    def test_shapes_of_images(self, height, width):
        """Images span from less than one vector or tile to several on either axis."""
        compare(self.network(height=height, width=width), batch=1)

    def test_black_images(self):
        model = self.network()
        nats(model(torch.zeros_like(images(model, 2)))).backward()
        assert not model.cell.weight_ih.grad.any()  # the patches are zero
        assert model.cell.weight_hh.grad.any()

    def test_gradients_beyond_the_limit(self):
        model = self.network()
        model.head.weight.data.mul_(10_000)
        truth = copy.deepcopy(model).double()
        truth.engine = "plain"
        x, labels = images(model, 2), torch.tensor([0, 1], device=model.device)
        for network, batch in ((model, x), (truth, x.double())):
            network.objective(batch, labels, torch.empty(0, 2)).mean().backward()
        compare_gradients(model, truth)
        clipped = model.read_window.bias.grad.norm()
        model.zero_grad()
        nats(model(x)).div(2).backward()
        assert model.read_window.bias.grad.norm() > 2 * clipped

    @pytest.mark.parametrize("extreme", EXTREMES, ids=str)
    def test_extreme_windows_have_finite_gradients(self, extreme):
        g, *logs = extreme
        model = self.network()
        with torch.no_grad():
            model.read_window.bias.copy_(torch.tensor([g, g, *logs]))
        output = model(images(model, 1))
        nats(output).backward()
        assert output.logits.isfinite().all()
        assert all(p.grad.isfinite().all() for p in model.parameters())

    def test_nan_reaches_the_loss(self, monkeypatch):
        """The non-finite guard of training depends on this."""
        monkeypatch.setattr("draw.classifier.check_images", lambda *_: None)  # rejects NaN
        model = self.network()
        x = images(model, 2)
        x[1, 0, 4, 5] = torch.nan
        output = model(x)
        assert output.logits[-1].isnan().any(1).tolist() == [False, True]
        nats(output).backward()
        assert model.cell.weight_ih.grad.isnan().any()

    def test_a_retained_graph_can_run_backward_twice(self):
        model = self.network()
        x = images(model, 1)
        loss = nats(model(x))
        loss.backward(retain_graph=True)
        once = model.h_0.grad.clone()
        nats(model(x)).backward()
        loss.backward()
        torch.testing.assert_close(model.h_0.grad, 3 * once)

    def test_frozen_parameters_get_no_gradient(self):
        model = self.network()
        model.cell.requires_grad_(False)
        nats(model(images(model, 1))).backward()
        assert model.cell.weight_ih.grad is None
        assert model.head.weight.grad.abs().max() > 0
