"""The fused engine against the plain path: the same values, the same gradients."""

from collections.abc import Iterator

import pytest
import torch
from torch.autograd import forward_ad

from draw import kernels
from draw.errors import ConfigError
from draw.kernels.cpu import recurrence
from draw.model import DRAW, DRAWConfig
from draw.objectives import elbo

from ..common import (
    EXTREMES,
    KINDS,
    LOSSES,
    SMALL,
    TOLERANCE,
    VALUES,
    blacken_and_whiten,
    compare,
    compare_extreme,
    error,
    inputs,
    network,
    plain64,
)

pytestmark = pytest.mark.skipif(not kernels.available(), reason="no compiler, or no MKL")


@pytest.fixture(params=[1, 2, 5])
def threads(request) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize(
    ("read_size", "write_size"),
    [(None, None), (2, None), (None, 3), (2, 5), (1, 1), (3, 2), (12, 12)],
)
def test_every_attention_on_every_kind_of_picture(read_size, write_size, kind):
    compare(network(read_size=read_size, write_size=write_size, **kind))


@pytest.mark.parametrize("read_size", [2, None])
@pytest.mark.parametrize("likelihood", ["bernoulli", "logistic"])
def test_canvases_beyond_black_and_white(likelihood, read_size):
    model = network(likelihood=likelihood, read_size=read_size)
    blacken_and_whiten(model)
    compare(model, loss="all")


@pytest.mark.parametrize("batch", [1, 2, 3, 7, 64])
def test_every_batch_and_number_of_threads(batch, threads):
    compare(network(), batch=batch)
    compare(network(read_size=None, write_size=None), batch=batch)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize(("read_size", "write_size"), [(2, 5), (None, None)])
def test_gradients_enter_by_every_output(loss, read_size, write_size):
    compare(network(read_size=read_size, write_size=write_size), loss=loss)


@pytest.mark.parametrize(("height", "width"), [(2, 2), (16, 5), (5, 33), (54, 54)])
def test_every_shape_of_image(height, width):
    compare(network(height=height, width=width))


@pytest.mark.parametrize("glimpses", [1, 2, 64])
def test_every_number_of_steps(glimpses):
    compare(network(glimpses=glimpses), batch=5)


def test_the_papers_network():
    """All sizes as in table 3; more rows than one product of a weight's gradient takes."""
    torch.manual_seed(0)
    model = DRAW(DRAWConfig(glimpses=24))
    model.engine = "fused"
    compare(model, batch=50)


# ---------------------------------------------------------------- without gradients


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize(("read_size", "write_size"), [(None, None), (2, None), (None, 3), (2, 5)])
@torch.no_grad()
def test_the_path_that_saves_nothing(read_size, write_size, kind, threads):
    model = network(read_size=read_size, write_size=write_size, **kind)
    x, eps = inputs(model, 7)
    exact, fused = (m(x.to(e.dtype), eps=e, record=True) for m, e in _both(model, eps))
    lean = model(x, eps=eps)
    for name in VALUES:
        assert error(getattr(fused, name), getattr(exact, name)) < TOLERANCE, name
    for window in ("read", "write"):
        got, expected = getattr(fused, window) or (), getattr(exact, window) or ()
        assert all(error(a, b) < TOLERANCE for a, b in zip(got, expected, strict=True))
    assert torch.equal(lean.canvas[0], fused.canvas[-1])
    assert torch.equal(lean.kl, fused.kl)
    assert lean.read is None
    assert lean.write is None


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize(("read_size", "write_size"), [(None, None), (2, None), (None, 3), (2, 5)])
@torch.no_grad()
def test_generation(read_size, write_size, kind, threads):
    model = network(read_size=read_size, write_size=write_size, **kind)
    _, eps = inputs(model, 7)
    exact, fused = (m.generate(7, z=e, record=True) for m, e in _both(model, eps))
    assert error(fused.canvas, exact.canvas) < TOLERANCE
    assert fused.read is None
    assert (fused.write is None) == (exact.write is None)
    if fused.write is not None:
        assert error(fused.write.sigma2, exact.write.sigma2) < TOLERANCE
    assert torch.equal(model.generate(7, z=eps).canvas[0], fused.canvas[-1])


def _both(model: DRAW, eps: torch.Tensor) -> list[tuple[DRAW, torch.Tensor]]:
    return [(plain64(model), eps.double()), (model, eps)]


# ---------------------------------------------------------------- memory and order


def test_two_forwards_before_a_backward():
    """Each run keeps a memory of its own, whichever goes back first."""
    model = network()
    (x, eps), (x2, eps2) = inputs(model, 3), inputs(model, 3)

    def gradient(loss: torch.Tensor) -> torch.Tensor:
        model.zero_grad()
        loss.backward()
        return model.encoder.weight_hh.grad.clone()

    alone = [gradient(elbo(model(a, eps=e)).sum()) for a, e in ((x, eps), (x2, eps2))]
    first, second = elbo(model(x, eps=eps)).sum(), elbo(model(x2, eps=eps2)).sum()
    with torch.no_grad():
        model(x2, eps=eps2)
        model.generate(3)
    assert torch.equal(gradient(second), alone[1])
    assert torch.equal(gradient(first), alone[0])


def test_a_graph_that_is_retained_goes_back_twice():
    model = network()
    x, eps = inputs(model, 3)
    loss = elbo(model(x, eps=eps)).sum()
    loss.backward(retain_graph=True)
    once = model.canvas_0.grad.clone()
    elbo(model(x, eps=eps)).sum().backward()
    loss.backward()
    torch.testing.assert_close(model.canvas_0.grad, 3 * once)


def test_memory_is_used_again():
    model = network()
    x, eps = inputs(model, 3)
    elbo(model(x, eps=eps)).sum().backward()
    (spare,) = recurrence._spare
    loss = elbo(model(x, eps=eps)).sum()
    assert recurrence._spare == []
    loss.backward()
    assert recurrence._spare[0].data_ptr() == spare.data_ptr()


def test_the_same_inputs_give_the_same_bits(threads):
    def gradients() -> list[torch.Tensor]:
        model = network(glimpses=40)
        x, eps = inputs(model, 64)
        torch.empty(int(torch.randint(1, 10**6, ()))).fill_(1)  # other places in memory
        trace = model(x, eps=eps)
        (-elbo(trace).mean()).backward()
        return [trace.canvas, trace.kl, *(p.grad for p in model.parameters())]

    assert all(torch.equal(a, b) for a, b in zip(gradients(), gradients(), strict=True))


def test_other_threads_other_rounding_same_gradient():
    model = network()
    x, eps = inputs(model, 64)
    gradients = []
    before = torch.get_num_threads()
    for count in (1, 2):
        torch.set_num_threads(count)
        model.zero_grad()
        elbo(model(x, eps=eps)).sum().backward()
        gradients.append(model.encoder.weight_ih.grad.clone())
    torch.set_num_threads(before)
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-4)


def test_the_threads_may_change_between_forward_and_backward():
    model = network()
    x, eps = inputs(model, 8)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    loss = elbo(model(x, eps=eps)).sum()
    torch.set_num_threads(1)
    loss.backward()
    got = model.encoder.weight_ih.grad.clone()
    model.zero_grad()
    torch.set_num_threads(2)
    elbo(model(x, eps=eps)).sum().backward()
    torch.set_num_threads(before)
    assert torch.equal(got, model.encoder.weight_ih.grad)


# ---------------------------------------------------------------- numbers at the edge


def test_not_a_number_reaches_the_loss():
    """The guard of the training must see it."""
    for sizes in ({}, {"read_size": None, "write_size": None}):
        model = network(**sizes)
        x, eps = inputs(model, 3)
        x[1, 0, 4, 5] = torch.nan
        bound = elbo(model(x, eps=eps))
        assert bound.isnan().tolist() == [False, True, False]
        bound.mean().backward()
        assert model.encoder.weight_ih.grad.isnan().any()


@pytest.mark.parametrize("logit", [-1e30, -1e4, -200.0, -95.0, 89.0, 200.0, 1e4, 1e30])
def test_canvases_beyond_the_range_of_exp(logit):
    model = network()
    with torch.no_grad():
        model.canvas_0.fill_(logit)
        model.canvas_0[:, ::2] = 0.3
    compare(model)


def test_saturated_gates():
    """Beyond the range of exp either way, the gates are 0 or 1, and nothing is infinite."""
    model = network()
    with torch.no_grad():
        model.decoder.bias_ih.add_(torch.tensor([-200.0, -90.0, 90.0, 200.0]).repeat(20))
    x, eps = inputs(model, 3)
    trace, exact = model(x, eps=eps), plain64(model)(x.double(), eps=eps.double())
    assert error(trace.canvas, exact.canvas) < TOLERANCE
    elbo(trace).sum().backward()
    assert all(p.grad.isfinite().all() for p in model.parameters())


def test_an_overflowing_sigma_is_infinite():
    model = network()
    with torch.no_grad():
        model.posterior.bias[SMALL["latent_size"] :] = 100
    bound = elbo(model(*inputs(model, 2)[:1]))
    assert not bound.isfinite().any()


@pytest.mark.parametrize(("height", "width"), [(9, 13), (2, 2)])
@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("extreme", EXTREMES)
def test_extreme_windows(extreme, n, height, width):
    compare_extreme(network(height=height, width=width, read_size=n, write_size=n), *extreme)


def test_denormals_are_left_to_the_caller():
    model = network()
    elbo(model(inputs(model, 2)[0])).sum().backward()
    tiny = torch.tensor([1e-40])
    assert float(tiny * 0.5) != 0


# ---------------------------------------------------------------- the choice


def chosen(model: DRAW, eps: torch.Tensor, x: torch.Tensor | None = None, record=False) -> bool:
    return kernels.chosen(model, eps, x, batch=2, record=record)


def test_auto_is_fused_in_float32_and_plain_elsewhere():
    model = network(engine="auto")
    x, eps = inputs(model, 2)
    assert chosen(model, eps, x)
    assert not chosen(model, eps, x, record=True)  # gradients through windows
    assert not chosen(model, eps)
    assert not chosen(model, eps, x.clone().requires_grad_())
    assert not chosen(model, eps[:, :1], x)  # the plain path spreads it or says what is wrong
    assert not chosen(model, eps[..., :3], x)
    with torch.no_grad():
        assert chosen(model, eps, x, record=True)
        assert chosen(model, eps)
        with torch.autocast("cpu"):
            assert not chosen(model, eps, x)
        assert not chosen(model.double(), eps.double(), x.double())


def test_a_hook_in_a_layer_is_called():
    model = network(engine="auto")
    x, eps = inputs(model, 2)
    calls = []
    hook = model.patch.register_forward_hook(lambda *call: calls.append(call))
    model(x, eps=eps)
    assert len(calls) == SMALL["glimpses"]
    hook.remove()
    assert chosen(model, eps, x)


def test_a_hook_of_all_modules_is_called():
    model = network(engine="auto")
    x, eps = inputs(model, 2)
    calls = []
    hook = torch.nn.modules.module.register_module_forward_hook(
        lambda module, *_: calls.append(module)
    )
    try:
        model(x, eps=eps)
    finally:
        hook.remove()
    assert calls.count(model.patch) == SMALL["glimpses"]
    assert chosen(model, eps, x)


@pytest.mark.parametrize("backend", ["cuda", "mkldnn"])
def test_precisions_under_their_new_names_are_no_obstacle(backend):
    matmul = getattr(torch.backends, backend).matmul
    before = matmul.fp32_precision
    model = network(engine="auto")
    x, eps = inputs(model, 2)
    try:
        matmul.fp32_precision = "tf32"
        assert chosen(model, eps, x)
    finally:
        matmul.fp32_precision = before


def test_noise_of_another_shape_is_the_plain_paths():
    model = network(engine="auto")
    _, eps = inputs(model, 3)
    with torch.no_grad(), pytest.raises(RuntimeError):
        model.generate(5, z=eps)


def test_fewer_steps_than_the_configuration_says():
    model = network()
    x, eps = inputs(model, 3)
    exact = plain64(model)(x.double(), eps=eps[:2].double())
    assert error(model(x, eps=eps[:2]).kl, exact.kl) < TOLERANCE


def test_parameters_and_inputs_that_are_not_contiguous():
    model = network()
    for linear in (model.posterior, model.patch):
        linear.weight.data = linear.weight.data.t().contiguous().t()
    x, eps = inputs(model, 3)
    exact = plain64(model)(x.double(), eps=eps.double())
    fused = model(x.transpose(2, 3).contiguous().transpose(2, 3), eps=eps)
    assert error(fused.canvas, exact.canvas) < TOLERANCE


def test_memory_of_an_inference_can_serve_a_training():
    model = network()
    x, eps = inputs(model, 3)
    with torch.inference_mode():
        model(x, eps=eps)
    (spare,) = recurrence._spare
    assert not spare.is_inference()
    elbo(model(x, eps=eps)).sum().backward()


def test_other_defaults_of_torch_do_not_matter():
    model = network()
    x, eps = inputs(model, 3)
    expected = model(x, eps=eps)
    recurrence._spare.clear()
    torch.set_default_dtype(torch.float64)
    try:
        with torch.device("meta"):
            assert torch.equal(model(x, eps=eps).kl, expected.kl)
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("engine", ["auto", "plain"])
def test_gradients_that_only_the_plain_path_has(engine):
    model = network(engine=engine)
    x, eps = inputs(model, 2)
    x.requires_grad_()
    elbo(model(x, eps=eps)).sum().backward()
    assert x.grad.abs().max() > 0
    trace = model(x.detach(), eps=eps, record=True)
    trace.write.delta.sum().backward()
    assert model.write_window.weight.grad.abs().max() > 0
    model.zero_grad()
    model.generate(2).canvas.sum().backward()
    assert model.patch.weight.grad.abs().max() > 0


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


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")  # which torch itself calls
def test_in_forward_mode_the_canvas_has_its_tangent():
    model = network(engine="auto")
    x, eps = inputs(model, 2)
    with torch.no_grad(), forward_ad.dual_level():
        seen = model(x, eps=forward_ad.make_dual(eps, torch.ones_like(eps))).canvas
        painted = model.generate(2, z=forward_ad.make_dual(eps, torch.ones_like(eps))).canvas
        for canvas in (seen, painted):
            assert forward_ad.unpack_dual(canvas).tangent.abs().max() > 0


def test_a_trace_of_torch_jit_sees_the_plain_paths_operations(monkeypatch):
    """Simulated: the types that are checked in tests cannot be traced."""
    model = network(engine="auto")
    x, eps = inputs(model, 2)
    monkeypatch.setattr(torch._C, "_is_tracing", lambda: True)
    assert not chosen(model, eps, x)


def test_frozen_parameters_get_no_gradient():
    model = network()
    model.encoder.requires_grad_(False)
    elbo(model(inputs(model, 2)[0])).sum().backward()
    assert model.encoder.weight_ih.grad is None
    assert model.decoder.weight_ih.grad.abs().max() > 0


def test_fused_says_what_it_cannot_do():
    model = network().double()
    with pytest.raises(ConfigError, match="float32"):
        model(torch.zeros(1, 1, 9, 13, dtype=torch.float64))
    model = network()
    with pytest.raises(ConfigError, match="plain path"):
        model(inputs(model, 1)[0], record=True)


def test_an_unknown_engine_is_refused():
    model = network(engine="warp")
    with pytest.raises(ConfigError, match="warp"):
        model(inputs(model, 1)[0])


def test_the_engine_is_no_part_of_a_saved_model(tmp_path):
    model = network(engine="plain")
    model.save(tmp_path)
    assert "engine" not in (tmp_path / "config.json").read_text()
    loaded = DRAW.from_pretrained(tmp_path)
    assert loaded.engine == "auto"
    assert elbo(loaded(inputs(loaded, 2)[0])).isfinite().all()


def test_a_model_with_steps_of_its_own_is_left_to_the_plain_path():
    class Blind(DRAW):
        def encode_step(self, x, state, eps):
            return super().encode_step(torch.zeros_like(x), state, eps)

    torch.manual_seed(0)
    own = Blind(DRAWConfig(height=6, width=6, glimpses=2, hidden_size=4, latent_size=2))
    x, eps = torch.rand(2, 1, 6, 6), torch.randn(2, 2, 2)
    blind = own(x, eps=eps).mu
    own.engine = "plain"
    assert torch.equal(own(x, eps=eps).mu, blind)
    own.engine = "fused"
    with pytest.raises(ConfigError, match="not the paper's"):
        own(x, eps=eps)
