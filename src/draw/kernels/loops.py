"""The loops over the steps, run by the engine of the device that the tensors are on."""

import importlib
from typing import Any

import torch
from torch import Tensor

from draw.kernels.layout import Shape, Weights, windows
from draw.trace import Trace

ENGINES = {"cpu": "draw.kernels.cpu", "cuda": "draw.kernels.gpu"}  # by the kind of the device


def engine_for(device: str) -> Any:
    """The engine's module for this kind of device, imported only where it is wanted."""
    return importlib.import_module(ENGINES[device])


def forward(model: Any, x: Tensor, eps: Tensor, *, record: bool) -> Trace:
    """`DRAW.forward`."""
    x, eps = x.contiguous(), eps.contiguous()
    weights = Weights.of(model, x)
    if torch.is_grad_enabled() and any(p.requires_grad for p in model.parameters()):
        engine, shape = engine_for(eps.device.type), Shape.of(model.config, eps)
        results, recording = engine.run_with_gradients(shape, weights, x, eps), None
    else:
        results, recording = _run(model, weights, x, eps, record)
    return _trace(model, x, eps, results, recording)


def generate(model: Any, z: Tensor, *, record: bool) -> Trace:
    """`DRAW.generate`."""
    return _trace(
        model, None, None, *_run(model, Weights.of(model, None), None, z.contiguous(), record)
    )


def _run(model: Any, weights: Weights, x: Tensor | None, noise: Tensor, record: bool) -> Any:
    engine, shape = engine_for(noise.device.type), Shape.of(model.config, noise)
    return engine.run(shape, weights, x, noise, record=record)


def _trace(model: Any, x: Tensor | None, eps: Tensor | None, results: Any, recording: Any) -> Trace:
    canvas, z, mu, log_sigma, kl = results
    canvases = read = write = None
    if recording is not None:
        canvases = recording.canvases
        canvas = canvases[-1]
        read = windows(recording.reads, model.config, model.config.read_size)
        write = windows(recording.writes, model.config, model.config.write_size)
    return Trace(
        canvas=canvas,
        z=z,
        eps=eps,
        mu=mu,
        log_sigma=log_sigma,
        kl=kl,
        canvases=canvases,
        log_likelihood=None if x is None else model.likelihood.log_likelihood(x, canvas),
        read_window=read,
        write_window=write,
        likelihood=model.likelihood,
    )
