"""Adam with weight decay: led by the host, or all on the device for a CUDA graph to hold."""

import warnings
from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer


def adam(
    parameters: Iterable[nn.Parameter],
    learning_rate: float,
    weight_decay: float = 0.0,
    *,
    on_device: bool,
) -> AdamW:
    """Adam; `on_device` it takes a step without a word to the host.

    A step also takes `learning_rate * weight_decay` of every matrix off it (Loshchilov & Hutter
    2019). Biases, initial states and the first canvas are left alone.

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
    groups = [
        {"params": [p for p in parameters if p.ndim == 2], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim != 2], "weight_decay": 0.0},
    ]
    if not on_device:
        return AdamW(groups, lr=learning_rate)
    rate = torch.tensor(learning_rate, device=parameters[0].device)
    return AdamW(groups, lr=rate, fused=True, capturable=rate.is_cuda)


def set_learning_rate(optimizer: Optimizer, value: float) -> None:
    """Where the optimiser looks for it: a number of the host's, or one on the device."""
    for group in optimizer.param_groups:
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
