"""The fused engine: the network's whole recurrence in C++, where nothing needs to see inside it.

It computes what `DRAW.encode_step` and `DRAW.decode_step` compute, and its gradients; the tests
hold the two against each other. It is built at first use, see `draw.kernels.build`.

Its gradients cannot be differentiated again: for second derivatives, `model.engine = "plain"`.
"""

from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from draw.attention import Window
from draw.errors import ConfigError
from draw.kernels import build, recurrence

Engine = Literal["auto", "plain", "fused"]


class Run(NamedTuple):
    """The fields of a `Trace` that the engine fills."""

    canvas: Tensor  # [T or 1, B, C, H, W]
    z: Tensor
    mu: Tensor | None
    log_sigma: Tensor | None
    kl: Tensor | None
    read: Window | None
    write: Window | None


def available() -> bool:
    """Whether the engine could be built and loaded; says in the log why not."""
    return build.library() is not None


def chosen(model: Any, noise: Tensor, x: Tensor | None = None, *, batch: int, record: bool) -> bool:
    """Whether the engine runs this: `forward` with x, `generate` without.

    Raises:
        ConfigError: `model.engine` is "fused" and the engine cannot do it, or it is no engine.
    """
    if model.engine == "plain":
        return False
    if model.engine not in ("auto", "fused"):
        raise ConfigError(f"there is no engine {model.engine!r}; there are auto, plain and fused")
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
    everything = [*parameters, *inputs]
    if any(t.dtype != torch.float32 or t.device.type != "cpu" for t in everything):
        return "it takes float32 on the CPU alone"
    if torch.compiler.is_compiling() or any(map(_is_wrapped, everything)):
        return "another transformation is at work"
    if any(map(_is_watched, model.children())):
        return "a hook waits in one of its layers"
    if torch.is_autocast_enabled("cpu"):
        return "autocast asks for another precision"
    if noise.shape[1:] != (batch, model.config.latent_size) or not noise.numel():
        return f"its noise is [T, {batch}, {model.config.latent_size}], not {list(noise.shape)}"
    if torch.is_grad_enabled():
        if any(t.requires_grad for t in inputs):
            return "the inputs need gradients"
        if (record or x is None) and any(p.requires_grad for p in parameters):
            return "gradients through windows, early canvases and generation are the plain path's"
    return None if available() else "it is not available here"


def _is_wrapped(tensor: Tensor) -> bool:
    """A subclass, or a tensor inside torch.func's transformations."""
    return type(tensor) not in (Tensor, torch.nn.Parameter) or bool(
        torch._C._functorch.is_functorch_wrapped_tensor(tensor)
    )


def _is_watched(layer: torch.nn.Module) -> bool:
    return bool(
        layer._forward_hooks
        or layer._forward_pre_hooks
        or layer._backward_hooks
        or layer._backward_pre_hooks
    )


def forward(model: Any, x: Tensor, eps: Tensor, *, record: bool) -> Run:
    """`DRAW.forward` but for the likelihood."""
    shape = recurrence.Shape.of(model.config, eps)
    weights = recurrence.Weights.of(model, encoder=True)
    x, eps = x.contiguous(), eps.contiguous()
    if torch.is_grad_enabled() and any(p.requires_grad for p in model.parameters()):
        results = recurrence.Results(
            *recurrence.Recurrence.apply(shape, x, eps, *weights)  # type: ignore[no-untyped-call]
        )
        return _unrecorded(results)
    return _untracked(model, shape, weights, x, eps, record)


def generate(model: Any, z: Tensor, *, record: bool) -> Run:
    """`DRAW.generate`."""
    shape = recurrence.Shape.of(model.config, z)
    weights = recurrence.Weights.of(model, encoder=False)
    return _untracked(model, shape, weights, None, z.contiguous(), record)


def _untracked(
    model: Any,
    shape: recurrence.Shape,
    weights: recurrence.Weights,
    x: Tensor | None,
    noise: Tensor,
    record: bool,
) -> Run:
    """Without gradients nothing is kept from step to step."""
    config, recording = model.config, None
    if record:
        params = noise.new_empty(2, shape.T, shape.B, 5)
        recording = recurrence.Recording(
            canvases=noise.new_empty(shape.T, shape.B, *config.image_shape),
            reads=params[0] if x is not None and shape.n_read else None,
            writes=params[1] if shape.n_write else None,
        )
    results, _ = recurrence.run(shape, weights, x, noise, recording=recording)
    if recording is None:
        return _unrecorded(results)
    read = recurrence.windows(recording.reads, config, config.read_size)
    write = recurrence.windows(recording.writes, config, config.write_size)
    _, z, mu, log_sigma, kl = results
    return Run(recording.canvases, z, mu, log_sigma, kl, read, write)


def _unrecorded(results: recurrence.Results) -> Run:
    canvas, z, mu, log_sigma, kl = results
    return Run(canvas[None], z, mu, log_sigma, kl, None, None)
