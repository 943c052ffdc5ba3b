"""The fused engine: the network's whole recurrence, where nothing needs to see inside it.

It computes what `DRAW.encode_step` and `DRAW.decode_step` compute, and its gradients; the tests
hold the two against each other. `draw.kernels.cpu` holds it in C++, `draw.kernels.gpu` in Triton.

Its gradients cannot be differentiated again: for second derivatives, `model.engine = "plain"`.
"""

from typing import Any, Literal

import torch
from torch import Tensor

from draw.errors import ConfigError
from draw.kernels.layout import Shape
from draw.kernels.loops import ENGINES, engine_for, forward, generate
from draw.kernels.trial import failure

__all__ = ["ENGINES", "Engine", "available", "forward", "generate", "use_fused"]

Engine = Literal["auto", "plain", "fused"]


def available(device: str = "cpu") -> bool:
    """Whether there is an engine for this kind of device; says in the log why not."""
    return device in ENGINES and bool(engine_for(device).available())


def use_fused(model: Any, *, x: Tensor | None, noise: Tensor, record: bool) -> bool:
    """Whether the engine runs this: `forward` with x, `generate` without.

    Raises:
        ConfigError: `model.engine` is "fused" and the engine cannot do it, or it is no engine.
    """
    if model.engine == "plain":
        return False
    if model.engine not in ("auto", "fused"):
        raise ConfigError(f"there is no engine {model.engine!r}; there are auto, plain and fused")
    batch = noise.shape[1] if x is None else len(x)
    hindrance = _hindrance(model, noise, x, batch, record)
    if hindrance and model.engine == "fused":
        raise ConfigError(f"the fused engine cannot run this: {hindrance}; auto or plain can")
    return not hindrance


def _hindrance(model: Any, noise: Tensor, x: Tensor | None, batch: int, record: bool) -> str | None:
    """Why the engine cannot run this; None if it can."""
    if (
        type(model).__module__ != "draw.model"
        or {"encode_step", "decode_step"} & vars(model).keys()
    ):
        return "its steps are not the paper's"
    parameters, inputs = list(model.parameters()), [noise] if x is None else [noise, x]
    everything, device = [*parameters, *inputs], noise.device
    if device.type not in ENGINES or any(t.device != device for t in everything):
        return f"it takes tensors on one device, {' or '.join(ENGINES)}"
    if any(t.dtype != torch.float32 for t in everything):
        return "it takes float32 alone"
    if (
        torch.compiler.is_compiling()
        or torch._C._is_tracing()
        or torch._C._are_functorch_transforms_active()
        or torch.autograd.forward_ad._current_level >= 0
        or any(type(t) not in (Tensor, torch.nn.Parameter) for t in everything)
    ):
        return "another transformation is at work"
    for name, layer in model.named_children():
        if type(layer) not in (torch.nn.Linear, torch.nn.LSTMCell):
            return f"its {name} is a {type(layer).__name__}"
    watched = torch.nn.modules.module._has_any_global_hook()  # type: ignore[no-untyped-call]
    if watched or any(map(_is_watched, model.children())):
        return "a hook waits in one of its layers"
    if torch.is_autocast_enabled(device.type):
        return "autocast asks for another precision"
    if not noise.numel():
        return "there is nothing to compute"
    if noise.shape[1:] != (batch, model.config.latent_size):
        return f"its noise is [T, {batch}, {model.config.latent_size}], not {list(noise.shape)}"
    if torch.is_grad_enabled():
        if any(t.requires_grad for t in inputs):
            return "the inputs need gradients"
        if (record or x is None) and any(p.requires_grad for p in parameters):
            return "gradients through windows, early canvases and generation are the plain path's"
    shape = Shape.of(model.config, noise)
    answer: str | None = engine_for(device.type).hindrance(shape, device)
    return answer or failure(model.__class__, model.config, device, batch)


def _is_watched(layer: torch.nn.Module) -> bool:
    return bool(
        layer._forward_hooks
        or layer._forward_pre_hooks
        or layer._backward_hooks
        or layer._backward_pre_hooks
    )
