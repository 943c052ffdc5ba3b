"""Before it is used on a device, the engine is held against the plain path there, once.

The tests do so at length, but on machines of ours. On a processor, compiler or driver that nobody
has tried, this finds the gross faults: an engine that does not start, or computes something else.
"""

import copy
import logging
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from functools import cache, partial
from threading import Lock, Thread
from typing import Any, TypeVar

import torch
from torch import Generator, Tensor

from draw.attention import Window
from draw.errors import is_out_of_memory
from draw.kernels import loops

GLIMPSES = 3
IMAGES = {"cpu": 16, "cuda": 80}  # a multiple of 16; on a GPU more than one block of rows
LARGEST_SIDE, LARGEST_HIDDEN = 64, 256  # a smaller network is tried in place of a larger one
EXACT, TF32 = 2e-3, 5e-2  # of the norm; rounding was seen to take 2e-4 and, emulated, 1.2e-2
SMALLEST = 1e-3  # norm, for results that are next to nothing

T = TypeVar("T")

log = logging.getLogger("draw")
_one_at_a_time = Lock()


def failure(network: Any, config: Any, device: torch.device, batch: int) -> str | None:
    """What the engine gets wrong on this device, told in the log as well; None if nothing.

    Args:
        network: the class `DRAW`.
        config: the shape of the network.
        batch: how many images it is to run; Triton compiles for one, for multiples of 16 and for
            all other numbers apart.

    Raises:
        RuntimeError, MemoryError: there is no memory to try it, or no thread; the next call tries
            again.
    """
    many = IMAGES[device.type]
    images = 1 if batch == 1 else many if batch % 16 == 0 else many + 1
    rounded = torch.backends.cuda.matmul.fp32_precision == "tf32"
    with _one_at_a_time:
        return _failure(network, config, device, images, rounded)


@cache
def _failure(
    network: Any, config: Any, device: torch.device, images: int, rounded: bool
) -> str | None:
    small = replace(
        config,
        height=min(config.height, LARGEST_SIDE),
        width=min(config.width, LARGEST_SIDE),
        hidden_size=min(config.hidden_size, LARGEST_HIDDEN),
        glimpses=min(config.glimpses, GLIMPSES),
    )
    errors = _elsewhere(partial(_errors, network, small, device, images))
    try:
        most = TF32 if rounded else EXACT
        wrong = [name for name, error in errors.result().items() if not error <= most]
    except Exception as error:  # whatever a compiler or a driver may raise
        if is_out_of_memory(error):
            raise
        said = str(error).partition("\n")[0]
        wrong = [f"{type(error).__name__}: {said}"]
    if not wrong:
        return None
    more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
    told = f"it fails beside the plain path: {', '.join(wrong[:3])}{more}"
    log.warning("the fused engine is not used on %s: %s", device, told)
    return told


def _elsewhere(work: Callable[[], T]) -> Future[T]:
    """What it returns or raises in another thread, where none of the caller's modes is on."""
    done: Future[T] = Future()

    def run() -> None:
        try:
            done.set_result(work())
        except BaseException as error:
            done.set_exception(error)

    Thread(target=run).start()
    return done


def _errors(network: Any, config: Any, device: torch.device, images: int) -> dict[str, float]:
    """How far each result is from that of the plain path in float64, as a part of its norm."""
    randomness = Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=randomness, dtype=torch.float32).to(device)

    with torch.device("meta"):  # its own initial values, some of them zero, would show less
        model = network(config)
    for parameter in model.to_empty(device=device).parameters():
        scale = {1: 0.3, 2: parameter.shape[-1] ** -0.5, 3: 3.0}  # a canvas: black to white
        parameter.data = scale[parameter.ndim] * normal(*parameter.shape)
    plain = copy.deepcopy(model).double()
    plain.engine = "plain"
    x = normal(images, *config.image_shape).sigmoid()
    eps = normal(config.glimpses, images, config.latent_size)
    ours = _results(model, partial(loops.forward, model), partial(loops.generate, model), x, eps)
    theirs = _results(
        plain,
        lambda x, eps, record: plain(x, eps=eps, record=record),
        lambda z, record: plain.generate(images, z=z, record=record),
        x.double(),
        eps.double(),
    )
    return {
        name: float((ours[name].double() - value).norm() / value.norm().clamp(min=SMALLEST))
        for name, value in theirs.items()
    }


def _results(
    model: Any, forward: Callable[..., Any], generate: Callable[..., Any], x: Tensor, eps: Tensor
) -> dict[str, Tensor]:
    """All that an engine, or the plain path, computes for this input, by name."""
    learning = forward(x, eps, record=False)
    randomness = Generator().manual_seed(1)
    results = (learning.canvas, learning.z, learning.mu, learning.log_sigma, learning.kl)
    weights = [torch.randn(r.shape, generator=randomness, dtype=torch.float32) for r in results]
    loss = sum((w.to(r) * r).sum() for w, r in zip(weights, results, strict=True))
    names, parameters = zip(*model.named_parameters(), strict=True)
    gradients = torch.autograd.grad(loss, parameters)
    with torch.no_grad():
        runs = {
            "training": learning,
            "evaluation": forward(x, eps, record=False),
            "recording": forward(x, eps, record=True),
            "generation": generate(eps, record=True),
        }
    named = {}
    for task, run in runs.items():
        for name in ("canvas", "canvases", "z", "mu", "log_sigma", "kl"):
            named[f"{name} in {task}"] = getattr(run, name)
        for name in ("read_window", "write_window"):
            for field, value in zip(Window._fields, getattr(run, name) or (), strict=False):
                named[f"{field} of {name} in {task}"] = value
    named |= {f"gradient by {name}": g for name, g in zip(names, gradients, strict=True)}
    return {name: value.detach() for name, value in named.items() if value is not None}
