"""A tiny run that the tests of training share."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from draw.data import Batches, Images
from draw.model import DRAWConfig
from draw.storage.run_folder import RunFolder
from draw.training.config import TrainConfig
from draw.training.loop import train
from draw.training.state import TrainState, restore_checkpoint
from draw.training.step import Stepper, StepResult

CONFIG = TrainConfig(
    model=DRAWConfig(
        height=8, width=8, glimpses=3, hidden_size=8, latent_size=4, read_size=2, write_size=3
    ),
    data="folder",
    steps=12,
    batch_size=4,
    warmup_steps=2,
    optimizer="muon",  # uses AdamW as well
    weight_decay=0.1,
    eval_every=4,
    eval_images=8,
    checkpoint_every=3,
)
ADAM = replace(CONFIG, optimizer="adam")
UNEVEN = replace(CONFIG, batch_size=5, steps=6)  # two processes take two and three rows


def random_images(count: int = 10, binarisation: str = "dynamic") -> Images:
    rng = np.random.default_rng(0)
    pixels = torch.from_numpy(rng.integers(0, 256, (count, 1, 8, 8), dtype=np.uint8))
    return Images(pixels=pixels, labels=torch.arange(count) % 10, binarisation=binarisation)


def run_to_end(config: TrainConfig, path: Path, stop_at: int | None = None) -> TrainState:
    """Train to the end, or stop after a step; return the state of the newest checkpoint."""
    run, images = RunFolder(path), random_images()
    steps = [0]
    for event in train(config, run, images, images, stop=lambda: steps[-1] == stop_at):
        steps.append(event.step)
    state = TrainState.create(config)
    assert restore_checkpoint(run, state)
    return state


def take_steps(stepper: Stepper, count: int = 1) -> list[StepResult]:
    """Run steps and return their results."""
    for _ in range(count):
        stepper.start_step()
    return list(stepper.read())


def assert_equal(a: TrainState, b: TrainState) -> None:
    """Check that two states are equal bit for bit."""
    assert a.step == b.step
    left, right = a.tensors(), b.tensors()
    assert left.keys() == right.keys()
    for name, value in left.items():
        assert torch.equal(value, right[name]), name


def assert_close(a: TrainState, b: TrainState) -> None:
    """Check that two states are equal except for rounding."""
    left, right = a.tensors(), b.tensors()
    assert left.keys() == right.keys()
    for name, value in left.items():
        torch.testing.assert_close(value.cpu(), right[name].cpu(), rtol=1e-4, atol=1e-6, msg=name)


class BrokenBatches(Batches):
    """Minibatches whose images are NaN at the given steps."""

    def __init__(self, broken: set[int]) -> None:
        super().__init__(random_images(), 4, 0)
        self.broken = broken

    def __getitem__(self, step: int) -> tuple[torch.Tensor, torch.Tensor]:
        x, labels = super().__getitem__(step)
        return (x * torch.nan if step in self.broken else x), labels
