"""Who takes the steps: Adam, and for the weights of the LSTMs Muon, where it is asked for.

Each is led by the host, or all on the device for a CUDA graph to hold.
"""

import warnings
from collections.abc import Iterable
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

Method = Literal["adam", "muon"]

GATES = 4  # of an LSTM, one below the other in its weights
MOMENTUM = 0.95
LIKE_ADAM = 0.2  # the size of Adam's usual step, in learning rates (Liu et al. 2025)
QUINTIC = 3.4445, -4.7750, 2.0315  # see `orthogonal`


class Muon(Optimizer):
    """Steps in which all directions of a matrix count alike (Jordan et al. 2024).

    A step is the average of the gradients made orthogonal, for each gate on its own, and is as
    large as a step of Adam's (Liu et al. 2025), so that Adam's learning rate serves both.

    Args:
        weights: of LSTMs, [4 * hidden, inputs].
        weight_decay: what a step takes off, times the learning rate.

    Note:
        `torch.optim.Muon` takes the four gates for one matrix, and asks the host for a learning
        rate that is on the device, which no CUDA graph can do.
    """

    def __init__(
        self, weights: Iterable[nn.Parameter], lr: float | Tensor, weight_decay: float = 0.0
    ) -> None:
        super().__init__(weights, {"lr": lr, "weight_decay": weight_decay})

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """A step."""
        device = parameters_of(self)[0].device
        self.step_if(torch.ones((), dtype=torch.bool, device=device))

    @torch.no_grad()
    def step_if(self, condition: Tensor) -> None:
        """A step, or no change at all; the host need not know which."""
        for group in self.param_groups:
            rate = group["lr"] * condition
            for weight in group["params"]:
                gradient = torch.where(condition, weight.grad, 0.0)
                state = self.state[weight]
                if not state:
                    state["momentum"] = torch.zeros_like(weight)
                state["momentum"].lerp_(gradient, (1 - MOMENTUM) * condition)
                ahead = gradient.lerp(state["momentum"], MOMENTUM)  # Nesterov's
                gates = ahead.view(GATES, -1, ahead.shape[1])
                size = LIKE_ADAM * max(gates.shape[1:]) ** 0.5
                weight.mul_(1 - rate * group["weight_decay"])
                weight.sub_(rate * size * orthogonal(gates).flatten(0, 1))


def orthogonal(matrices: Float[Tensor, "n rows columns"]) -> Float[Tensor, "n rows columns"]:
    """Each matrix with its singular values brought near one, by five steps of Newton and Schulz.

    The polynomial (Jordan et al. 2024) is the steepest at zero. What is above 1/500 of the matrix's
    norm ends between 0.68 and 1.2; what is smaller grows by up to 484 times.

    >>> _, values, _ = orthogonal(torch.diag(torch.tensor([3.0, 2.0, 1.0]))[None]).svd()
    >>> values.min() > 0.6, values.max() < 1.3
    (tensor(True), tensor(True))
    """
    a, b, c = QUINTIC
    is_tall = matrices.shape[1] > matrices.shape[2]
    x: Tensor = matrices.mT if is_tall else matrices  # the smaller Gram matrix is the cheaper one
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp_min(1e-7)
    for _ in range(5):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.mT if is_tall else x


def optimizers(
    model: nn.Module,
    method: Method,
    learning_rate: float,
    weight_decay: float = 0.0,
    *,
    on_device: bool,
) -> tuple[Optimizer, ...]:
    """Who takes the steps of a model; `on_device` they do it without a word to the host.

    A step also takes `learning_rate * weight_decay` of every matrix off it (Loshchilov & Hutter
    2019). Biases, initial states and the first canvas are left alone.

    >>> model = nn.Linear(1, 1, bias=False)
    >>> model.weight.data.fill_(1.0)
    tensor([[1.]])
    >>> adam = optimizers(model, "adam", 0.5, on_device=True)
    >>> model.weight.grad = torch.ones(1, 1)
    >>> step_if(torch.tensor(False), adam)
    >>> round(model.weight.item(), 3)
    1.0
    >>> step_if(torch.tensor(True), adam)
    >>> round(model.weight.item(), 3)
    0.5
    """
    parameters = list(model.parameters())
    rate: float | Tensor = learning_rate
    if on_device:
        rate = torch.tensor(learning_rate, device=parameters[0].device)
    orthogonalised = _lstm_weights(model) if method == "muon" else []
    taken = {id(weight) for weight in orthogonalised}
    others = [p for p in parameters if id(p) not in taken]
    groups = [
        {"params": [p for p in others if p.ndim == 2], "weight_decay": weight_decay},
        {"params": [p for p in others if p.ndim != 2], "weight_decay": 0.0},
    ]
    capturable = on_device and parameters[0].is_cuda
    adam = AdamW(groups, lr=rate, fused=on_device or None, capturable=capturable)
    return (adam, Muon(orthogonalised, rate, weight_decay)) if orthogonalised else (adam,)


def _lstm_weights(model: nn.Module) -> list[nn.Parameter]:
    cells = [module for module in model.modules() if isinstance(module, nn.LSTMCell)]
    return [p for cell in cells for p in cell.parameters() if p.ndim == 2]


def parameters_of(optimizer: Optimizer) -> list[nn.Parameter]:
    """All that it changes."""
    return [p for group in optimizer.param_groups for p in group["params"]]


def state_of(optimizer: Optimizer, parameter: nn.Parameter) -> dict[str, Tensor]:
    """Tensors with the names and shapes of what it keeps of a parameter."""
    if isinstance(optimizer, Muon):
        return {"momentum": parameter}
    return {"step": torch.empty(()), "exp_avg": parameter, "exp_avg_sq": parameter}


def set_learning_rate(optimizers: Iterable[Optimizer], value: float) -> None:
    """Where the optimisers look for it: a number of the host's, or one on the device."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(value)
            else:
                group["lr"] = value


def step_if(condition: Tensor, optimizers: Iterable[Optimizer]) -> None:
    """A step, or no change at all; those on the device look for themselves."""
    for optimizer in optimizers:
        if isinstance(optimizer, Muon):
            optimizer.step_if(condition)
        elif optimizer.param_groups[0]["fused"]:
            optimizer.found_inf = (~condition).float()  # type: ignore[attr-defined]
            with warnings.catch_warnings():  # it complains until it is captured
                warnings.filterwarnings("ignore", message=".*capturable=True")
                optimizer.step()
        elif condition:
            optimizer.step()
