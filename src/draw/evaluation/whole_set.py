"""What both measures share: going over a set of images, alone or in a group, and a mean."""

import math
from collections.abc import Callable

import torch
from torch import Generator, Tensor

from draw.batches import generator
from draw.data import Images
from draw.evaluation.kept import Kept
from draw.processes import Group

ROWS = 512  # images or trajectories that run side by side, at most


def measure_all(
    images: Images,
    rows: int,
    seed: int,
    device: torch.device,
    group: Group,
    measure: Callable[[Tensor, Tensor, Generator], dict[str, Tensor]],
    kept: Kept | None = None,
    found: Callable[[int], None] = lambda images: None,
) -> dict[str, Tensor]:
    """Each quantity [..., B] that `measure` gives of (indices, x, noise), of all images [..., n].

    The images come `rows` at a time, each time with a random stream of its own, so that it does
    not matter which process of the group takes them.

    Args:
        kept: where to look for what has been measured already, and to keep the rest.
        found: told of how many images something was found there.
    """
    parts = list(enumerate(torch.split(torch.arange(len(images)), rows)))
    measured = []
    for number, indices in parts[group.rank :: group.size]:
        values = kept.read(number, len(indices)) if kept else None
        if values is not None:
            found(len(indices))
        else:
            x = images.batch(indices, generator(seed, "pixels", number)).to(device)
            results = measure(indices, x, generator(seed, "noise", number, device))
            values = {name: value.cpu() for name, value in results.items()}
            if kept:
                kept.write(number, values)
        measured.append(values)
    of_all = group.gather(measured)
    return {name: torch.cat([values[name] for values in of_all], dim=-1) for name in of_all[0]}


def mean_and_stderr(values: Tensor) -> tuple[float, float | None]:
    """Over all images: the mean and its standard error, which is None of a single one."""
    values = values.double()
    if len(values) == 1:
        return float(values), None
    return float(values.mean()), float(values.std()) / math.sqrt(len(values))
