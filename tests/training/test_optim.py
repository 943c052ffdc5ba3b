"""Adam and Muon take the same steps led by the host and on the device, and decay what is to."""

import numpy as np
import pytest
import torch
from torch import nn

from draw.training.optim import (
    Muon,
    create_optimizers,
    orthogonalise,
    parameters_of,
    set_learning_rate,
    step_if,
)


class Network(nn.Module):
    """An LSTM, a layer, and parameters that are no matrices."""

    def __init__(self):
        super().__init__()
        self.cell = nn.LSTMCell(6, 3)
        self.layer = nn.Linear(4, 2)
        self.canvas = nn.Parameter(torch.ones(1, 2, 2))


def weights(model):
    return [p.detach().clone() for p in model.parameters()]


@pytest.mark.parametrize("method", ["adam", "muon"])
def test_both_ways_take_the_same_steps_and_leave_out_the_same(method):
    ends = []
    for on_device in (False, True):
        torch.manual_seed(0)
        model = Network()
        ours = create_optimizers(model, method, 0.1, 0.3, on_device=on_device)
        for step in range(6):
            set_learning_rate(ours, 0.1 / (step + 1))
            broken = step in (0, 3)
            for p in model.parameters():
                gradient = torch.randn_like(p)
                p.grad = gradient * torch.nan if broken else gradient
            before = weights(model)
            step_if(torch.tensor(not broken), ours)
            moved = [not torch.equal(a, b) for a, b in zip(before, weights(model), strict=True)]
            assert all(moved) if not broken else not any(moved)
        adam = ours[0]
        assert {int(adam.state[p]["step"]) for p in parameters_of(adam)} == {4}
        ends.append(weights(model))
    for a, b in zip(*ends, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("on_device", [False, True])
@pytest.mark.parametrize("method", ["adam", "muon"])
def test_weight_decay_takes_a_share_of_the_matrices_alone(method, on_device):
    model = Network()
    before = weights(model)
    ours = create_optimizers(model, method, 0.1, 0.3, on_device=on_device)
    set_learning_rate(ours, 0.5)
    for p in model.parameters():
        p.grad = torch.zeros_like(p)  # so that no step is taken
    step_if(torch.tensor(True), ours)
    for old, new in zip(before, weights(model), strict=True):
        torch.testing.assert_close(new, old * (1 - 0.5 * 0.3) if old.ndim == 2 else old)


def test_muon_takes_the_weights_of_the_lstm_and_adam_the_rest():
    model = Network()
    adam, muon = create_optimizers(model, "muon", 0.1, on_device=False)
    assert isinstance(muon, Muon)
    assert set(parameters_of(muon)) == {model.cell.weight_ih, model.cell.weight_hh}
    assert set(parameters_of(adam)) == set(model.parameters()) - set(parameters_of(muon))
    assert (
        len(create_optimizers(nn.Linear(2, 2), "muon", 0.1, on_device=False)) == 1
    )  # nothing for it


def muon_in_numpy(gate, gradients, rate, decay):
    """Jordan et al.'s (2024) step with the size of Liu et al. (2025), in float64."""
    momentum = np.zeros_like(gate)
    for gradient in gradients:
        momentum = 0.95 * momentum + 0.05 * gradient
        x = 0.05 * gradient + 0.95 * momentum  # Nesterov's
        x = x / np.sqrt((x**2).sum())
        for _ in range(5):
            gram = x @ x.T
            x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
        gate = gate * (1 - rate * decay) - rate * 0.2 * np.sqrt(max(gate.shape)) * x
    return gate


@pytest.mark.parametrize("shape", [(8, 8), (8, 3), (3, 8)])
def test_muon_takes_the_steps_of_its_papers_for_each_gate(shape):
    torch.manual_seed(0)
    ours = nn.Parameter(torch.randn(4 * shape[0], shape[1]))
    start, gradients = ours.detach().clone(), torch.randn(4, *ours.shape)
    muon = Muon([ours], 0.1, 0.3)
    for gradient in gradients:
        ours.grad = gradient
        muon.step()
    expected = [
        muon_in_numpy(gate.double().numpy(), gradient.double().numpy(), 0.1, 0.3)
        for gate, gradient in zip(start.chunk(4), gradients.chunk(4, dim=1), strict=True)
    ]
    np.testing.assert_allclose(ours.detach(), np.concatenate(expected), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shape", [(8, 8), (8, 3), (3, 8)])
def test_one_gate_by_muon_is_a_matrix_by_that_of_pytorch(shape):
    """PyTorch's has the whole weight for one matrix, in bfloat16: held against it gate by gate."""
    torch.manual_seed(0)
    ours = nn.Parameter(torch.randn(4 * shape[0], shape[1]))
    theirs = [nn.Parameter(gate.clone()) for gate in ours.detach().chunk(4)]
    muon = Muon([ours], 0.1, 0.3)
    reference = torch.optim.Muon(theirs, 0.1, 0.3, adjust_lr_fn="match_rms_adamw")
    for _ in range(4):
        ours.grad = torch.randn_like(ours)
        for gate, gradient in zip(theirs, ours.grad.chunk(4), strict=True):
            gate.grad = gradient.clone()
        muon.step()
        reference.step()
    torch.testing.assert_close(ours.detach(), torch.cat(theirs).detach(), rtol=0, atol=0.02)


@pytest.mark.parametrize("shape", [(5, 7), (7, 5), (64, 64)])
def test_what_is_made_orthogonal_keeps_its_directions(shape):
    torch.manual_seed(0)
    matrices = torch.randn(3, *shape) * torch.tensor([1e-3, 1.0, 1e3]).view(3, 1, 1)
    u, values, v = torch.linalg.svd(matrices, full_matrices=False)
    result = u.mT @ orthogonalise(matrices) @ v.mT  # in the directions of the matrix itself
    diagonal = result.diagonal(dim1=1, dim2=2)
    torch.testing.assert_close(result, torch.diag_embed(diagonal), rtol=0, atol=1e-4)
    large = values > values.amax(1, keepdim=True) / 50
    assert diagonal[large].min() > 0.6
    assert diagonal.max() < 1.3
    assert orthogonalise(torch.zeros(1, *shape)).eq(0).all()
