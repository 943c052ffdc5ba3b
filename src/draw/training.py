"""The training loop.

On a GPU the host runs ahead: it starts one step after another and reads what they gave only now
and then. What is trained, logged and saved is the same; the steps are told of in bursts.
"""

import contextlib
import copy
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from draw import data
from draw.batches import Batches, derived_seed, generator
from draw.checkpoint import Learner, RunFolder
from draw.data import Images
from draw.data.download import Progress
from draw.errors import ConfigError, RunError
from draw.evaluation import Evaluation, evaluate
from draw.files import from_dict
from draw.graph import captured
from draw.kernels import Engine
from draw.model import DRAW, DRAWConfig
from draw.objectives import elbo
from draw.optimizer import adam, set_learning_rate, step_if

PATIENCE = 10  # steps in a row without a finite gradient, after which training stops
LOG_EVERY = 50  # steps


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """One training: the network, the data and how it learns.

    Raises:
        ConfigError: a value is outside its range.
    """

    model: DRAWConfig = field(default_factory=DRAWConfig)
    data: str = "digits5k"  # a data set's name, see `draw data list`
    data_dir: Path | None = None  # where to look for it first; the pictures of `folder`
    skip_bad: bool = False  # leave out pictures of `folder` that cannot be decoded
    steps: int = 10_000  # minibatches in all
    batch_size: int = 64  # images a minibatch
    learning_rate: float = 1e-3  # Adam's, at its highest
    warmup_steps: int = 300  # steps over which it rises; then it falls as a cosine to zero
    clip_norm: float = 5.0  # gradients are scaled down to this norm
    average_decay: float = 0.9995  # of the moving average of the weights; 0 turns it off
    eval_every: int = 500  # steps between validations
    eval_images: int = 2_000  # validation images each time, always the same
    checkpoint_every: int = 500  # steps between checkpoints
    seed: int = 0

    def __post_init__(self) -> None:
        positive = ("steps", "batch_size", "eval_every", "eval_images", "checkpoint_every")
        for name in positive:
            if not 1 <= getattr(self, name) <= 10**9:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be from 1 to 10^9")
        if self.batch_size > 100_000:
            raise ConfigError(f"batch_size is {self.batch_size}; it must be at most 100,000")
        if not 0 <= self.warmup_steps <= 10**9:
            raise ConfigError(f"warmup_steps is {self.warmup_steps}; it must be from 0 to 10^9")
        if not 0 < self.learning_rate <= 1:
            raise ConfigError(f"learning_rate is {self.learning_rate}; it must be in (0, 1]")
        if not 0 < self.clip_norm < math.inf:
            raise ConfigError(f"clip_norm is {self.clip_norm}; it must be positive and finite")
        if not 0 <= self.average_decay < 1:
            raise ConfigError(f"average_decay is {self.average_decay}; it must be in [0, 1)")
        if not 0 <= self.seed < 2**63:
            raise ConfigError(f"seed is {self.seed}; it must be from 0 to 2^63 - 1")
        if self.data not in data.DATASETS:
            known = ", ".join(data.DATASETS)
            raise ConfigError(f"there is no data set {self.data!r}; there are {known}")

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        values = asdict(self)
        values["data_dir"] = None if self.data_dir is None else str(self.data_dir.absolute())
        return values

    @classmethod
    def from_run(cls, run: RunFolder) -> "TrainConfig":
        """The configuration that a run was started with."""
        return from_dict(cls, run.read()["config"], str(run.config_file))

    def load_images(self, split: str, progress: Progress | None = None) -> Images:
        """One split of the run's data, in the model's shape."""
        return data.load(
            self.data,
            split,
            shape=self.model.image_shape,
            data_dir=self.data_dir,
            skip_bad=self.skip_bad,
            progress=progress,
        )


@dataclass(frozen=True, kw_only=True)
class Step:
    """What one minibatch gave."""

    step: int  # counted from 1
    train_nats: float  # ELBO an image of this minibatch
    gradient_norm: float
    learning_rate: float
    skipped: int  # steps left out so far
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Validation:
    """What a validation of the averaged weights gave."""

    step: int
    result: Evaluation
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

    Raises:
        RunError: ten gradients in a row were not finite, or the run folder holds something
            else, another run's checkpoint or one that saw other data.

    Note:
        Bit-exact resume asks for the same CPU, number of threads, engine and treatment of
        denormal numbers; the command line always sets `torch.set_flush_denormal(True)`.

    >>> import tempfile
    >>> from draw.data import load
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
    learner = new_learner(config, device)
    learner.model.engine = learner.average.engine = engine
    if run.config_file.exists():
        _check_same_data(run, seen)
        run.restore(learner)
    else:
        run.check_vacant()
    validation = validation.subset(config.eval_images, config.seed)
    steps = Steps(learner, config, Batches(training, config.batch_size, config.seed))
    window: list[Step] = []  # since the last line of the log

    def tell() -> Iterator[Step]:
        for event in steps.read():
            window.append(event)
            yield event

    while learner.step < config.steps:
        steps.take()
        if not run.config_file.exists():
            run.create(config.to_dict(), seen)
        every = (LOG_EVERY, config.eval_every, config.checkpoint_every)
        logging, validating, saving = (_is_due(learner.step, n, config.steps) for n in every)
        if learner.step % steps.read_every == 0 or logging or validating:
            yield from tell()
        if logging:
            run.log(_summary(window, config.batch_size))
            window.clear()
        if validating:
            yield _validate(learner, config, run, validation)
        stopping = stop()
        if saving or stopping:
            yield from tell()
            run.save(learner)
        if stopping:
            return


def new_learner(config: TrainConfig, device: torch.device | str = "cpu") -> Learner:
    """A fresh model, its average and its optimiser, decided by the seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derived_seed(config.seed, "weights"))
        model = DRAW(config.model).to(device)
    average = copy.deepcopy(model).requires_grad_(False).eval()
    on_device = model.device.type == "cuda"
    optimizer = adam(model.parameters(), config.learning_rate, on_device=on_device)
    return Learner(model=model, average=average, optimizer=optimizer)


class Steps:
    """Takes the steps of a training; what they gave is read later.

    A step finds its inputs in tensors that stay where they are and never waits for the device, so
    that on a GPU it is one CUDA graph. On the CPU there is nothing to wait for.
    """

    def __init__(self, learner: Learner, config: TrainConfig, batches: Batches) -> None:
        self.learner, self.config, self.batches = learner, config, batches
        device, model = learner.model.device, config.model
        self.read_every = 1 if device.type == "cpu" else LOG_EVERY
        self.x = torch.empty(config.batch_size, *model.image_shape, device=device)
        self.eps = torch.empty(model.glimpses, config.batch_size, model.latent_size, device=device)
        self.share = torch.empty((), device=device)  # of the new weights in their average
        self.measured = torch.empty(LOG_EVERY, 2, device=device)  # of the steps not yet read
        self.learning_rates: list[float] = []  # of the same
        self.started = 0.0  # when the first of them was
        self.iterate = captured(self._iterate, device)

    def take(self) -> None:
        """Start the next step."""
        learner, config, step = self.learner, self.config, self.learner.step
        if not self.learning_rates:
            self.started = time.perf_counter()
        batch, noise = self.batches[step], generator(config.seed, "noise", step, self.x.device)
        self.x.copy_(batch.pin_memory() if self.x.is_cuda else batch, non_blocking=True)
        self.eps.normal_(generator=noise)
        learning_rate = schedule(config, step)
        set_learning_rate(learner.optimizer, learning_rate)
        # A short memory while all is young.
        self.share.fill_(1 - min(config.average_decay, (1 + step) / (10 + step)))
        self.measured[len(self.learning_rates)] = self.iterate()
        self.learning_rates.append(learning_rate)
        learner.step += 1

    def _iterate(self) -> Tensor:
        """One minibatch: bound, gradient, clip, Adam, average (eq. 12, one sample an image).

        Where the gradient is not finite, nothing changes. Returns loss and norm of the gradient.
        """
        model, optimizer = self.learner.model, self.learner.optimizer
        optimizer.zero_grad()
        loss = -elbo(model(self.x, eps=self.eps)).mean()
        loss.backward()  # type: ignore[no-untyped-call]
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), self.config.clip_norm)
        measured = torch.stack([loss.detach(), norm])
        finite = measured.isfinite().all()
        step_if(finite, optimizer)
        with torch.no_grad():
            share = self.share * finite
            pairs = zip(self.learner.average.parameters(), model.parameters(), strict=True)
            for average, weight in pairs:
                average.lerp_(weight, share)
        return measured

    def read(self) -> Iterator[Step]:
        """Wait for the steps taken since the last call, and tell what each gave.

        Raises:
            RunError: too many in a row were left out, as their gradients were not finite.
        """
        learner, rates = self.learner, self.learning_rates
        measured = self.measured[: len(rates)].tolist()
        seconds = (time.perf_counter() - self.started) / max(1, len(rates))
        first = learner.step - len(rates) + 1
        self.learning_rates = []
        for step, (loss, norm), rate in zip(count(first), measured, rates, strict=False):
            if math.isfinite(loss) and math.isfinite(norm):
                learner.skipped_in_row = 0
            else:
                learner.skipped += 1
                learner.skipped_in_row += 1
                if learner.skipped_in_row == PATIENCE:
                    raise RunError(
                        f"the gradient was not finite {PATIENCE} times in a row, up to step "
                        f"{step}; start a new run (--out) with a lower --learning-rate or "
                        f"--clip-norm"
                    )
            yield Step(
                step=step,
                train_nats=-loss,
                gradient_norm=norm,
                learning_rate=rate,
                skipped=learner.skipped,
                seconds=seconds,
            )


def schedule(config: TrainConfig, step: int) -> float:
    """The learning rate of a step: a linear rise, then half a cosine down to zero."""
    rise = min(1.0, (step + 1) / (config.warmup_steps + 1))
    done = (step - config.warmup_steps) / max(1, config.steps - config.warmup_steps)
    fall = (1 + math.cos(math.pi * min(max(done, 0.0), 1.0))) / 2
    return config.learning_rate * rise * fall


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
    """A bound is measured in float32, also where the training's products are in TF32."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def _validate(
    learner: Learner, config: TrainConfig, run: RunFolder, validation: Images
) -> Validation:
    with _exact_products():
        result = evaluate(learner.average, validation, seed=config.seed)
    is_best = result.elbo_nats > learner.best_nats
    if is_best:
        learner.best_nats = result.elbo_nats
        learner.average.save(run.model)
    run.log(
        {
            "step": learner.step,
            "valid_elbo_nats": result.elbo_nats,
            "valid_elbo_stderr": result.elbo_stderr,
            "valid_kl_nats": result.kl_nats,
            "valid_images": result.images,
        }
    )
    return Validation(step=learner.step, result=result, is_best=is_best, learner=learner)


def _summary(window: list[Step], batch_size: int) -> dict[str, Any]:
    """One line of the log for the last few steps: means, and the speed."""
    last = window[-1]
    return {
        "step": last.step,
        "train_elbo_nats": sum(s.train_nats for s in window) / len(window),
        "gradient_norm": sum(s.gradient_norm for s in window) / len(window),
        "learning_rate": last.learning_rate,
        "skipped": last.skipped,
        "images_per_second": batch_size * len(window) / sum(s.seconds for s in window),
    }
