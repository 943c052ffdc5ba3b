"""Decide whether the fused or the plain engine runs a model."""

import functools
import logging
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor, nn

from draw.errors import ConfigError
from draw.kernels import classifier, loops, self_check
from draw.kernels.layout import Shape, parameter_shapes
from draw.likelihoods import LIKELIHOODS

Engine = Literal["auto", "plain", "fused"]
Class = TypeVar("Class", bound=type)

METHODS = ("forward", "generate", "initial_state", "encode_step", "decode_step", "__call__")
LAYER_FORWARDS = {cls: cls.forward for cls in (nn.Linear, nn.LSTMCell)}  # to detect monkey-patching
LAYER_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")

log = logging.getLogger("draw")
_registered: dict[type, dict[str, Any]] = {}  # the methods of each class, by name


def register(cls: Class) -> Class:
    """Mark a class, such as a network, as one that the fused engine implements (a decorator)."""
    _registered[cls] = {name: getattr(cls, name) for name in METHODS if hasattr(cls, name)}
    return cls


def _members(cls: type) -> dict[str, Any]:
    return {name: getattr(cls, name) for name in dir(cls) if not name.startswith("__")}


_likelihoods = {kind: (type(own), _members(type(own))) for kind, own in LIKELIHOODS.items()}


def available(device: str = "cpu") -> bool:
    """Check whether the fused engine can run on a device type, and log a warning if it cannot."""
    if device not in loops.ENGINES:
        return False
    reason = loops.engine_for(device).unavailable_reason()
    if reason:
        _log_once(logging.WARNING, reason)
    return not reason


def use_fused(
    model: Any,
    *,
    x: Tensor | None,
    noise: Tensor | None = None,
    record: bool = False,
    limit: Any = None,
) -> bool:
    """Decide whether the fused engine runs this call; log the reason once if it cannot.

    Args:
        x: the images to read, [B, C, H, W]; None to generate.
        noise: the noise, or z itself to generate, [T, B, Z]; None for a classifier.
        record: whether the call records every glimpse.
        limit: the `draw.classifier.GradientLimit` of the call, or None.

    Raises:
        ConfigError: if `model.engine` is "fused" but the engine cannot run this call, or if
            `model.engine` is not an engine.
    """
    if model.engine not in ("auto", "plain", "fused"):
        raise ConfigError(f"unknown engine {model.engine!r}; use 'auto', 'plain' or 'fused'")
    compiling = torch.compiler.is_compiling()  # logging would break the graph
    if model.engine == "plain" or (compiling and model.engine == "auto"):
        return False
    reason, level = unsupported_reason(model, x, noise, record, limit), logging.INFO
    if reason is None:
        reason, level = _engine_fault(model, x, noise), logging.WARNING
    if reason and model.engine == "fused":
        raise ConfigError(f"engine is 'fused', but {reason}; use 'auto' or 'plain'")
    if reason:
        _log_once(level, reason)
    return not reason


def unsupported_reason(
    model: Any, x: Tensor | None, noise: Tensor | None, record: bool, limit: Any = None
) -> str | None:
    """Return why the fused engine would not compute what the model's code computes, or None."""
    return (
        _observer_reason(model)
        or _model_reason(model)
        or _limit_reason(limit)
        or _tensor_reason(model, x, noise)
        or _gradient_reason(model, x, noise, record)
    )


def _observer_reason(model: Any) -> str | None:
    """Check for hooks and function transformations, which must see every operation.

    PyTorch has no public way to ask for most of these. Where a later version lacks one of the
    private names, the plain engine runs.
    """
    try:
        if (
            torch.compiler.is_compiling()
            or torch.jit.is_tracing()  # type: ignore[attr-defined,no-untyped-call]
            or torch._C._are_functorch_transforms_active()
            or torch.autograd.forward_ad._current_level >= 0
        ):
            return "a function transformation (torch.compile, jit, func or forward_ad) is active"
        if torch.nn.modules.module._has_any_global_hook():  # type: ignore[no-untyped-call]
            return "a global module hook is registered"
        for name, layer in model.named_children():
            if any(getattr(layer, hooks) for hooks in LAYER_HOOKS):
                return f"layer {name} has a hook"
    except AttributeError as error:
        return f"the fused engine cannot detect hooks in PyTorch {torch.__version__} ({error})"
    return None


def _model_reason(model: Any) -> str | None:
    """Check that the methods, layers and likelihood are those that the class defines."""
    replaced = _replaced_method(model)
    if replaced:
        return replaced
    kind, own = getattr(model.config, "likelihood", None), getattr(model, "likelihood", None)
    if kind and (_likelihoods.get(kind) != (type(own), _members(type(own))) or vars(own)):
        return f"the likelihood is not the {kind} likelihood of the config"
    for name, layer in model.named_children():
        if type(layer) not in LAYER_FORWARDS:
            return f"layer {name} is a {type(layer).__name__}"
        if "forward" in vars(layer) or type(layer).forward is not LAYER_FORWARDS[type(layer)]:
            return f"layer {name} has a replaced forward"
    shapes = {name: p.shape for name, p in model.named_parameters(remove_duplicate=False)}
    if shapes != parameter_shapes(model.config):
        return "the parameters differ from those of the config"
    return None


def _replaced_method(instance: Any) -> str | None:
    """Check that the methods of an instance are those of its registered class."""
    for name, method in _registered[_registered_class(instance)].items():
        if name in vars(instance) or getattr(type(instance), name) is not method:
            return f"{type(instance).__name__}.{name} is replaced"
    return None


def _registered_class(instance: Any) -> type:
    return next(cls for cls in type(instance).__mro__ if cls in _registered)


def _limit_reason(limit: Any) -> str | None:
    """Check that the gradient limit is None or clips as its class defines."""
    if limit is None:
        return None
    if _registered.keys().isdisjoint(type(limit).__mro__):
        return f"the gradient limit is a {type(limit).__name__}"
    return _replaced_method(limit)


def _tensor_reason(model: Any, x: Tensor | None, noise: Tensor | None) -> str | None:
    """Check the types, shapes and devices of the inputs and parameters."""
    inputs = [tensor for tensor in (x, noise) if tensor is not None]
    device, tensors = inputs[0].device, [*model.parameters(), *inputs]
    if device.type not in loops.ENGINES or any(t.device != device for t in tensors):
        return (
            f"the fused engine needs all tensors on one device of type {' or '.join(loops.ENGINES)}"
        )
    if any(t.dtype != torch.float32 for t in tensors):
        return "the fused engine only supports float32"
    if any(type(t) not in (Tensor, nn.Parameter) for t in tensors):
        return "the fused engine only supports plain tensors, not subclasses"
    if torch.is_autocast_enabled(device.type):
        return "autocast is enabled"
    if not all(tensor.numel() for tensor in inputs):
        return "the input is empty"
    if noise is not None:
        batch, Z = noise.shape[1] if x is None else len(x), model.config.latent_size
        if noise.shape[1:] != (batch, Z):
            return f"the noise must have shape [T, B, {Z}] for B images"
    return None


def _gradient_reason(
    model: Any, x: Tensor | None, noise: Tensor | None, record: bool
) -> str | None:
    """Check that only gradients of the final results with respect to parameters are needed."""
    if not torch.is_grad_enabled():
        return None
    if any(tensor is not None and tensor.requires_grad for tensor in (x, noise)):
        return "the fused engine cannot compute gradients with respect to images or noise"
    if (record or x is None) and any(p.requires_grad for p in model.parameters()):
        return (
            "the fused engine cannot backpropagate through recorded or generated traces (without "
            "gradients, under torch.no_grad(), it can run them)"
        )
    return None


def _engine_fault(model: Any, x: Tensor | None, noise: Tensor | None) -> str | None:
    """Return why the engine cannot run on this device, or None."""
    given: Any = x if noise is None else noise
    shape: Any = (classifier.Shape if noise is None else Shape).of(model.config, given)
    device = given.device
    engine = loops.engine_for(device.type)
    reason: str | None = (
        engine.unavailable_reason()
        or engine.unsupported_reason(shape, device)
        or self_check.failure(_registered_class(model), model.config, device, batch=shape.B)
    )
    return reason


@functools.cache
def _log_once(level: int, reason: str) -> None:
    log.log(level, "using the plain engine, because %s", reason)
