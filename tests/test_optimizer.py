"""Adam on the device is Adam."""

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
        optimizer = adam(weights, 0.1, on_device=on_device)
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
