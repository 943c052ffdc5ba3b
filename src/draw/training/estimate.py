"""Estimate how long a run takes."""

from statistics import median

import torch

from draw.data import Batches, Images
from draw.evaluation import check_images_fit
from draw.kernels import Engine
from draw.training.config import TrainConfig
from draw.training.cuda_graph import WARM_UP_CALLS
from draw.training.state import TrainState
from draw.training.step import Stepper

WARMUP_STEPS = WARM_UP_CALLS + 1  # the last one records the CUDA graph
TIMED_STEPS = 3
SAMPLES = 64  # images that `draw train` draws at each validation
FORWARD_SHARE = 1 / 3  # share of a step that its forward pass takes


def estimate_seconds(
    config: TrainConfig,
    training: Images,
    validation: Images,
    device: torch.device | str = "cpu",
    engine: Engine = "auto",
) -> float:
    """Estimate the duration of a run in one process, by timing a few steps of a second network.

    Raises:
        ConfigError: if the images do not fit the network.
    """
    for images in (training, validation):
        check_images_fit(config.model, images)
    state = TrainState.create(config, device)
    state.model.engine = engine
    stepper = Stepper(state, config, Batches(training, config.batch_size, config.seed))
    times = []
    for _ in range(WARMUP_STEPS + TIMED_STEPS):
        stepper.start_step()
        times += [result.seconds for result in stepper.read()]
    step = median(times[WARMUP_STEPS:])
    shown = min(config.eval_images, len(validation)) + SAMPLES
    validations = -(-config.steps // config.eval_every)
    return step * (config.steps + validations * FORWARD_SHARE * shown / config.batch_size)
