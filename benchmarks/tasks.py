"""The tasks that the benchmarks time, and the timing."""

import statistics
import time
from collections.abc import Callable
from dataclasses import replace

import torch

import draw
from draw import data
from draw.classifier import log_probability
from draw.data import Batches, Images
from draw.data.transforms import Cluttered
from draw.evaluation import evaluate
from draw.model import DRAW
from draw.objectives import elbo
from draw.training.config import Optimizer
from draw.training.optim import create_optimizers, step_if

Run = Callable[[], object]


def random_images(batch: int, image_shape: tuple[int, int, int]) -> torch.Tensor:
    return torch.bernoulli(torch.full((batch, *image_shape), 0.2))


def task(name: str, model: DRAW, batch: int) -> Run:
    """Return a function that runs a task once on random images."""
    x = random_images(batch, model.config.image_shape)
    images = Images(pixels=(255 * x[:8]).to(torch.uint8), binarisation="static")
    x = x.to(model.device)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4)

    def train() -> None:
        optimizer.zero_grad()
        (-elbo(model(x)).mean()).backward()
        optimizer.step()

    @torch.no_grad()
    def bound() -> None:
        elbo(model(x))

    @torch.no_grad()
    def generate() -> None:
        model.generate(batch)

    def importance() -> None:
        evaluate(model, images, importance_samples=batch)

    return {"train": train, "evaluate": bound, "iwae": importance, "generate": generate}[name]


def classify_task(engine: str, batch: int, optimizer: Optimizer | None = None) -> Run:
    """Return a function that runs forward and backward of the published classifier once.

    Args:
        engine: "plain" or "fused".
        batch: the number of images, which are the bundled digits with clutter.
        optimizer: "adam" or "muon" to run only the step of this optimizer.
    """
    digits = data.load("digits5k", "train")
    images = replace(digits, transform=Cluttered(digits.pixels, size=100, pieces=8))
    x, labels = Batches(images, batch, seed=0)[0]
    model = draw.load("cluttered-100")
    model.engine = engine

    def run() -> None:
        model.zero_grad()
        (-log_probability(model(x), labels).sum()).backward()

    if optimizer is None:
        return run
    run()
    optimizers = create_optimizers(model, optimizer, 1e-6, on_device=False)
    return lambda: step_if(torch.tensor(True), optimizers)


def measure(runs: dict[str, Run], rounds: int, wait: Run = lambda: None) -> dict[str, float]:
    """Return the median seconds of each run; the runs alternate, after two rounds of warm-up.

    Args:
        wait: waits until the device has finished.
    """
    times: dict[str, list[float]] = {name: [] for name in runs}
    for i in range(rounds + 2):
        for name, run in runs.items():
            wait()
            started = time.perf_counter()
            run()
            wait()
            if i >= 2:
                times[name].append(time.perf_counter() - started)
    return {name: statistics.median(values) for name, values in times.items()}
