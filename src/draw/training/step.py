"""One optimizer step, and the static buffers with which a GPU runs it as a CUDA graph.

On a GPU, the host launches steps without waiting for them and reads their results every 50 steps.
This affects neither the weights nor the log.
"""

import contextlib
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count, pairwise

import torch
from torch import Tensor

from draw.data import Batches
from draw.data.transforms import random_shift
from draw.distributed import SINGLE, World
from draw.errors import RunError
from draw.seeding import generator
from draw.training.config import MatmulPrecision, TrainConfig
from draw.training.cuda_graph import CapturedFunction
from draw.training.optim import set_learning_rate, step_if
from draw.training.state import TrainState

MAX_SKIPPED_IN_ROW = 10  # steps without a finite gradient before training stops
LOG_EVERY = 50  # steps
SHIFTED_SHARE = 0.7  # fraction of the steps that shift images; the rest use unshifted images


@dataclass(frozen=True, kw_only=True)
class StepResult:
    """The result of one optimizer step."""

    step: int  # counted from 1
    train_nats: float  # objective, mean over the minibatch, nats per image
    gradient_norm: float  # before clipping
    learning_rate: float
    skipped: int  # steps without an update so far
    seconds: float
    cpu_seconds: float  # CPU time of all threads of this process

    @property
    def is_finite(self) -> bool:
        """Whether the step changed the weights; otherwise it was skipped."""
        return math.isfinite(self.train_nats) and math.isfinite(self.gradient_norm)

    @property
    def scalars(self) -> dict[str, float]:
        """The values to log, by name."""
        return {
            "train/nats": self.train_nats,
            "train/gradient_norm": self.gradient_norm,
            "train/learning_rate": self.learning_rate,
        }


def train_step(
    state: TrainState,
    config: TrainConfig,
    x: Tensor,  # [rows, C, H, W]
    labels: Tensor,  # [rows]
    eps: Tensor,  # [T, rows, Z]
    ema_weight: Tensor,  # scalar, 1 - EMA decay
    world: World = SINGLE,
) -> Tensor:
    """Run one optimizer step: forward, backward, clipping, update and EMA (eq. 12).

    If the loss or the gradient norm is not finite, no weight changes. Each process computes its
    shard of the rows, in microbatches. The function never waits for the device.

    Returns:
        The loss (nats per image) and the gradient norm before clipping, shape [2].
    """
    model = state.model
    model.zero_grad()
    loss = torch.zeros((), device=x.device)
    for rows in microbatches(config, world):
        nats = model.objective(x[rows], labels[rows], eps[:, rows])  # [rows]
        negative = -nats.sum()  # microbatches and shards can differ in size
        negative.backward()  # type: ignore[no-untyped-call]
        loss += negative.detach()
    sums = [loss, *(p.grad for p in model.parameters() if p.grad is not None)]
    world.all_reduce(sums)
    for value in sums:
        value.div_(config.rows)  # sums over all rows become means

    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), config.clip_norm)
    result = torch.stack([loss, norm])
    is_finite = result.isfinite().all()
    step_if(is_finite, state.optimizers)
    with torch.no_grad():
        weight = ema_weight * is_finite  # 0 keeps the EMA if the step is skipped
        for ema, parameter in zip(state.ema.parameters(), model.parameters(), strict=True):
            ema.lerp_(parameter, weight)
    return result


def microbatches(config: TrainConfig, world: World) -> list[slice]:
    """Split this process's shard of a minibatch into `config.microbatches` slices."""
    own = world.shard(config.rows)
    size = own.stop - own.start
    parts = max(1, min(config.microbatches, size))  # at least one, so that gradients exist
    edges = [own.start + size * i // parts for i in range(parts + 1)]
    return [slice(start, stop) for start, stop in pairwise(edges)]


@contextlib.contextmanager
def matmul_precision(name: MatmulPrecision) -> Iterator[None]:
    """Set the precision of float32 matrix products, like `torch.set_float32_matmul_precision`.

    "highest" is float32, "high" allows TF32 on GPUs, and "medium" also allows bfloat16 on CPUs.
    """
    backends = torch.backends.cuda.matmul, torch.backends.mkldnn.matmul  # type: ignore[attr-defined]
    on_gpu, on_cpu = name != "highest", name == "medium"
    precisions = "tf32" if on_gpu else "ieee", "bf16" if on_cpu else "ieee"
    before = [backend.fp32_precision for backend in backends]
    for backend, precision in zip(backends, precisions, strict=True):
        backend.fp32_precision = precision
    try:
        yield
    finally:
        for backend, precision in zip(backends, before, strict=True):
            inherited = precision == torch.backends.fp32_precision  # type: ignore[attr-defined]
            backend.fp32_precision = "none" if inherited else precision


class Stepper:
    """Prepare the inputs of each step, run `train_step`, and read the results later.

    The inputs are copied into static buffers, so that on a GPU the whole step is one CUDA graph.
    """

    def __init__(
        self, state: TrainState, config: TrainConfig, batches: Batches, world: World = SINGLE
    ) -> None:
        self.state, self.config, self.batches, self.world = state, config, batches, world
        device, rows = state.model.device, config.rows
        self.read_every = 1 if device.type == "cpu" else LOG_EVERY
        self.x = torch.empty((rows, *config.model.image_shape), device=device)
        self.labels = torch.empty(rows, dtype=torch.int64, device=device)
        self.eps = torch.empty(state.model.noise_shape(rows), device=device)
        self.ema_weight = torch.empty((), device=device)
        self.results = torch.empty(LOG_EVERY, 2, device=device)  # one row per step not yet read
        self.learning_rates: list[float] = []  # one per step in `results`
        self.started = 0.0, 0.0  # wall and CPU time when the first of these steps started
        buffers = self.x, self.labels, self.eps, self.ema_weight

        def compute() -> Tensor:
            return train_step(state, config, *buffers, world)

        self.compute = CapturedFunction(compute, device) if device.type == "cuda" else compute

    def start_step(self) -> None:
        """Start the next step."""
        state, config = self.state, self.config
        if not self.learning_rates:
            self.started = time.perf_counter(), time.process_time()
        self._load_inputs()
        learning_rate = schedule(config, state.step)
        set_learning_rate(state.optimizers, learning_rate)
        self.ema_weight.fill_(1 - ema_decay(config, state.step))
        with matmul_precision(config.matmul_precision):
            self.results[len(self.learning_rates)] = self.compute()
        self.learning_rates.append(learning_rate)
        state.step += 1

    def _load_inputs(self) -> None:
        """Copy the next minibatch to the buffers, and sample its noise."""
        config, step = self.config, self.state.step
        x, labels = self.batches[step]
        if config.shift and step < SHIFTED_SHARE * config.steps:
            x = random_shift(x, config.shift, generator(config.seed, "shifts", step))
        for buffer, value in zip((self.x, self.labels), (x, labels), strict=True):
            value = value.pin_memory() if buffer.is_cuda else value
            halves = buffer.view(-1, config.batch_size, *buffer.shape[1:])  # two if antithetic
            for half in halves:
                half.copy_(value, non_blocking=True)
        noise = generator(config.seed, "training noise", step, self.x.device)
        eps = self.eps[:, : config.batch_size].normal_(generator=noise)
        if config.antithetic:
            self.eps[:, config.batch_size :] = -eps

    def read(self) -> Iterator[StepResult]:
        """Wait for the steps since the last call and yield their results.

        Raises:
            RunError: if ten gradients in a row were not finite.
        """
        state, rates = self.state, self.learning_rates
        results = self.results[: len(rates)].tolist()
        wall, cpu = self.started
        seconds = (time.perf_counter() - wall) / max(1, len(rates))
        cpu_seconds = (time.process_time() - cpu) / max(1, len(rates))
        first = state.step - len(rates) + 1
        self.learning_rates = []
        for step, (loss, norm), rate in zip(count(first), results, rates, strict=False):
            is_finite = math.isfinite(loss) and math.isfinite(norm)
            state.skipped += not is_finite
            state.skipped_in_row = 0 if is_finite else state.skipped_in_row + 1
            if state.skipped_in_row == MAX_SKIPPED_IN_ROW:
                raise RunError(
                    f"the gradient was not finite {MAX_SKIPPED_IN_ROW} times in a row, up to step "
                    f"{step}; start a new run (--out) with a lower --learning-rate or --clip-norm"
                )
            yield StepResult(
                step=step,
                train_nats=-loss,
                gradient_norm=norm,
                learning_rate=rate,
                skipped=state.skipped,
                seconds=seconds,
                cpu_seconds=cpu_seconds,
            )


def schedule(config: TrainConfig, step: int) -> float:
    """Return the learning rate of a step, counted from 0: linear warm-up, then cosine decay."""
    warmup = min(config.warmup_steps, config.steps // 4)
    rise = min(1.0, (step + 1) / (warmup + 1))
    progress = (step - warmup) / (config.steps - warmup)
    decay = (1 + math.cos(math.pi * max(progress, 0.0))) / 2
    return config.learning_rate * rise * decay


def ema_decay(config: TrainConfig, step: int) -> float:
    """Return the EMA decay of a step, counted from 0; it starts low to forget early weights."""
    return min(config.ema_decay, (1 + step) / (10 + step))
