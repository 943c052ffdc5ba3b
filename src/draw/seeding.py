"""Independent random streams, each a function of (seed, purpose, index).

The order of the images, the noise and the binarisation of a training step depend only on the run's
seed and the number of the step, so a run resumes exactly without storing any generator state.
"""

import numpy as np
import torch
from torch import Generator


def generator(
    seed: int, purpose: str, index: int = 0, device: torch.device | str = "cpu"
) -> Generator:
    """Create the random stream for (seed, purpose, index)."""
    return Generator(device).manual_seed(derived_seed(seed, purpose, index))


def derived_seed(seed: int, purpose: str, index: int = 0) -> int:
    """Derive the seed of the stream for (seed, purpose, index)."""
    stream = np.random.SeedSequence([seed, index, *purpose.encode()])
    return int(stream.generate_state(1, np.uint64)[0]) >> 1  # NumPy 1 cannot shift a uint64
