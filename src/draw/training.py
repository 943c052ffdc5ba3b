"""The training loop: steps, validations, checkpoints."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any

import torch

from draw.batches import Batches
from draw.checkpoint import Learner, RunFolder
from draw.config import TrainConfig
from draw.data import Images
from draw.errors import ConfigError, RunError
from draw.kernels import Engine
from draw.loading import load
from draw.processes import ALONE, Group
from draw.steps import LOG_EVERY, Step, Steps, new_learner
from draw.tasks import TASKS, Judgement, Network
from draw.weights import weights_digest


@dataclass(frozen=True, kw_only=True)
class Validation:
    """What a validation of the averaged weights gave."""

    step: int
    result: Judgement
    is_best: bool
    learner: Learner


def train(
    config: TrainConfig,
    run: RunFolder,
    training: Images,
    validation: Images,
    *,
    device: torch.device | str = "cpu",
    engine: Engine = "auto",
    stop: Callable[[], bool] = lambda: False,
    group: Group = ALONE,
) -> Iterator[Step | Validation]:
    """Train, and yield what happens as it happens.

    A new run folder is made after the first step, so that a network too large for the memory
    leaves nothing behind; an existing one goes on from its newest checkpoint. The weights that
    did best on validation lie in `run.model` at the end. Closing the iterator abandons what came
    since the last checkpoint.

    Args:
        engine: who runs the steps, see `DRAW.engine`.
        stop: asked after every step; when it says yes, a checkpoint is written and the
            iterator ends.
        group: the processes that train this network together. All call this alike; one writes
            the run folder, which all can read.

    Raises:
        ConfigError: the likelihood is not for such images, their labels not for the model, the
            model to start from is of another network, or the run was started with another
            configuration.
        ModelError: there is no such model to start from, or it is damaged.
        RunError: ten gradients in a row were not finite, or the run folder holds something
            else, a damaged checkpoint or a training on other data.

    Note:
        Bit-exact resume asks for the same CPU, number of threads, engine and treatment of
        denormal numbers; the command line always sets `torch.set_flush_denormal(True)`.

    >>> import tempfile
    >>> from pathlib import Path
    >>> from draw.data import load
    >>> from draw.model import DRAWConfig
    >>> config = TrainConfig(model=DRAWConfig(glimpses=2), steps=2, eval_images=8)
    >>> run = RunFolder(Path(tempfile.mkdtemp()) / "run")
    >>> digits = load("digits5k", "valid")
    >>> [type(event).__name__ for event in train(config, run, digits, digits)]
    ['Step', 'Step', 'Validation']
    """
    seen = {
        "training": training.digest(),
        "validation": validation.digest(),
        "binarisation": training.binarisation,
    }
    if training.note:
        seen["note"] = training.note
    task = TASKS[type(config.model)]
    for images in (training, validation):
        task.check(config.model, images)
    learner = new_learner(config, device)
    learner.model.engine = learner.average.engine = engine
    if run.config_file.exists():
        config.check_started(run)
        _check_same_data(run, seen)
        is_fresh = not run.restore(learner)
        if group.is_main:
            run.trim_log(learner.step)
    else:
        run.check_vacant()
        is_fresh = True
    if is_fresh and config.start_from is not None:
        found = starting_model(config).state_dict() if group.is_main else {}
        weights, *_ = group.gather([found])  # the same for all processes, wherever they look
        learner.model.load_state_dict(weights)
        learner.average.load_state_dict(weights)
        seen["start"] = weights_digest(learner.model)  # whatever has that name later
    validation = validation.subset(config.eval_images, config.seed)
    steps = Steps(learner, config, Batches(training, config.batch_size, config.seed), group)
    unlogged: list[Step] = []  # since the last line of the log

    def tell() -> Iterator[Step]:
        for event in steps.read():
            unlogged.append(event)
            yield event

    while learner.step < config.steps:
        steps.take()
        if group.is_main and not run.config_file.exists():
            run.create(config.to_dict(), seen)
        every = (LOG_EVERY, config.eval_every, config.checkpoint_every)
        logging, validating, saving = (_is_due(learner.step, n, config.steps) for n in every)
        if learner.step == 1 and config.start_from is not None:
            saving = True  # so that resuming does not ask for that model again
        if learner.step % steps.read_every == 0 or logging or validating:
            yield from tell()
        if logging and group.is_main:
            run.log(_summary(unlogged, config.batch_size, task.goal))
        if logging:
            unlogged.clear()
        if validating:
            yield _validate(learner, config, run, validation, group)
        may_stop = group.size == 1 or learner.step % steps.read_every == 0
        stopping = may_stop and group.any(stop())
        if saving or stopping:
            yield from tell()
            if group.is_main:
                run.save(learner)
        if stopping:
            return


def starting_model(config: TrainConfig) -> Network:
    """The trained model whose weights a training starts from.

    Raises:
        ConfigError: it is of another network than the training.
        ModelError: there is no such model, or it is damaged.
        RunError: it is a run that has no model yet.
    """
    name, task = str(config.start_from), TASKS[type(config.model)]
    trained: Network = load(name, task.network)
    given, wanted = asdict(trained.config), asdict(config.model)
    unlike = [f"{key} {value}" for key, value in given.items() if wanted[key] != value]
    if unlike:
        raise ConfigError(
            f"a training that starts from {name} is of the same network, with {', '.join(unlike)}"
        )
    return trained


def _is_due(step: int, every: int, last: int) -> bool:
    return step % every == 0 or step == last


def _check_same_data(run: RunFolder, seen: dict[str, str]) -> None:
    before = run.read()["data"]
    changed = [name for name, value in seen.items() if before.get(name) != value]
    if changed:
        raise RunError(
            f"{run.path} was started on other data ({', '.join(changed)} changed), so it cannot "
            f"go on exactly; start a new run with --out"
        )


@contextlib.contextmanager
def _exact_products() -> Iterator[None]:
    """A bound is measured in float32, also where the training's products are rounded to less."""
    backends = torch.backends.cuda.matmul, torch.backends.mkldnn.matmul  # type: ignore[attr-defined]
    before = [backend.fp32_precision for backend in backends]
    for backend in backends:
        backend.fp32_precision = "ieee"
    try:
        yield
    finally:
        for backend, precision in zip(backends, before, strict=True):
            inherited = precision == torch.backends.fp32_precision  # type: ignore[attr-defined]
            backend.fp32_precision = "none" if inherited else precision


def _validate(
    learner: Learner, config: TrainConfig, run: RunFolder, validation: Images, group: Group
) -> Validation:
    task = TASKS[type(config.model)]
    with _exact_products():
        result = task.judge(learner.average, validation, config.seed, group)
    is_best = result.nats > learner.best_nats
    if is_best:
        learner.best_nats = result.nats
    if is_best and group.is_main:
        learner.average.save(run.model)
    if group.is_main:
        record = {
            "step": learner.step,
            f"valid_{task.goal}_nats": result.nats,
            f"valid_{task.goal}_stderr": result.stderr,
            **{f"valid_{name}": value for name, value in result.also.items()},
            "valid_images": result.images,
        }
        run.log(record)
    return Validation(step=learner.step, result=result, is_best=is_best, learner=learner)


def _summary(steps: list[Step], batch_size: int, goal: str) -> dict[str, Any]:
    """One line of the log for the last few steps: means over those taken, and the speed."""
    last, taken = steps[-1], [s for s in steps if s.is_taken]
    return {
        "step": last.step,
        f"train_{goal}_nats": fmean(s.train_nats for s in taken) if taken else None,
        "gradient_norm": fmean(s.gradient_norm for s in taken) if taken else None,
        "learning_rate": last.learning_rate,
        "skipped": last.skipped,
        "images_per_second": batch_size * len(steps) / sum(s.seconds for s in steps),
    }
