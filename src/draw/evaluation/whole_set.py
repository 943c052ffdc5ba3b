"""What both measures share: going over a set of images, alone or in a group, and a mean."""

import math
from collections.abc import Callable

import torch
from torch import Generator, Tensor

from draw.batches import generator
from draw.data import Images
from draw.processes import Group

ROWS = 512  # images or trajectories that run side by side, at most


def measure_all(
    images: Images,
    rows: int,
    seed: int,
    device: torch.device,
    group: Group,
    measure: Callable[[Tensor, Tensor, Generator], list[Tensor]],
) -> list[list[Tensor]]:
    """Each quantity that `measure` gives of (indices, x, noise), for all images in their order.

    The images come `rows` at a time, each time with a random stream of its own, so that it does
    not matter which process of the group takes them.
    """
    parts = list(enumerate(torch.split(torch.arange(len(images)), rows)))
    measured = []
    for number, indices in parts[group.rank :: group.size]:
        x = images.batch(indices, generator(seed, "pixels", number)).to(device)
        results = measure(indices, x, generator(seed, "noise", number, device))
        measured.append([value.cpu() for value in results])
    return [list(values) for values in zip(*group.gather(measured), strict=True)]


def mean_and_stderr(parts: list[Tensor]) -> tuple[float, float | None]:
    """Over all images: the mean and its standard error, which is None of a single one."""
    values = torch.cat(parts).double()
    if len(values) == 1:
        return float(values), None
    return float(values.mean()), float(values.std()) / math.sqrt(len(values))
