"""Training on a GPU, where the host never waits for a step; most of it is tested on the CPU."""

import json
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from draw import evaluation
from draw.classifier import ClassifierConfig
from draw.data import Batches
from draw.errors import RunError
from draw.kernels import loops
from draw.storage.run_folder import RunFolder
from draw.training import cuda_graph, loop, step
from draw.training.loop import train
from draw.training.optim import create_optimizers
from draw.training.state import TrainState, restore_checkpoint, save_checkpoint
from draw.training.step import MAX_SKIPPED_IN_ROW, Stepper
from tests.training.tiny import CONFIG, BrokenBatches, assert_close, random_images, take_steps

CLASSIFIER = replace(
    CONFIG, model=ClassifierConfig(height=8, width=8, glimpses=3, hidden_size=8, read_size=2)
)
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
needs_gpu = pytest.mark.skipif(DEVICE == "cpu", reason="needs a GPU")


def on_host(config) -> TrainState:
    return TrainState.create(config)


def on_device(config, device="cpu") -> TrainState:
    """Create a state whose optimizers never wait for the device, as on a GPU."""
    state = TrainState.create(config, device)
    state.optimizers = create_optimizers(
        state.model, config.optimizer, config.learning_rate, config.weight_decay, on_device=True
    )
    return state


# ---------------------------------------------------------------------- one step


def test_steps_on_the_device_equal_steps_on_the_host():
    """Including skipped steps, the first among them."""
    results = []
    for state in (on_host(CONFIG), on_device(CONFIG)):
        events = take_steps(Stepper(state, CONFIG, BrokenBatches({0, 4, 5})), 12)
        results.append((state, events))
    (host, host_events), (device, device_events) = results
    assert_close(host, device)
    assert [e.step for e in host_events] == [e.step for e in device_events] == list(range(1, 13))
    assert [e.skipped for e in device_events] == [1, 1, 1, 1, 2, 3, 3, 3, 3, 3, 3, 3]
    finite = [i for i in range(12) if i not in (0, 4, 5)]
    for name in ("train_nats", "gradient_norm", "learning_rate"):
        expected = [getattr(host_events[i], name) for i in finite]
        values = [getattr(device_events[i], name) for i in finite]
        assert values == pytest.approx(expected, rel=1e-4)


class NoSynchronisation(TorchDispatchMode):
    """Fail if the host reads the value of a tensor."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        assert func is not torch.ops.aten._local_scalar_dense.default, "a value was read"
        return func(*args, **kwargs or {})


@pytest.mark.parametrize("engine", ["plain", "fused"])
@pytest.mark.parametrize("config", [CONFIG, CLASSIFIER], ids=["DRAW", "classifier"])
def test_a_step_on_the_device_never_waits(config, engine, monkeypatch):
    monkeypatch.setitem(loops.ENGINES, DEVICE, "draw.kernels.gpu")
    config = replace(config, batch_size=1, model=replace(config.model, glimpses=1))
    batches = Batches(random_images(), 1, 0)
    state = on_device(config, DEVICE)
    state.model.engine = engine
    stepper = Stepper(state, config, batches)
    stepper.start_step()
    with NoSynchronisation():
        stepper.compute()
    stepper = Stepper(on_host(config), config, batches)
    stepper.start_step()
    with NoSynchronisation(), pytest.raises(AssertionError, match="a value was read"):
        stepper.compute()


def test_training_stops_after_ten_gradients_in_a_row_that_are_not_finite():
    """The steps were started already, but only those up to the error are reported."""
    stepper = Stepper(on_device(CONFIG), CONFIG, BrokenBatches(set(range(3, 100))))
    for _ in range(20):
        stepper.start_step()
    events = stepper.read()
    reported = [next(events).step for _ in range(3 + MAX_SKIPPED_IN_ROW - 1)]
    assert reported == list(range(1, 13))
    with pytest.raises(RunError, match="not finite 10 times in a row, up to step 13"):
        next(events)


# ---------------------------------------------------------------------- steps read in bursts


@pytest.fixture
def read_in_bursts(monkeypatch):
    """Log every five steps; return a function that makes the host read as rarely as it logs."""
    monkeypatch.setattr(loop, "LOG_EVERY", 5)
    monkeypatch.setattr(step, "LOG_EVERY", 5)

    class BurstStepper(Stepper):
        def __init__(self, *args) -> None:
            super().__init__(*args)
            self.read_every = 5

    return lambda: monkeypatch.setattr(loop, "Stepper", BurstStepper)


def train_and_collect(path: Path, stop_at: int | None = None) -> tuple[list, list, dict]:
    """Train and return events, log and files, without the measured times."""
    run, images, calls = RunFolder(path), random_images(), count(1)
    events = [
        (type(event).__name__, event.step, getattr(event, "train_nats", None))
        for event in train(CONFIG, run, images, images, stop=lambda: next(calls) == stop_at)
    ]
    log = [json.loads(line) for line in run.log_file.read_text().splitlines()]
    log = [
        {k: v for k, v in line.items() if k not in ("images_per_second", "cpu_seconds")}
        for line in log
    ]
    files = {p.name: p.read_bytes() for p in sorted(path.rglob("*.safetensors"))}
    return events, log, files


@pytest.mark.parametrize("stop_at", [None, 4, 7])
def test_bursts_change_neither_events_nor_log_nor_files(tmp_path, read_in_bursts, stop_at):
    expected = train_and_collect(tmp_path / "one", stop_at)
    read_in_bursts()
    assert train_and_collect(tmp_path / "many", stop_at) == expected
    assert [number for name, number, _ in expected[0] if name == "StepResult"][-1] == (
        stop_at or 12
    )


def test_a_run_in_bursts_resumes_exactly(tmp_path, read_in_bursts):
    expected = train_and_collect(tmp_path / "whole")
    read_in_bursts()
    train_and_collect(tmp_path / "stopped", stop_at=7)
    assert train_and_collect(tmp_path / "stopped")[2] == expected[2]


# ---------------------------------------------------------------------- checkpoints and precision


@pytest.mark.parametrize(("here", "there"), [(on_host, on_device), (on_device, on_host)])
@pytest.mark.parametrize("steps", [1, 3])  # the gradients of the first two are not finite
def test_a_checkpoint_moves_between_host_and_device(tmp_path, here, there, steps):
    state, run, batches = here(CONFIG), RunFolder(tmp_path), BrokenBatches({0, 1})
    take_steps(Stepper(state, CONFIG, batches), steps)
    save_checkpoint(run, state)
    other = there(CONFIG)
    assert restore_checkpoint(run, other)
    assert (other.step, other.skipped) == (steps, min(steps, 2))
    for one in (state, other):
        take_steps(Stepper(one, CONFIG, batches), 2)
    assert_close(state, other)


@pytest.mark.parametrize(
    ("precision", "precisions"),
    [("highest", ("ieee", "ieee")), ("high", ("tf32", "ieee")), ("medium", ("tf32", "bf16"))],
)
def test_the_precision_applies_to_training_steps_only(precision, precisions, tmp_path, monkeypatch):
    config = replace(CONFIG, matmul_precision=precision)
    used, before = set(), torch.get_float32_matmul_precision()
    matmul = torch.backends.cuda.matmul, torch.backends.mkldnn.matmul

    def validate(*args, **options):
        used.add(("validate", *(backend.fp32_precision for backend in matmul)))
        return evaluation.validate(*args, **options)

    def train_step(*args):
        used.add(("train_step", *(backend.fp32_precision for backend in matmul)))
        return take_step(*args)

    take_step = step.train_step
    monkeypatch.setattr(loop, "validate", validate)
    monkeypatch.setattr(step, "train_step", train_step)
    torch.set_float32_matmul_precision("high")
    try:
        list(train(config, RunFolder(tmp_path / "run"), random_images(), random_images()))
        assert torch.get_float32_matmul_precision() == "high"
        assert torch.backends.mkldnn.matmul.fp32_precision == "tf32"
    finally:
        torch.set_float32_matmul_precision(before)
    assert used == {("validate", "ieee", "ieee"), ("train_step", *precisions)}


# ---------------------------------------------------------------------- on a GPU


@needs_gpu
@pytest.mark.parametrize("engine", ["plain", "fused"])
@pytest.mark.parametrize("config", [CONFIG, CLASSIFIER], ids=["DRAW", "classifier"])
def test_captured_steps_equal_eager_steps(config, engine, monkeypatch):
    """Including skipped steps before and after the capture."""
    results = []
    for warm_up_calls in (3, 99):
        monkeypatch.setattr(cuda_graph, "WARM_UP_CALLS", warm_up_calls)
        state = TrainState.create(config, "cuda")
        state.model.engine = engine
        events = take_steps(Stepper(state, config, BrokenBatches({1, 7})), 12)
        results.append((state, events))
    (captured, events), (eager, expected) = results
    assert_close(captured, eager)
    assert [e.skipped for e in events] == [e.skipped for e in expected]
    assert events[-1].skipped == 2
    assert events[-1].train_nats == pytest.approx(expected[-1].train_nats, rel=1e-4)


@needs_gpu
def test_a_run_on_a_gpu_resumes_exactly(tmp_path):
    """With validations and checkpoints between the replays."""
    images, checkpoints = random_images(), []
    for name, stops in (("whole", [None]), ("stopped", [7, None])):
        run = RunFolder(tmp_path / name)
        for stop_at in stops:
            calls = count(1)
            stop = lambda calls=calls, at=stop_at: next(calls) == at  # noqa: E731
            list(train(CONFIG, run, images, images, device="cuda", stop=stop))
        checkpoints.append(run.saved_checkpoints()[-1].read_bytes())
    assert checkpoints[0] == checkpoints[1]


@needs_gpu
def test_a_run_started_on_a_gpu_resumes_on_the_cpu(tmp_path):
    images, run = random_images(), RunFolder(tmp_path / "run")
    for event in train(CONFIG, run, images, images, device="cuda", stop=lambda: True):
        assert event.step == 1
    steps = [e.step for e in train(CONFIG, run, images, images) if hasattr(e, "train_nats")]
    assert steps == list(range(2, 13))
