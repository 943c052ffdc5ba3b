"""Optimizers: AdamW, or Muon for the LSTM weights and AdamW for the rest.

Both can take a step entirely on the device, so that it can be part of a CUDA graph.
"""

import functools
import warnings
from collections.abc import Iterable
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

GATES = 4  # the weight of an LSTM stacks those of four gates
MOMENTUM = 0.95
ADAM_RMS = 0.2  # typical RMS of an Adam update in units of the learning rate (Liu et al. 2025)
NEWTON_SCHULZ = 3.4445, -4.7750, 2.0315  # coefficients of the polynomial in `orthogonalise`


class Muon(Optimizer):
    """Momentum with orthogonalised updates (Jordan et al. 2024), for the weights of LSTMs.

    The update of each gate is orthogonalised separately and scaled to the RMS of an Adam update
    (Liu et al. 2025), so that both optimizers use the same learning rate.

    Args:
        weights: weights of LSTMs, shape [4 * hidden, inputs].
        lr: learning rate, a float or a tensor on the device.
        weight_decay: decoupled weight decay.

    Note:
        `torch.optim.Muon` orthogonalises the four gates as one matrix and reads the learning rate
        on the host, which is not possible in a CUDA graph.
    """

    def __init__(
        self, weights: Iterable[nn.Parameter], lr: float | Tensor, weight_decay: float = 0.0
    ) -> None:
        super().__init__(weights, {"lr": lr, "weight_decay": weight_decay})

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Update the weights."""
        device = parameters_of(self)[0].device
        self.step_if(torch.ones((), dtype=torch.bool, device=device))

    @torch.no_grad()
    def step_if(self, condition: Tensor) -> None:
        """Update the weights if a tensor is true, without waiting for the device."""
        for group in self.param_groups:
            rate = group["lr"] * condition
            for weight in group["params"]:
                gradient = torch.where(condition, weight.grad, 0.0)
                state = self.state[weight]
                if not state:
                    state["momentum"] = torch.zeros_like(weight)
                state["momentum"].lerp_(gradient, (1 - MOMENTUM) * condition)
                nesterov = gradient.lerp(state["momentum"], MOMENTUM)
                gates = nesterov.view(GATES, -1, nesterov.shape[1])
                scale = ADAM_RMS * max(gates.shape[1:]) ** 0.5
                weight.mul_(1 - rate * group["weight_decay"])
                weight.sub_(rate * scale * orthogonalise(gates).flatten(0, 1))


def orthogonalise(matrices: Float[Tensor, "n rows columns"]) -> Float[Tensor, "n rows columns"]:
    """Move the singular values of each matrix towards one, in five Newton-Schulz iterations.

    The polynomial of Jordan et al. 2024 has the steepest slope at zero. Singular values above 1/500
    of the matrix norm end up between 0.68 and 1.2; smaller ones grow by a factor of up to 484. The
    iterations tolerate rounding, so float32 matrices are multiplied in bfloat16 where that is
    faster.

    >>> _, values, _ = orthogonalise(torch.diag(torch.tensor([3.0, 2.0, 1.0]))[None]).svd()
    >>> values.min() > 0.6, values.max() < 1.3
    (tensor(True), tensor(True))
    """
    a, b, c = NEWTON_SCHULZ
    is_tall = matrices.shape[1] > matrices.shape[2]
    x: Tensor = matrices.mT if is_tall else matrices  # the smaller Gram matrix is cheaper
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp_min(1e-7)
    if x.dtype == torch.float32 and _has_fast_bfloat16(x.device.type):
        x = x.bfloat16()
    for _ in range(5):
        gram = x @ x.mT
        polynomial = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        x = torch.baddbmm(x, polynomial, x, beta=a)
    return (x.mT if is_tall else x).to(matrices.dtype)


@functools.cache
def _has_fast_bfloat16(device: str) -> bool:
    """Return whether matrix products in bfloat16 are faster than in float32."""
    if device == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    is_supported = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    return device == "cpu" and bool(is_supported())


def create_optimizers(
    model: nn.Module,
    name: Literal["adam", "muon"],
    learning_rate: float,
    weight_decay: float = 0.0,
    *,
    on_device: bool,
) -> tuple[Optimizer, ...]:
    """Create the optimizers of a model.

    Weight decay is decoupled (Loshchilov & Hutter 2019) and applies to matrices only, not to
    biases, initial states and the initial canvas.

    Args:
        model: the model.
        name: "adam", or "muon" for Muon on the LSTM weights and AdamW on the rest.
        learning_rate: the initial learning rate.
        weight_decay: each step multiplies the matrices by 1 - learning_rate * weight_decay.
        on_device: keep the learning rate on the device, so that a step never waits for it.

    >>> model = nn.Linear(1, 1, bias=False)
    >>> model.weight.data.fill_(1.0)
    tensor([[1.]])
    >>> adam = create_optimizers(model, "adam", 0.5, on_device=True)
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
    with_muon = _lstm_weights(model) if name == "muon" else []
    ids = {id(weight) for weight in with_muon}
    others = [p for p in parameters if id(p) not in ids]
    groups = [
        {"params": [p for p in others if p.ndim == 2], "weight_decay": weight_decay},
        {"params": [p for p in others if p.ndim != 2], "weight_decay": 0.0},
    ]
    capturable = on_device and parameters[0].is_cuda
    adam = AdamW(groups, lr=rate, fused=on_device or None, capturable=capturable)
    return (adam, Muon(with_muon, rate, weight_decay)) if with_muon else (adam,)


def _lstm_weights(model: nn.Module) -> list[nn.Parameter]:
    cells = [module for module in model.modules() if isinstance(module, nn.LSTMCell)]
    return [p for cell in cells for p in cell.parameters() if p.ndim == 2]


def parameters_of(optimizer: Optimizer) -> list[nn.Parameter]:
    """Return all parameters of an optimizer."""
    return [p for group in optimizer.param_groups for p in group["params"]]


def state_shapes(optimizer: Optimizer) -> dict[str, bool]:
    """Return the names of the tensors that an optimizer keeps per parameter after a step.

    The values are True for scalars and False for tensors of the parameter's shape. They come from
    one step on a dummy parameter, so they are correct for the installed version of PyTorch.

    >>> sorted(state_shapes(AdamW([torch.zeros(2, 2)])))
    ['exp_avg', 'exp_avg_sq', 'step']
    """
    dummy = nn.Parameter(torch.zeros(GATES, 2))
    dummy.grad = torch.zeros_like(dummy)
    optimizer_class: Any = type(optimizer)
    stepped = optimizer_class([dummy], lr=1e-3)
    stepped.step()
    return {key: value.ndim == 0 for key, value in stepped.state[dummy].items()}


def set_learning_rate(optimizers: Iterable[Optimizer], value: float) -> None:
    """Set the learning rate, on the host or on the device."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(value)
            else:
                group["lr"] = value


def step_if(condition: Tensor, optimizers: Iterable[Optimizer]) -> None:
    """Update the parameters if a tensor is true; on a GPU, the host does not wait for it."""
    for optimizer in optimizers:
        if isinstance(optimizer, Muon):
            optimizer.step_if(condition)
        elif optimizer.param_groups[0]["fused"]:
            optimizer.found_inf = (~condition).float()  # type: ignore[attr-defined]
            with warnings.catch_warnings():  # AdamW warns until its step is captured
                warnings.filterwarnings("ignore", message=".*capturable=True")
                optimizer.step()
        elif condition:
            optimizer.step()
