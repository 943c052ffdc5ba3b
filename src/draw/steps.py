"""The steps of a training.

On a GPU the host runs ahead: it starts one step after another and reads what they gave only now
and then. What is trained, logged and saved is the same; the steps are told of in bursts.
"""

import copy
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count

import torch
from torch import Tensor

from draw.batches import Batches, derived_seed, generator
from draw.checkpoint import Learner
from draw.config import TrainConfig
from draw.errors import RunError
from draw.graph import captured
from draw.optimizer import optimizers, set_learning_rate, step_if
from draw.precision import multiply_in_bf16
from draw.processes import ALONE, Group
from draw.tasks import TASKS

PATIENCE = 10  # steps in a row without a finite gradient, after which training stops
LOG_EVERY = 50  # steps


@dataclass(frozen=True, kw_only=True)
class Step:
    """What one minibatch gave."""

    step: int  # counted from 1
    train_nats: float  # what the task raises, mean over this minibatch's images
    gradient_norm: float
    learning_rate: float
    skipped: int  # steps left out so far
    seconds: float

    @property
    def is_taken(self) -> bool:
        """Whether it changed anything, or was left out."""
        return math.isfinite(self.train_nats) and math.isfinite(self.gradient_norm)


def new_learner(config: TrainConfig, device: torch.device | str = "cpu") -> Learner:
    """A fresh model, its average and its optimisers, decided by the seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(derived_seed(config.seed, "weights"))
        model = TASKS[type(config.model)].network(config.model).to(device)
    average = copy.deepcopy(model).requires_grad_(False).eval()
    if config.precision == "bf16":
        multiply_in_bf16(model)  # and not the average, which is what is measured and kept
    return Learner(
        model=model,
        average=average,
        optimizers=optimizers(
            model,
            config.optimizer,
            config.learning_rate,
            config.weight_decay,
            on_device=model.device.type == "cuda",
        ),
        step=0,
        best_nats=-math.inf,
        skipped=0,
        skipped_in_row=0,
    )


class Steps:
    """Takes the steps of a training; what they gave is read later.

    A step finds its inputs in tensors that stay where they are and never waits for the device, so
    that on a GPU it is one CUDA graph. On the CPU there is nothing to wait for.
    """

    def __init__(
        self, learner: Learner, config: TrainConfig, batches: Batches, group: Group = ALONE
    ) -> None:
        self.learner, self.config, self.batches, self.group = learner, config, batches, group
        device, shape = learner.model.device, (config.rows, *config.model.image_shape)
        self.task = TASKS[type(config.model)]
        noise_shape = self.task.noise_shape(config.model, config.rows)
        self.read_every = 1 if device.type == "cpu" else LOG_EVERY
        self.x = torch.empty(shape, device=device)
        self.labels = torch.empty(config.rows, dtype=torch.int64, device=device)
        self.eps = torch.empty(noise_shape, device=device)
        self.share = torch.empty((), device=device)  # of the new weights in their average
        self.measured = torch.empty(LOG_EVERY, 2, device=device)  # of the steps not yet read
        self.learning_rates: list[float] = []  # of the same
        self.started = 0.0  # when the first of them was
        own = range(config.rows)[group.share(config.rows)]
        count = max(1, min(config.accumulate, len(own)))
        parts = (Group(i, count).share(len(own)) for i in range(count))
        self.rows = [slice(own[part].start, own[part].stop) for part in parts]
        self.iterate = captured(self._iterate, device)

    def take(self) -> None:
        """Start the next step."""
        learner, config, step = self.learner, self.config, self.learner.step
        if not self.learning_rates:
            self.started = time.perf_counter()
        noise = generator(config.seed, "training noise", step, self.x.device)
        for place, value in zip((self.x, self.labels), self.batches[step], strict=True):
            value = value.pin_memory() if place.is_cuda else value
            for half in place.view(-1, *value.shape):  # two, or all; a broadcast would wait
                half.copy_(value, non_blocking=True)
        drawn = self.eps[:, : config.batch_size].normal_(generator=noise)
        if config.antithetic:
            self.eps[:, config.batch_size :] = -drawn
        learning_rate = schedule(config, step)
        set_learning_rate(learner.optimizers, learning_rate)
        # A short memory while all is young.
        self.share.fill_(1 - min(config.average_decay, (1 + step) / (10 + step)))
        self.measured[len(self.learning_rates)] = self.iterate()
        self.learning_rates.append(learning_rate)
        learner.step += 1

    def _iterate(self) -> Tensor:
        """One minibatch: objective, gradient, clip, step, average (eq. 12).

        Where the gradient is not finite, nothing changes. Returns loss and norm of the gradient.
        """
        model = self.learner.model
        model.zero_grad()
        loss = self._add_gradients()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), self.config.clip_norm)
        measured = torch.stack([loss, norm])
        finite = measured.isfinite().all()
        step_if(finite, self.learner.optimizers)
        with torch.no_grad():
            share = self.share * finite
            pairs = zip(self.learner.average.parameters(), model.parameters(), strict=True)
            for average, weight in pairs:
                average.lerp_(weight, share)
        return measured

    def _add_gradients(self) -> Tensor:
        """The loss of the whole minibatch and its gradients, whoever took which of its rows."""
        model = self.learner.model
        loss = torch.zeros((), device=self.x.device)
        for rows in self.rows:
            nats = self.task.objective(model, self.x[rows], self.labels[rows], self.eps[:, rows])
            part = -nats.sum()  # and not the mean: a network may limit an image's gradient
            part.backward()  # type: ignore[no-untyped-call]
            loss += part.detach()
        sums = [loss, *(p.grad for p in model.parameters() if p.grad is not None)]
        self.group.add_up(sums)
        for values in sums:
            values.div_(self.config.rows)
        return loss

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
    warmup = min(config.warmup_steps, config.steps // 4)
    rise = min(1.0, (step + 1) / (warmup + 1))
    done = (step - warmup) / (config.steps - warmup)
    fall = (1 + math.cos(math.pi * min(max(done, 0.0), 1.0))) / 2
    return config.learning_rate * rise * fall
