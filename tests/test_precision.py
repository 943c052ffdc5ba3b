"""Products in bfloat16: where they are, how far they lead away, and that a run knows of them."""

import copy
import json
from dataclasses import replace

import jaxtyping
import numpy as np
import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from draw import kernels, load
from draw.batches import Batches
from draw.checkpoint import RunFolder
from draw.classifier import ClassifierConfig
from draw.config import TrainConfig
from draw.data import load as load_data
from draw.errors import ConfigError
from draw.evaluation import evaluate
from draw.model import DRAW
from draw.objectives import elbo
from draw.precision import multiply_in_bf16
from draw.steps import new_learner

from .kernels.common import error
from .test_training import CONFIG, assert_equal, run_to_end, some_images, train_step

BF16 = replace(CONFIG, precision="bf16")
U = 2.0**-9  # half a unit in the last of bfloat16's 8 bits: the relative error of a rounding


# ---------------------------------------------------------------- what is in bfloat16


def test_the_cell_is_pytorchs_but_for_three_roundings():
    """Of each factor and of the product; sums, gates and biases add none of that size.

    A gate is a sum of n products, so it is wrong by at most 3 U |W| |input|; the nonlinearities
    and the cell's sum do not enlarge that by more than |c| + 2 for i, f, g.
    """
    torch.manual_seed(0)
    cell = nn.LSTMCell(40, 30)
    x, h, c = torch.randn(8, 40), torch.randn(8, 30), torch.randn(8, 30)
    expected_h, expected_c = cell.double()(x.double(), (h.double(), c.double()))
    lowered = nn.Sequential(cell.float())
    multiply_in_bf16(lowered)
    got_h, got_c = lowered[0](x, (h, c))
    assert got_h.dtype == got_c.dtype == torch.float32
    of_gates = 3.1 * U * (x.abs() @ cell.weight_ih.abs().T + h.abs() @ cell.weight_hh.abs().T)
    widest = of_gates.view(8, 4, 30).amax(1)
    assert ((got_c - expected_c).abs() <= widest * (c.abs() + 2)).all()
    assert ((got_h - expected_h).abs() <= widest * (c.abs() + 3)).all()
    assert (got_c - expected_c).abs().max() > U / 100  # it did round


class OperationsInBFloat16(TorchDispatchMode):
    """Notes every operation that takes or gives a bfloat16 number."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[str] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **kwargs or {})
        tensors = [v for v in tree_leaves((args, result)) if isinstance(v, torch.Tensor)]
        if any(tensor.dtype == torch.bfloat16 for tensor in tensors):
            self.seen.add(func.overloadpacket.__name__)
        return result


@pytest.mark.parametrize(
    "model", [CONFIG.model, ClassifierConfig(height=8, width=8, glimpses=2, read_size=3)]
)
def test_nothing_but_products_is_in_bfloat16(model):
    """Forward, backward, Adam and average: no sum, no filter, no likelihood, no state."""
    config = replace(BF16, model=model)
    images = some_images(10, "none")
    images = replace(images, labels=torch.arange(10))
    learner = new_learner(config)
    with OperationsInBFloat16() as operations:
        train_step(learner, config, Batches(images, config.batch_size, 0))
    assert operations.seen == {"_to_copy", "t", "mm"}
    assert {v.dtype for v in learner.tensors().values()} == {torch.float32}
    assert {p.grad.dtype for p in learner.model.parameters()} == {torch.float32}


def test_in_fp32_nothing_is():
    learner = new_learner(CONFIG)
    learner.model.engine = "plain"
    with OperationsInBFloat16() as operations:
        train_step(learner, CONFIG, Batches(some_images(), CONFIG.batch_size, 0))
    assert not operations.seen


def test_the_average_is_measured_in_float32():
    learner = new_learner(BF16)
    learner.average.engine = "plain"
    for network, expected in ((learner.model, {"_to_copy", "t", "mm"}), (learner.average, set())):
        with OperationsInBFloat16() as operations:
            evaluate(network, some_images())
        assert operations.seen == expected


def test_a_validation_of_a_run_in_bf16_is_that_of_the_saved_model(tmp_path):
    run_to_end(BF16, tmp_path / "run")
    best = max(r.get("valid_elbo_nats", -np.inf) for r in RunFolder(tmp_path / "run").records())
    validation = some_images().subset(BF16.eval_images, BF16.seed)
    assert evaluate(load(tmp_path / "run"), validation, seed=BF16.seed).elbo_nats == best


# ---------------------------------------------------------------- how far it leads away


def test_a_trained_network_of_64_glimpses_bears_it():
    """The bound moves by less than a tenth of a nat, its gradient by less than U T / 4 = 3 %.

    With all of the network under autocast these are half a nat and 18 %.
    """
    model = load("mnist")
    lowered = copy.deepcopy(model)
    multiply_in_bf16(lowered)
    x = (load_data("digits5k", "valid").first(8) > 0.5).float()
    eps = torch.randn(64, 8, 100, generator=torch.Generator().manual_seed(0))
    bounds, gradients = [], []
    for network in (model, lowered):
        network.engine = "plain"
        bound = elbo(network(x, eps=eps))
        bound.mean().backward()
        bounds.append(bound.detach())
        gradients.append(torch.cat([p.grad.flatten() for p in network.parameters()]))
    exact, got = bounds
    assert 1e-3 < float((got - exact).mean().abs()) < 0.1
    assert error(gradients[1], gradients[0].double()) < U * 64 / 4


def test_a_training_goes_where_it_goes_in_float32():
    """80 steps raise the bound by as much, to a hundredth."""
    config = replace(CONFIG, steps=80, learning_rate=2e-2, average_decay=0.0)
    rises = []
    for precision in ("fp32", "bf16"):
        chosen = replace(config, precision=precision)
        learner, batches = new_learner(chosen), Batches(some_images(4, "none"), 4, 0)
        learner.model.engine = "plain"
        nats = [train_step(learner, chosen, batches).train_nats for _ in range(80)]
        rises.append(np.mean(nats[-10:]) - np.mean(nats[:10]))
    assert rises[0] > 2
    assert 0 < abs(rises[1] / rises[0] - 1) < 0.01


# ---------------------------------------------------------------- a run knows of it


def test_an_interrupted_run_in_bf16_ends_bit_for_bit_like_an_uninterrupted_one(tmp_path):
    whole = run_to_end(BF16, tmp_path / "whole")
    run_to_end(BF16, tmp_path / "parted", stop_at=7)
    assert_equal(whole, run_to_end(BF16, tmp_path / "parted"))
    exact = run_to_end(CONFIG, tmp_path / "exact")
    assert not torch.equal(whole.model.canvas_0, exact.model.canvas_0)


def test_the_run_tells_its_precision_and_one_of_before_is_in_fp32(tmp_path):
    run_to_end(BF16, tmp_path, stop_at=1)
    run = RunFolder(tmp_path)
    assert TrainConfig.from_run(run) == BF16
    content = json.loads(run.config_file.read_text())
    assert content["config"].pop("precision") == "bf16"
    run.config_file.write_text(json.dumps(content))
    assert TrainConfig.from_run(run) == CONFIG


def test_an_unknown_precision_is_refused(monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # as outside of the tests
    with pytest.raises(ConfigError, match="precision is 'fp8'; it must be fp32 or bf16"):
        replace(CONFIG, precision="fp8")


# ---------------------------------------------------------------- the engine


def test_the_fused_engine_leaves_it_to_the_plain_path():
    model = DRAW(CONFIG.model)
    multiply_in_bf16(model)
    eps, x = torch.randn(3, 2, 4), torch.rand(2, 1, 8, 8)
    assert not kernels.chosen(model, eps, x, batch=2, record=False)
    model.engine = "fused"
    with pytest.raises(ConfigError, match="its encoder is a BFloat16LSTMCell; auto or plain can"):
        model(x, eps=eps)
