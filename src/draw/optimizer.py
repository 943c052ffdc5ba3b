"""Adam: led by the host, or all on the device so that a CUDA graph can hold it."""

import warnings
from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.optim import Adam, Optimizer


def adam(parameters: Iterable[nn.Parameter], learning_rate: float, *, on_device: bool) -> Adam:
    """Adam; `on_device` it takes a step without a word to the host.

    >>> weight = nn.Parameter(torch.ones(1))
    >>> optimizer = adam([weight], 0.5, on_device=True)
    >>> weight.grad = torch.ones(1)
    >>> step_if(torch.tensor(False), optimizer)
    >>> round(weight.item(), 3)
    1.0
    >>> step_if(torch.tensor(True), optimizer)
    >>> round(weight.item(), 3)
    0.5
    """
    parameters = list(parameters)
    if not on_device:
        return Adam(parameters, lr=learning_rate)
    rate = torch.tensor(learning_rate, device=parameters[0].device)
    return Adam(parameters, lr=rate, fused=True, capturable=rate.is_cuda)


def set_learning_rate(optimizer: Optimizer, value: float) -> None:
    """Where the optimiser looks for it: a number of the host's, or one on the device."""
    (group,) = optimizer.param_groups
    if isinstance(group["lr"], Tensor):
        group["lr"].fill_(value)
    else:
        group["lr"] = value


def step_if(condition: Tensor, optimizer: Optimizer) -> None:
    """A step, or no change at all; the fused optimisers look for themselves, on the device."""
    if optimizer.param_groups[0]["fused"]:
        optimizer.found_inf = (~condition).float()  # type: ignore[attr-defined]
        with warnings.catch_warnings():  # told that it will be captured, it complains until it is
            warnings.filterwarnings("ignore", message=".*capturable=True")
            optimizer.step()
    elif condition:
        optimizer.step()
