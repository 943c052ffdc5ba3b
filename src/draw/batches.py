"""What each step of a training sees: its images, and a random stream for everything else.

Randomness is a function of (seed, purpose, step): the order of the images, the noise and the
binarisation of step s do not depend on what ran before it. A run that was interrupted needs no
generator state to go on exactly, only its step.
"""

import numpy as np
import torch
from torch import Generator, Tensor

from draw.data import Images


class Batches:
    """The minibatches of a training by step: every image once an epoch, in an order of its own.

    Each is the images [B, C, H, W] and their labels [B], which are -1 where there are none.
    """

    def __init__(self, images: Images, batch_size: int, seed: int) -> None:
        self.images, self.batch_size, self.seed = images, batch_size, seed
        self._order: tuple[int, Tensor] | None = None  # the last epoch asked for

    def __getitem__(self, step: int) -> tuple[Tensor, Tensor]:
        n = len(self.images)
        places = torch.arange(step * self.batch_size, (step + 1) * self.batch_size)
        epochs = range(int(places[0]) // n, int(places[-1]) // n + 1)
        indices = torch.cat([self._permutation(e)[places[places // n == e] % n] for e in epochs])
        x = self.images.batch(indices, generator(self.seed, "binarisation", step))
        labels = self.images.labels
        return x, torch.full_like(indices, -1) if labels is None else labels[indices]

    def _permutation(self, epoch: int) -> Tensor:
        if self._order is None or self._order[0] != epoch:
            order = generator(self.seed, "order", epoch)
            self._order = epoch, torch.randperm(len(self.images), generator=order)
        return self._order[1]


def generator(
    seed: int, purpose: str, index: int = 0, device: torch.device | str = "cpu"
) -> Generator:
    """An independent random stream for each (seed, purpose, index)."""
    return Generator(device).manual_seed(derived_seed(seed, purpose, index))


def derived_seed(seed: int, purpose: str, index: int = 0) -> int:
    """The seed of one of these streams."""
    stream = np.random.SeedSequence([seed, index, *purpose.encode()])
    return int(stream.generate_state(1, np.uint64)[0] >> 1)
