"""The loops over the steps, run by the engine of the device that the tensors are on."""

import importlib
from typing import Any, NamedTuple

import torch
from torch import Tensor

from draw.attention import Window
from draw.kernels.layout import Results, Shape, Weights, windows

ENGINES = {"cpu": "draw.kernels.cpu", "cuda": "draw.kernels.gpu"}  # by the kind of the device


class Run(NamedTuple):
    """The fields of a `Trace` that the engine fills."""

    canvas: Tensor  # [T or 1, B, K, H, W]
    z: Tensor
    mu: Tensor | None
    log_sigma: Tensor | None
    kl: Tensor | None
    read: Window | None
    write: Window | None


def engine_for(device: str) -> Any:
    """The engine's module for this kind of device, imported only where it is wanted."""
    return importlib.import_module(ENGINES[device])


def forward(model: Any, x: Tensor, eps: Tensor, *, record: bool) -> Run:
    """`DRAW.forward` but for the likelihood."""
    x, eps = x.contiguous(), eps.contiguous()
    weights = Weights.of(model, x)
    if torch.is_grad_enabled() and any(p.requires_grad for p in model.parameters()):
        engine, shape = engine_for(eps.device.type), Shape.of(model.config, eps)
        return _unrecorded(engine.run_with_gradients(shape, weights, x, eps))
    return _run(model, weights, x, eps, record)


def generate(model: Any, z: Tensor, *, record: bool) -> Run:
    """`DRAW.generate`."""
    return _run(model, Weights.of(model, None), None, z.contiguous(), record)


def _run(model: Any, weights: Weights, x: Tensor | None, noise: Tensor, record: bool) -> Run:
    engine, shape = engine_for(noise.device.type), Shape.of(model.config, noise)
    results, recording = engine.run(shape, weights, x, noise, record=record)
    if recording is None:
        return _unrecorded(results)
    read = windows(recording.reads, model.config, model.config.read_size)
    write = windows(recording.writes, model.config, model.config.write_size)
    _, z, mu, log_sigma, kl = results
    return Run(recording.canvases, z, mu, log_sigma, kl, read, write)


def _unrecorded(results: Results) -> Run:
    canvas, z, mu, log_sigma, kl = results
    return Run(canvas[None], z, mu, log_sigma, kl, None, None)
