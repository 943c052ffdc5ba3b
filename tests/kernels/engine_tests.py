"""Tests that every engine passes: the values and gradients are those of the plain engine."""

import pytest
import torch

from draw.model import DRAW
from draw.objectives import elbo

from .common import (
    EXTREMES,
    LOSSES,
    TOLERANCE,
    blacken_and_whiten,
    compare,
    compare_extreme,
    error,
    inputs,
    plain64,
)

WITHOUT_ATTENTION = {"read_size": None, "write_size": None}


class EngineTests:
    """Tests of one engine; a subclass defines `network`."""

    @staticmethod
    def network(**changes) -> DRAW:
        raise NotImplementedError

    @pytest.mark.parametrize("read_size", [2, None])
    @pytest.mark.parametrize("likelihood", ["bernoulli", "logistic"])
    def test_canvases_beyond_black_and_white(self, likelihood, read_size):
        model = self.network(likelihood=likelihood, read_size=read_size)
        blacken_and_whiten(model)
        compare(model, batch=1, loss="all")

    @pytest.mark.parametrize("loss", LOSSES)
    def test_gradients_of_every_output(self, loss):
        compare(self.network(), batch=1, loss=loss)

    @pytest.mark.parametrize(("height", "width"), [(2, 2), (16, 5), (5, 33), (40, 38)])
    def test_shapes_of_images(self, height, width):
        """Images span from less than one vector or tile to several on either axis."""
        compare(self.network(height=height, width=width, glimpses=1), batch=1)

    def test_fewer_glimpses_than_configured(self):
        model = self.network(glimpses=3)
        x, eps = inputs(model, 2)
        exact = plain64(model)(x.double(), eps=eps[:1].double())
        assert error(model(x, eps=eps[:1]).kl, exact.kl) < TOLERANCE

    # ------------------------------------------------------------ order

    def test_interleaved_and_repeated_backward_passes(self):
        """Each call keeps its own activations, until its graph is released."""
        model = self.network(glimpses=1)
        (x, eps), (x2, eps2) = inputs(model, 1), inputs(model, 1)

        def gradient(loss: torch.Tensor) -> torch.Tensor:
            model.zero_grad()
            loss.backward(retain_graph=True)
            return model.encoder.weight_hh.grad.clone()

        alone = [gradient(elbo(model(a, eps=e)).sum()) for a, e in ((x, eps), (x2, eps2))]
        first, second = elbo(model(x, eps=eps)).sum(), elbo(model(x2, eps=eps2)).sum()
        with torch.no_grad():
            model(x2, eps=eps2)
        assert torch.equal(gradient(second), alone[1])
        assert torch.equal(gradient(first), alone[0])
        assert torch.equal(gradient(first), alone[0])

    def test_equal_inputs_give_equal_bits(self):
        def gradients() -> list[torch.Tensor]:
            model = self.network(glimpses=1)
            x, eps = inputs(model, 2)
            trace = model(x, eps=eps)
            (-elbo(trace).mean()).backward()
            return [trace.canvas, trace.kl, *(p.grad for p in model.parameters())]

        assert all(torch.equal(a, b) for a, b in zip(gradients(), gradients(), strict=True))

    # ------------------------------------------------------------ extreme numbers

    @pytest.mark.parametrize("sizes", [{}, WITHOUT_ATTENTION], ids=str)
    def test_nan_reaches_the_loss(self, sizes, monkeypatch):
        """The non-finite guard of training depends on this."""
        monkeypatch.setattr("draw.inputs.value_range", lambda x: None)  # it would reject the image
        model = self.network(glimpses=1, **sizes)
        x, eps = inputs(model, 3)
        x[1, 0, 4, 5] = torch.nan
        bound = elbo(model(x, eps=eps))
        assert bound.isnan().tolist() == [False, True, False]
        bound.mean().backward()
        assert model.encoder.weight_ih.grad.isnan().any()

    @pytest.mark.parametrize("logit", [-1e30, -200.0, -95.0, 89.0, 200.0, 1e30])
    def test_canvases_beyond_the_range_of_exp(self, logit):
        model = self.network(glimpses=1)
        with torch.no_grad():
            model.canvas_0.fill_(logit)
            model.canvas_0[:, ::2] = 0.3
        compare(model, batch=1)

    def test_saturated_gates(self):
        """Inputs beyond the range of exp give gates of 0 or 1, and finite gradients."""
        model = self.network(hidden_size=4)
        with torch.no_grad():
            extremes = torch.tensor([-200.0, -90.0, 90.0, 200.0], device=model.device)
            model.decoder.bias_ih.add_(extremes.repeat(4))
        x, eps = inputs(model, 2)
        trace, exact = model(x, eps=eps), plain64(model)(x.double(), eps=eps.double())
        assert error(trace.canvas, exact.canvas) < TOLERANCE
        elbo(trace).sum().backward()
        assert all(p.grad.isfinite().all() for p in model.parameters())

    @pytest.mark.filterwarnings("ignore::RuntimeWarning")  # NumPy's, in Triton's interpreter
    def test_an_overflowing_sigma_gives_an_infinite_bound(self):
        model = self.network()
        with torch.no_grad():
            model.posterior.bias[model.config.latent_size :] = 100
            assert not elbo(model(inputs(model, 1)[0])).isfinite().any()

    @pytest.mark.parametrize("extreme", EXTREMES, ids=str)
    def test_extreme_windows(self, extreme):
        compare_extreme(self.network(read_size=3, write_size=3), *extreme)
