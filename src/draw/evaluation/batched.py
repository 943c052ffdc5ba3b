"""Evaluate a set of images in batches, in one process or several."""

import math
from collections.abc import Callable

import torch
from torch import Generator, Tensor

from draw.data import Images
from draw.distributed import World
from draw.errors import ConfigError
from draw.evaluation.cache import EvalCache
from draw.seeding import generator

MAX_ROWS = 512  # images or trajectories that run in parallel


def check_is_images(images: object) -> None:
    """Check that images are an `Images`, not a tensor.

    Raises:
        ConfigError: if they are not.
    """
    if not isinstance(images, Images):
        given = type(images).__name__
        raise ConfigError(f"the images are a {given}; wrap them: draw.data.Images(pixels=bytes)")


def evaluate_batches(
    images: Images,
    batch_size: int,
    seed: int,
    device: torch.device,
    world: World,
    measure: Callable[[Tensor, Tensor, Generator], dict[str, Tensor]],
    cache: EvalCache | None = None,
    on_cached: Callable[[int], None] = lambda images: None,
) -> dict[str, Tensor]:
    """Measure quantities of every image and return each as a tensor [..., n].

    Each batch has a random stream derived from its number, so the result does not depend on which
    process evaluates it. `measure` maps (indices, x, noise) of a batch to quantities [..., B] by
    name. `on_cached` is called with the number of images of each batch found in the cache.
    """
    batches = list(enumerate(torch.split(torch.arange(len(images)), batch_size)))
    measured = []
    for number, indices in batches[world.rank :: world.size]:
        values = cache.read(number, len(indices)) if cache else None
        if values is not None:
            on_cached(len(indices))
        else:
            x = images.batch(indices, generator(seed, "pixels", number)).to(device)
            results = measure(indices, x, generator(seed, "noise", number, device))
            values = {name: value.cpu() for name, value in results.items()}
            if cache:
                cache.write(number, values)
        measured.append(values)
    gathered = world.gather(measured)
    return {name: torch.cat([values[name] for values in gathered], -1) for name in gathered[0]}


def mean_and_stderr(values: Tensor) -> tuple[float, float | None]:
    """Compute the mean over images and its standard error, which is None for a single image."""
    values = values.double()
    if len(values) == 1:
        return float(values), None
    return float(values.mean()), float(values.std()) / math.sqrt(len(values))
