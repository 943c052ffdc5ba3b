"""Run the loop over the glimpses with the fused engine of the device that holds the tensors."""

import importlib
from typing import Any

import torch
from torch import Tensor

from draw.kernels.layout import Shape, Weights, windows
from draw.trace import Trace

ENGINES = {"cpu": "draw.kernels.cpu", "cuda": "draw.kernels.gpu"}  # modules by device type


def engine_for(device: str, part: str = "") -> Any:
    """Import and return the engine's package for a device type, or one of its modules."""
    return importlib.import_module(ENGINES[device] + part)


def forward(model: Any, x: Tensor, eps: Tensor, *, record: bool) -> Trace:
    """Encode and redraw images as `DRAW.forward` does."""
    x, eps = x.contiguous(), eps.contiguous()
    weights = Weights.of(model, x)
    if torch.is_grad_enabled() and any(p.requires_grad for p in model.parameters()):
        engine, shape = engine_for(eps.device.type), Shape.of(model.config, eps)
        results = engine.run_with_gradients(shape=shape, weights=weights, x=x, eps=eps)
        fields = results._asdict()
    else:
        fields = _run(model, weights, x, eps, record)
    fields["read_size"], fields["write_size"] = model.config.read_size, model.config.write_size
    fields["log_likelihood"] = model.likelihood.log_likelihood(x, fields["canvas"])  # eq. 9
    return Trace(**fields, eps=eps, likelihood=model.likelihood)


def generate(model: Any, z: Tensor, *, record: bool) -> Trace:
    """Decode latents as `DRAW.generate` does."""
    fields = _run(model, Weights.of(model, None), None, z.contiguous(), record)
    return Trace(**fields, write_size=model.config.write_size, likelihood=model.likelihood)


def _run(
    model: Any, weights: Weights, x: Tensor | None, noise: Tensor, record: bool
) -> dict[str, Any]:
    """Run the engine without gradients; return the fields of a `Trace` that it computes."""
    engine, config = engine_for(noise.device.type), model.config
    shape = Shape.of(config, noise)
    results, recorded = engine.run(shape=shape, weights=weights, x=x, noise=noise, record=record)
    fields: dict[str, Any] = results._asdict()
    if recorded is not None:
        fields["canvases"] = recorded.canvases
        fields["read_window"] = windows(recorded.read_params, config, config.read_size)
        fields["write_window"] = windows(recorded.write_params, config, config.write_size)
    return fields
