"""What is timed, and how: variants of a task in turn, round by round."""

import statistics
import time
from collections.abc import Callable

import torch

from draw.data import Images
from draw.evaluation import evaluate
from draw.model import DRAW
from draw.objectives import elbo

Run = Callable[[], object]


def random_images(batch: int, image_shape: tuple[int, int, int]) -> torch.Tensor:
    return torch.bernoulli(torch.full((batch, *image_shape), 0.2))


def task(name: str, model: DRAW, batch: int) -> Run:
    """One run of a task on random images."""
    x = random_images(batch, model.config.image_shape)
    images = Images(pixels=(255 * x[:8]).to(torch.uint8), binarisation="static")
    x = x.to(model.device)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4)

    def train() -> None:
        optimizer.zero_grad()
        (-elbo(model(x)).mean()).backward()
        optimizer.step()

    @torch.no_grad()
    def one_bound() -> None:
        elbo(model(x))

    @torch.no_grad()
    def paint() -> None:
        model.generate(batch)

    def importance() -> None:
        evaluate(model, images, importance_samples=batch)

    return {"train": train, "evaluate": one_bound, "iwae": importance, "generate": paint}[name]


def measure(runs: dict[str, Run], rounds: int, wait: Run = lambda: None) -> dict[str, float]:
    """Median seconds of each, in turn, after two turns to warm up.

    Args:
        wait: returns when the device has done all that it was given.
    """
    times: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(rounds + 2):
        for name, run in runs.items():
            wait()
            started = time.perf_counter()
            run()
            wait()
            if turn >= 2:
                times[name].append(time.perf_counter() - started)
    return {name: statistics.median(values) for name, values in times.items()}
