"""Before it is trusted on a device, the engine is held against the plain path there, once.

The tests do so at length, but on machines of ours. A compiler, processor or driver that nobody has
tried costs speed then, with a word in the log, and never a wrong number.
"""

import functools
import logging
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from draw.kernels.layout import Results, Shape, Weights

IMAGES, GLIMPSES = 16, 3  # Triton compiles for 16 images as for a multiple of them
LARGEST_SIDE, LARGEST_HIDDEN = 64, 256  # a larger network is tried in a smaller one's place
TOLERANCE = 0.02  # of the norm; float32 needs 1e-5 of it, TF32 1e-3, and a fault has no measure

log = logging.getLogger("draw")


@functools.cache
def failure(room: Any, network: Any, config: Any, device: torch.device) -> str | None:
    """What the engine gets wrong on this device, told in the log as well; None if nothing.

    Args:
        room: the engine's module for this kind of device.
        network: the class `DRAW`.
        config: the shape of the network.
    """
    small = replace(
        config,
        height=min(config.height, LARGEST_SIDE),
        width=min(config.width, LARGEST_SIDE),
        hidden_size=min(config.hidden_size, LARGEST_HIDDEN),
        glimpses=min(config.glimpses, GLIMPSES),
    )
    with torch.inference_mode(False), torch.enable_grad(), torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        model = network(small).to(device, torch.float32)
        x = torch.rand(IMAGES, *small.image_shape, dtype=torch.float32).to(device)
        noise = torch.randn(small.glimpses, IMAGES, small.latent_size, dtype=torch.float32)
        try:
            wrong = _difference(room, model, x, noise.to(device))
        except Exception as error:  # whatever a compiler or a driver may raise
            said = str(error).partition("\n")[0]
            wrong = f"it stopped with {type(error).__name__}: {said}"
    if wrong:
        log.warning("the fused engine is not used on %s, the plain one runs: %s", device, wrong)
    return wrong


def _difference(room: Any, model: Any, x: Tensor, eps: Tensor) -> str | None:
    """Which values or gradients differ from those of the plain path in float64; None if none."""
    shape, named = Shape.of(model.config, eps), dict(model.named_parameters())
    weights = Weights.of(model, x)
    results: Results = room.run_with_gradients(shape, weights, x, eps)
    fused: dict[str, Any] = results._asdict()
    fused |= _gradients(results.canvas, results.kl, named)
    with torch.no_grad():
        again, _ = room.run(shape, weights, x, eps, record=False)
    fused["canvas without gradients"] = again.canvas
    model.double().engine = "plain"
    trace = model(x.double(), eps=eps.double())
    plain = {"canvas": trace.canvas[-1], "z": trace.z, "mu": trace.mu, "log_sigma": trace.log_sigma}
    plain["canvas without gradients"] = trace.canvas[-1].detach()
    plain |= _gradients(trace.canvas[-1], trace.kl, dict(model.named_parameters()))
    differing = [name for name, value in plain.items() if not _close(fused[name], value)]
    return f"its {', '.join(differing)} differ from the plain path's" if differing else None


def _gradients(canvas: Tensor, kl: Any, named: dict[str, Tensor]) -> dict[str, Tensor]:
    loss = canvas.sigmoid().sum() + kl.sum()
    gradients = torch.autograd.grad(loss, list(named.values()))
    return {f"gradient by {name}": g for name, g in zip(named, gradients, strict=True)}


def _close(value: Tensor, reference: Tensor) -> bool:
    return bool((value.double() - reference).norm() <= TOLERANCE * reference.norm() + 1e-6)
