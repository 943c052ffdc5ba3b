"""The optimizers: equal steps on the host and on the device, weight decay, and Muon's papers."""

import numpy as np
import pytest
import torch
from torch import Generator, nn

from draw.training import optim
from draw.training.optim import (
    Muon,
    create_optimizers,
    orthogonalise,
    parameters_of,
    set_learning_rate,
    state_shapes,
    step_if,
)


class Network(nn.Module):
    """A network with an LSTM, a linear layer and a parameter that is not a matrix."""

    def __init__(self):
        super().__init__()
        self.cell = nn.LSTMCell(6, 3)
        self.layer = nn.Linear(4, 2)
        self.canvas = nn.Parameter(torch.ones(1, 2, 2))


def weights(model):
    return [p.detach().clone() for p in model.parameters()]


@pytest.mark.parametrize("name", ["adam", "muon"])
def test_host_and_device_take_and_skip_the_same_steps(name):
    results = []
    for on_device in (False, True):
        torch.manual_seed(0)
        model = Network()
        optimizers = create_optimizers(model, name, 0.1, 0.3, on_device=on_device)
        for step in range(6):
            set_learning_rate(optimizers, 0.1 / (step + 1))
            is_finite = step not in (0, 3)
            for p in model.parameters():
                gradient = torch.randn_like(p)
                p.grad = gradient if is_finite else gradient * torch.nan
            before = weights(model)
            step_if(torch.tensor(is_finite), optimizers)
            changed = [not torch.equal(*pair) for pair in zip(before, weights(model), strict=True)]
            assert changed == [is_finite] * len(changed)
        adam = optimizers[0]
        assert {int(adam.state[p]["step"]) for p in parameters_of(adam)} == {4}
        results.append(weights(model))
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("on_device", [False, True])
@pytest.mark.parametrize("name", ["adam", "muon"])
def test_weight_decay_applies_to_matrices_only(name, on_device):
    model = Network()
    before = weights(model)
    optimizers = create_optimizers(model, name, 0.1, 0.3, on_device=on_device)
    set_learning_rate(optimizers, 0.5)
    for p in model.parameters():
        p.grad = torch.zeros_like(p)
    step_if(torch.tensor(True), optimizers)
    for old, new in zip(before, weights(model), strict=True):
        torch.testing.assert_close(new, old * (1 - 0.5 * 0.3) if old.ndim == 2 else old)


def test_muon_updates_the_weights_of_lstms_and_adam_the_rest():
    model = Network()
    adam, muon = create_optimizers(model, "muon", 0.1, on_device=False)
    assert isinstance(muon, Muon)
    assert set(parameters_of(muon)) == {model.cell.weight_ih, model.cell.weight_hh}
    assert set(parameters_of(adam)) == set(model.parameters()) - set(parameters_of(muon))
    assert len(create_optimizers(nn.Linear(2, 2), "muon", 0.1, on_device=False)) == 1  # no LSTM


@pytest.mark.parametrize("on_device", [False, True])
def test_state_shapes_are_those_of_a_real_step(on_device):
    """The keys are found by a step, not listed, so they follow the version of PyTorch."""
    model = Network()
    optimizers = create_optimizers(model, "muon", 0.1, on_device=on_device)
    for p in model.parameters():
        p.grad = torch.ones_like(p)
    step_if(torch.tensor(True), optimizers)
    for optimizer in optimizers:
        shapes = state_shapes(optimizer)
        for parameter in parameters_of(optimizer):
            state = optimizer.state[parameter]
            assert {key: value.ndim == 0 for key, value in state.items()} == shapes


def muon_in_numpy(gate, gradients, rate, decay):
    """Compute the steps of Jordan et al. 2024, scaled as by Liu et al. 2025, in float64."""
    momentum = np.zeros_like(gate)
    for gradient in gradients:
        momentum = 0.95 * momentum + 0.05 * gradient
        x = 0.05 * gradient + 0.95 * momentum  # Nesterov momentum
        x = x / np.sqrt((x**2).sum())
        for _ in range(5):
            gram = x @ x.T
            x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
        gate = gate * (1 - rate * decay) - rate * 0.2 * np.sqrt(max(gate.shape)) * x
    return gate


@pytest.mark.parametrize("shape", [(8, 8), (8, 3), (3, 8)])
def test_muon_equals_its_papers_for_each_gate(shape):
    torch.manual_seed(0)
    weight = nn.Parameter(torch.randn(4 * shape[0], shape[1], dtype=torch.float64))
    start, gradients = weight.detach().clone(), torch.randn(4, *weight.shape, dtype=torch.float64)
    muon = Muon([weight], 0.1, 0.3)
    for gradient in gradients:
        weight.grad = gradient
        muon.step()
    expected = [
        muon_in_numpy(gate.numpy(), gradient.numpy(), 0.1, 0.3)
        for gate, gradient in zip(start.chunk(4), gradients.chunk(4, dim=1), strict=True)
    ]
    np.testing.assert_allclose(weight.detach(), np.concatenate(expected), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("shape", [(8, 8), (8, 3), (3, 8)])
def test_each_gate_agrees_with_muon_of_pytorch(shape):
    """PyTorch's Muon computes in bfloat16 and treats a weight as one matrix, here one gate."""
    torch.manual_seed(0)
    weight = nn.Parameter(torch.randn(4 * shape[0], shape[1]))
    gates = [nn.Parameter(gate.clone()) for gate in weight.detach().chunk(4)]
    muon = Muon([weight], 0.1, 0.3)
    reference = torch.optim.Muon(gates, 0.1, 0.3, adjust_lr_fn="match_rms_adamw")
    for _ in range(4):
        weight.grad = torch.randn_like(weight)
        for gate, gradient in zip(gates, weight.grad.chunk(4), strict=True):
            gate.grad = gradient.clone()
        muon.step()
        reference.step()
    torch.testing.assert_close(weight.detach(), torch.cat(gates).detach(), rtol=0, atol=0.02)


@pytest.mark.parametrize("has_fast_bfloat16", [False, True])
def test_orthogonalise_in_float32(has_fast_bfloat16, monkeypatch):
    """With or without bfloat16, the result is close to that in float64."""
    monkeypatch.setattr(optim, "_has_fast_bfloat16", lambda device: has_fast_bfloat16)
    matrices = torch.randn(2, 64, 32, dtype=torch.float64, generator=Generator().manual_seed(0))
    result, exact = orthogonalise(matrices.float()), orthogonalise(matrices)
    assert result.dtype == torch.float32
    difference = float((result - exact).norm() / exact.norm())
    assert (1e-4 < difference < 2e-2) if has_fast_bfloat16 else difference < 1e-5


@pytest.mark.parametrize("shape", [(5, 7), (7, 5), (64, 64)])
def test_orthogonalise_keeps_the_singular_vectors(shape):
    torch.manual_seed(0)
    matrices = torch.randn(3, *shape).double() * torch.tensor([1e-3, 1.0, 1e3]).view(3, 1, 1)
    u, values, v = torch.linalg.svd(matrices, full_matrices=False)
    result = u.mT @ orthogonalise(matrices) @ v.mT  # diagonal in exact arithmetic
    diagonal = result.diagonal(dim1=1, dim2=2)
    torch.testing.assert_close(result, torch.diag_embed(diagonal), rtol=0, atol=1e-4)
    large = values > values.amax(1, keepdim=True) / 50
    assert diagonal[large].min() > 0.6
    assert diagonal.max() < 1.3
    assert orthogonalise(torch.zeros(1, *shape)).eq(0).all()
