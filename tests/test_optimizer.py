"""Adam on the device is Adam, and decays what is to decay."""

import pytest
import torch
from torch import nn

from draw.optimizer import adam, set_learning_rate, step_if


def test_both_ways_take_the_same_steps_and_leave_out_the_same():
    torch.manual_seed(0)
    start = [torch.randn(3, 4), torch.randn(5)]
    gradients = [[torch.randn_like(w) for w in start] for _ in range(6)]
    ends = []
    for on_device in (False, True):
        weights = [nn.Parameter(w.clone()) for w in start]
        optimizer = adam(weights, 0.1, 0.3, on_device=on_device)
        for step, gradient in enumerate(gradients):
            set_learning_rate(optimizer, 0.1 / (step + 1))
            broken = step in (0, 3)
            for weight, g in zip(weights, gradient, strict=True):
                weight.grad = g * torch.nan if broken else g.clone()
            before = [w.detach().clone() for w in weights]
            step_if(torch.tensor(not broken), optimizer)
            moved = [not torch.equal(a, b) for a, b in zip(before, weights, strict=True)]
            assert all(moved) if not broken else not any(moved)
        assert {int(optimizer.state[w]["step"]) for w in weights} == {4}
        ends.append(weights)
    for a, b in zip(*ends, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("on_device", [False, True])
def test_weight_decay_takes_a_share_of_the_matrices_alone(on_device):
    matrix, bias, canvas = (nn.Parameter(torch.ones(shape)) for shape in ((3, 4), (5,), (1, 2, 2)))
    parameters = [bias, matrix, canvas]
    optimizer = adam(parameters, 0.1, 0.3, on_device=on_device)
    set_learning_rate(optimizer, 0.5)
    for parameter in parameters:
        parameter.grad = torch.zeros_like(parameter)  # so that Adam itself takes no step
    step_if(torch.tensor(True), optimizer)
    torch.testing.assert_close(matrix.detach(), torch.full((3, 4), 1 - 0.5 * 0.3))
    assert bias.eq(1).all()
    assert canvas.eq(1).all()
