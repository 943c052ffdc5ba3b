"""The training loop: steps, validations and checkpoints."""

import contextlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import torch

from draw.data import Batches, Images
from draw.distributed import SINGLE, World
from draw.errors import ConfigError
from draw.evaluation import EvalResult, check_images_fit, validate
from draw.kernels import Engine
from draw.storage.json_config import to_dict
from draw.storage.run_folder import RunFolder, selection_score
from draw.storage.tensors import weights_digest
from draw.training.config import TrainConfig
from draw.training.state import (
    TrainState,
    check_same_config,
    check_same_data,
    restore_checkpoint,
    save_checkpoint,
)
from draw.training.step import LOG_EVERY, Stepper, StepResult, matmul_precision
from draw.zoo import Network, load


@dataclass(frozen=True, kw_only=True)
class Validation:
    """The validation result of the EMA weights at one step."""

    step: int
    result: EvalResult
    is_saved: bool  # whether `run.model` holds these weights: they are the best so far
    ema: Network

    @property
    def scalars(self) -> dict[str, float]:
        """The values to log, by name."""
        extra = {f"valid/{name}": value for name, value in self.result.extra.items()}
        return {"valid/nats": self.result.nats} | extra


def train(
    config: TrainConfig,
    run: RunFolder,
    training: Images,
    validation: Images,
    *,
    device: torch.device | str = "cpu",
    engine: Engine = "auto",
    stop: Callable[[], bool] = lambda: False,
    world: World = SINGLE,
) -> Iterator[StepResult | Validation]:
    """Train a network and yield the result of each step and validation.

    `draw.train` is a generator. Given an existing run folder, it resumes from the newest checkpoint
    with bit-exact results. A new run writes run.json after the first step; if this step fails, for
    example because memory runs out, the folder is removed. At the end, `run.model` holds the EMA
    weights with the best validation result, or the last ones if `config.train_on` includes
    the validation images. Closing the generator discards the steps since the last checkpoint.

    Args:
        config: the training configuration.
        run: the run folder.
        training, validation: the images that `config.data` and `config.train_on` name.
        device: the device to train on.
        engine: which code runs the network, see `DRAW.engine`.
        stop: called after every step (every 50 steps if several processes train on GPUs); if it
            returns True, the generator saves a checkpoint and ends.
        world: the processes that train together. Each must call this function with the same
            arguments. One process writes the run folder, and all must be able to read it.

    Raises:
        ConfigError: if the images do not fit the network, the model of `start_from` is a different
            network, or the run was started with a different configuration.
        ModelError: if the model of `start_from` does not exist or is damaged.
        RunError: if ten gradients in a row are not finite, or if the run folder holds other files,
            a damaged checkpoint or a run on other data.

    Note:
        Bit-exact resuming needs the same CPU type, number of threads, engine and treatment of
        denormal numbers; the command line always calls `torch.set_flush_denormal(True)`.

    >>> import tempfile
    >>> from pathlib import Path
    >>> from draw.data import load
    >>> from draw.model import DRAWConfig
    >>> config = TrainConfig(model=DRAWConfig(glimpses=2), steps=2, eval_images=8)
    >>> run = RunFolder(Path(tempfile.mkdtemp()) / "run")
    >>> digits = load("digits5k", "valid")
    >>> [type(event).__name__ for event in train(config, run, digits, digits)]
    ['StepResult', 'StepResult', 'Validation']
    """
    for images in (training, validation):
        check_images_fit(config.model, images)
    digests = {
        "training": training.digest(),
        "validation": validation.digest(),
        "binarisation": training.binarisation,
    }
    with run.lock() if world.is_main else contextlib.nullcontext():
        state = TrainState.create(config, device)
        state.model.engine = state.ema.engine = engine
        is_restored = _resume(config, run, state, digests, world)
        if config.start_from is not None and not is_restored:
            digests["start"] = _load_start(config, run, state, world)
        batches = Batches(training, config.batch_size, config.seed)
        stepper = Stepper(state, config, batches, world)
        validation = validation.subset(config.eval_images, config.seed)
        yield from _steps(config, run, state, stepper, validation, digests, stop, world)


def _steps(
    config: TrainConfig,
    run: RunFolder,
    state: TrainState,
    stepper: Stepper,
    validation: Images,
    digests: dict[str, str],
    stop: Callable[[], bool],
    world: World,
) -> Iterator[StepResult | Validation]:
    """Run the remaining steps, including logging, validations and checkpoints."""
    unlogged: list[StepResult] = []  # since the last line of the log
    is_new = not run.config_file.exists()

    def read() -> Iterator[StepResult]:
        for result in stepper.read():
            unlogged.append(result)
            yield result

    while state.step < config.steps:
        stepper.start_step()
        if is_new and world.is_main:
            run.create(config.to_dict(), digests)
        is_new = False
        logging = _is_due(state.step, LOG_EVERY, config)
        validating = _is_due(state.step, config.eval_every, config)
        # A run with `start_from` saves its first step, so that it can resume without that model.
        is_started = state.step == 1 and config.start_from is not None
        saving = is_started or _is_due(state.step, config.checkpoint_every, config)
        reading = state.step % stepper.read_every == 0
        if reading or logging or validating:
            yield from read()
        if logging:
            if world.is_main:
                run.log(_summary(unlogged, config))
            unlogged.clear()
        if validating:
            yield _validate(state, config, run, validation, world)
        # Several processes on GPUs check whether to stop only at steps that read results, because
        # these steps wait for the GPU anyway.
        stopping = (world.size == 1 or reading) and world.any(stop(), state.model.device)
        if saving or stopping:
            yield from read()
            if world.is_main:
                save_checkpoint(run, state)
        if stopping:
            return


def starting_model(config: TrainConfig) -> Network:
    """Load the trained model that `config.start_from` names.

    Raises:
        ConfigError: if its configuration differs from `config.model`; only the number of glimpses
            may differ.
        ModelError: if the model does not exist or is damaged.
        RunError: if it is a run that has not saved a model yet.
    """
    name = str(config.start_from)
    trained: Network = load(name)
    given, wanted = to_dict(trained.config), to_dict(config.model)
    wanted["glimpses"] = given["glimpses"]  # the weights do not depend on it
    different = [f"{key} {value}" for key, value in given.items() if wanted.get(key) != value]
    if different:
        raise ConfigError(f"start_from needs the same network; {name} has {', '.join(different)}")
    return trained


def _resume(
    config: TrainConfig,
    run: RunFolder,
    state: TrainState,
    digests: dict[str, str],
    world: World,
) -> bool:
    """Restore the newest checkpoint of an existing run; return False if there is none."""
    if not run.config_file.exists():
        run.check_vacant()
        return False
    check_same_config(run, config)
    check_same_data(run, digests)
    is_restored = restore_checkpoint(run, state)
    if world.is_main:
        run.move_data(config.to_dict()["data_dir"])
        run.rewind(state.step)
    return is_restored


def _load_start(config: TrainConfig, run: RunFolder, state: TrainState, world: World) -> str:
    """Load the weights of `config.start_from` in all processes and return their digest."""
    own = starting_model(config).state_dict() if world.is_main else {}
    weights, *_ = world.gather([own])
    state.model.load_state_dict(weights)
    state.ema.load_state_dict(weights)
    digest = weights_digest(state.model)
    if run.config_file.exists():
        check_same_data(run, {"start": digest})
    return digest


def _is_due(step: int, every: int, config: TrainConfig) -> bool:
    return step % every == 0 or step == config.steps


def _validate(
    state: TrainState, config: TrainConfig, run: RunFolder, validation: Images, world: World
) -> Validation:
    """Evaluate the EMA weights, log the result, and keep the weights if they are the best."""
    with matmul_precision("highest"):
        result = validate(state.ema, validation, seed=config.seed, world=world)
    score = selection_score(result.nats, result.extra.get("error"))
    is_best = score > (-math.inf if state.best_score is None else state.best_score)
    is_saved = is_best or not config.has_validation  # no held-out images: keep the last weights
    if is_saved:
        state.best_score = score
    if is_saved and world.is_main:
        state.ema.save(run.model)
    if world.is_main:
        record = {
            "step": state.step,
            f"valid_{config.model.metric}_nats": result.nats,
            f"valid_{config.model.metric}_stderr": result.stderr,
            **{f"valid_{name}": value for name, value in result.extra.items()},
            "valid_images": result.images,
        }
        run.log(record)
    return Validation(step=state.step, result=result, is_saved=is_saved, ema=state.ema)


def _summary(steps: list[StepResult], config: TrainConfig) -> dict[str, Any]:
    """Average the steps since the last line of the log.

    Skipped steps count only towards the speed and the CPU time.
    """
    last, taken = steps[-1], [step for step in steps if step.is_finite]
    return {
        "step": last.step,
        f"train_{config.model.metric}_nats": fmean(s.train_nats for s in taken) if taken else None,
        "gradient_norm": fmean(s.gradient_norm for s in taken) if taken else None,
        "learning_rate": last.learning_rate,
        "skipped": last.skipped,
        "images_per_second": config.batch_size * len(steps) / sum(s.seconds for s in steps),
        "cpu_seconds": sum(s.cpu_seconds for s in steps),
    }
