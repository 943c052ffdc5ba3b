"""Compare the fused engine with the plain engine once per device, before it is first used.

The tests make the same comparison in depth, but not on every processor, compiler and driver. This
check detects gross errors there: an engine that does not start or computes something else.
"""

import copy
import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache
from threading import Lock
from typing import Any

import torch
from torch import Generator, Tensor

from draw.attention import Window
from draw.errors import is_out_of_memory
from draw.kernels import classifier, loops

MAX_GLIMPSES, MAX_SIDE, MAX_HIDDEN = 3, 64, 256  # larger networks are checked at these sizes
IMAGES = {"cpu": 16, "cuda": 80}  # a multiple of 16; on a GPU, more than one block of rows
FLOAT32_TOLERANCE = 2e-3  # relative to the norm; rounding alone reaches 2e-4
REDUCED_TOLERANCES = {"tf32": 5e-2, "bf16": 0.2}  # rounding alone: 1.2e-2 (emulated), 4.5e-2
MIN_NORM = 1e-3  # for results that are close to zero

_lock = Lock()


def failure(network: Any, config: Any, device: torch.device, batch: int) -> str | None:
    """Return what the engine computes wrongly on a device, or None. The result is cached.

    Args:
        network: the model class.
        config: the model configuration.
        batch: the number of images. Triton compiles different code for one image, for multiples
            of 16 and for other numbers, so the check runs once for each.

    Raises:
        RuntimeError, MemoryError: if the check cannot allocate memory or start a thread. The
            next call repeats it.
    """
    multiple = IMAGES[device.type]
    images = 1 if batch == 1 else multiple if batch % 16 == 0 else multiple + 1
    with _lock:
        return _failure(network, config, device, images, loops.engine_for(device.type).precision())


@cache
def _failure(
    network: Any, config: Any, device: torch.device, images: int, precision: str
) -> str | None:
    small = replace(
        config,
        height=min(config.height, MAX_SIDE),
        width=min(config.width, MAX_SIDE),
        hidden_size=min(config.hidden_size, MAX_HIDDEN),
        glimpses=min(config.glimpses, MAX_GLIMPSES),
    )
    with ThreadPoolExecutor(1) as pool:  # the thread has none of the caller's PyTorch modes
        errors = pool.submit(relative_errors, network, small, device, images)
    try:
        tolerance = REDUCED_TOLERANCES.get(precision, FLOAT32_TOLERANCE)
        wrong = [name for name, error in errors.result().items() if not error <= tolerance]
    except Exception as error:  # a compiler or driver can raise any type
        if is_out_of_memory(error):
            raise
        first_line = str(error).partition("\n")[0]
        wrong = [f"{type(error).__name__}: {first_line}"]
    if not wrong:
        return None
    more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
    return f"the fused engine failed its self-check on {device}: {', '.join(wrong[:3])}{more}"


def relative_errors(
    network: Any, config: Any, device: torch.device, images: int
) -> dict[str, float]:
    """Return the error of each result by name, relative to the plain engine's norm in float64."""
    generator = Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float32).to(device)

    with torch.device("meta"):  # the usual initial values, some of them 0, would hide errors
        model = network(config)
    weights = {}
    for name, parameter in model.named_parameters():
        scale = {1: 0.3, 2: parameter.shape[-1] ** -0.5, 3: 3.0}  # canvas_0: black to white
        weights[name] = scale[parameter.ndim] * normal(*parameter.shape)
    model.load_state_dict(weights, assign=True)  # Module.to_empty would import SymPy
    plain = copy.deepcopy(model).double()
    plain.engine = "plain"
    x = normal(images, *config.image_shape).sigmoid()
    if config.network == "GlimpseClassifier":
        fused = _classifier_results(model, classifier.classify, x)
        expected = _classifier_results(plain, network.forward, x.double())
    else:
        eps = normal(config.glimpses, images, config.latent_size)
        generate = functools.partial(network.generate, count=images)
        fused = _results(model, loops.forward, loops.generate, x, eps)
        expected = _results(plain, network.forward, generate, x.double(), eps.double())
    return {
        name: float((fused[name].double() - value).norm() / value.norm().clamp(min=MIN_NORM))
        for name, value in expected.items()
    }


def _results(
    model: Any, forward: Callable[..., Any], generate: Callable[..., Any], x: Tensor, eps: Tensor
) -> dict[str, Tensor]:
    """Compute every value and gradient that an engine provides, by name."""
    training = forward(model, x, eps=eps, record=False)
    gradients = _gradients(
        model, (training.canvas, training.z, training.mu, training.log_sigma, training.kl)
    )
    with torch.no_grad():
        traces = {
            "training": training,
            "evaluation": forward(model, x, eps=eps, record=False),
            "recording": forward(model, x, eps=eps, record=True),
            "generation": generate(model, z=eps, record=True),
        }
    named = {}
    for task, trace in traces.items():
        for name in ("canvas", "canvases", "z", "mu", "log_sigma", "kl"):
            named[f"{name} in {task}"] = getattr(trace, name)
        for name in ("read_window", "write_window"):
            for field, value in zip(Window._fields, getattr(trace, name) or (), strict=False):
                named[f"{field} of {name} in {task}"] = value
    named |= gradients
    return {name: value.detach() for name, value in named.items() if value is not None}


def _classifier_results(model: Any, forward: Callable[..., Any], x: Tensor) -> dict[str, Tensor]:
    """Compute every value and gradient that an engine provides for a classifier, by name."""
    named: dict[str, Tensor] = {}
    for task, grad in (("evaluation", False), ("training", True)):
        with torch.set_grad_enabled(grad):
            logits, window = forward(model, x)
        named |= {f"{name} in {task}": value for name, value in window._asdict().items()}
        named[f"logits in {task}"] = logits
    named |= _gradients(model, (logits, *window))
    return {name: value.detach() for name, value in named.items()}


def _gradients(model: Any, results: tuple[Tensor, ...]) -> dict[str, Tensor]:
    """Compute the gradients of a random weighted sum of results for all parameters, by name."""
    generator = Generator().manual_seed(1)
    weights = [torch.randn(r.shape, generator=generator, dtype=torch.float32) for r in results]
    products = [(w.to(r) * r).sum() for w, r in zip(weights, results, strict=True)]
    names, parameters = zip(*model.named_parameters(), strict=True)
    gradients = torch.autograd.grad(torch.stack(products).sum(), parameters)
    return {f"gradient of {name}": g for name, g in zip(names, gradients, strict=True)}
