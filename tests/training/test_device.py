"""What trains a model on a GPU, where nothing waits for the device: shown on the CPU, and there."""

import json
from dataclasses import replace
from functools import partial
from itertools import count

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from draw import graph, kernels, tasks, training
from draw.commands.console import prepare_device
from draw.data import Batches
from draw.errors import RunError
from draw.evaluation import evaluate
from draw.storage.run_folder import RunFolder
from draw.training.loop import train
from draw.training.optim import create_optimizers
from draw.training.step import PATIENCE, Stepper, TrainState

from .test_training import CONFIG, BrokenBatches, some_images

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
CUDA = pytest.mark.skipif(DEVICE == "cpu", reason="no GPU")


def device_learner(config, device="cpu"):
    """As on a GPU, wherever it is."""
    state = TrainState.create(config, device)
    state.optimizers = create_optimizers(
        state.model,
        config.optimizer,
        config.learning_rate,
        config.weight_decay,
        on_device=True,
    )
    return state


def assert_close(a, b):
    left, right = a.tensors(), b.tensors()
    assert left.keys() == right.keys()
    for name, value in left.items():
        torch.testing.assert_close(value.cpu(), right[name].cpu(), rtol=1e-4, atol=1e-6, msg=name)


# ---------------------------------------------------------------- one step


def test_a_step_led_by_the_device_is_a_step():
    """With steps that are left out, the first one too."""
    ends = []
    for state in (TrainState.create(CONFIG), device_learner(CONFIG)):
        steps = Stepper(state, CONFIG, BrokenBatches({0, 4, 5}))
        for _ in range(12):
            steps.take()
        ends.append((state, list(steps.read())))
    (led_by_host, events), (led_by_device, others) = ends
    assert_close(led_by_host, led_by_device)
    assert [e.step for e in events] == [e.step for e in others] == list(range(1, 13))
    assert [e.skipped for e in others] == [1, 1, 1, 1, 2, 3, 3, 3, 3, 3, 3, 3]
    finite = [i for i in range(12) if i not in (0, 4, 5)]
    for name in ("train_nats", "gradient_norm", "learning_rate"):
        expected = [getattr(events[i], name) for i in finite]
        assert [getattr(others[i], name) for i in finite] == pytest.approx(expected, rel=1e-4)


class NoWordToTheHost(TorchDispatchMode):
    """Fails when the value of a tensor is asked for."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        assert func is not torch.ops.aten._local_scalar_dense.default, "a value was asked for"
        return func(*args, **kwargs or {})


@pytest.mark.parametrize("engine", ["plain", "fused"])
def test_a_step_led_by_the_device_asks_for_no_value(engine, monkeypatch):
    monkeypatch.setitem(kernels.ENGINES, DEVICE, "draw.kernels.gpu")
    config = replace(CONFIG, batch_size=1, model=replace(CONFIG.model, glimpses=1))
    batches = Batches(some_images(), 1, 0)
    state = device_learner(config, DEVICE)
    state.model.engine = engine
    steps = Stepper(state, config, batches)
    steps.take()
    with NoWordToTheHost():
        steps.iterate()
    steps = Stepper(TrainState.create(config), config, batches)
    steps.take()
    with NoWordToTheHost(), pytest.raises(AssertionError, match="asked for"):
        steps.iterate()


def test_training_stops_when_no_gradient_is_finite_any_more():
    """Told late, but the same."""
    state = device_learner(CONFIG)
    steps = Stepper(state, CONFIG, BrokenBatches(set(range(3, 100))))
    for _ in range(20):
        steps.take()
    told = steps.read()
    assert [next(told).step for _ in range(3 + PATIENCE - 1)] == list(range(1, 13))
    with pytest.raises(RunError, match="not finite 10 times in a row, up to step 13"):
        next(told)


# ---------------------------------------------------------------- steps told of in bursts


@pytest.fixture
def bursts(monkeypatch):
    """The log's lines are every five steps; calling it lets the host read no more often."""
    monkeypatch.setattr(training, "LOG_EVERY", 5)

    class Late(Stepper):
        def __init__(self, *args) -> None:
            super().__init__(*args)
            self.read_every = training.LOG_EVERY

    return lambda: monkeypatch.setattr(training, "Stepper", Late)


def told(path, stop_at=None) -> tuple[list, list, dict]:
    """Events, log and files of a training, but for what is measured in seconds."""
    run, asked = RunFolder(path), iter(range(1, 100))
    events = []
    images = some_images()
    for event in train(CONFIG, run, images, images, stop=lambda: next(asked) == stop_at):
        events.append((type(event).__name__, event.step, getattr(event, "train_nats", None)))
    log = [json.loads(line) for line in run.log_file.read_text().splitlines()]
    log = [{k: v for k, v in line.items() if k != "images_per_second"} for line in log]
    files = {p.name: p.read_bytes() for p in sorted(path.rglob("*.safetensors"))}
    return events, log, files


@pytest.mark.parametrize("stop_at", [None, 4, 7])
def test_bursts_tell_log_and_save_the_same(tmp_path, bursts, stop_at):
    one_by_one = told(tmp_path / "one", stop_at)
    bursts()
    assert told(tmp_path / "many", stop_at) == one_by_one
    assert [step for name, step, _ in one_by_one[0] if name == "Step"][-1] == (stop_at or 12)


def test_a_run_in_bursts_resumes_bit_for_bit(tmp_path, bursts):
    whole = told(tmp_path / "whole")
    bursts()
    told(tmp_path / "parted", stop_at=7)
    assert told(tmp_path / "parted")[2] == whole[2]


# ---------------------------------------------------------------- from device to device


@pytest.mark.parametrize("there", [TrainState, device_learner])
def test_a_checkpoint_goes_from_device_to_device(tmp_path, there):
    here = device_learner if there is TrainState else TrainState
    state, run, batches = here(CONFIG), RunFolder(tmp_path), BrokenBatches({1})
    steps = Stepper(state, CONFIG, batches)
    for _ in range(3):
        steps.take()
    assert len(list(steps.read())) == 3
    run.save(state)
    other = there(CONFIG)
    assert run.restore(other)
    assert (other.step, other.skipped) == (3, 1)
    assert_close(state, other)
    for some in (state, other):
        steps = Stepper(some, CONFIG, batches)
        steps.take()
        assert len(list(steps.read())) == 1
    assert_close(state, other)


def test_a_validation_is_in_float32_and_leaves_the_training_its_precision(tmp_path, monkeypatch):
    seen, before = [], torch.get_float32_matmul_precision()

    def spy(*args, **options):
        seen.append(torch.backends.cuda.matmul.fp32_precision)
        seen.append(torch.backends.mkldnn.matmul.fp32_precision)
        return evaluate(*args, **options)

    monkeypatch.setattr(tasks, "evaluate", spy)
    images = some_images()
    torch.set_float32_matmul_precision("medium")
    try:
        list(train(CONFIG, RunFolder(tmp_path / "run"), images, images))
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)
    assert set(seen) == {"ieee"}


def test_a_checkpoint_before_the_first_finite_step(tmp_path):
    state, run = device_learner(CONFIG), RunFolder(tmp_path)
    steps = Stepper(state, CONFIG, BrokenBatches({0}))
    steps.take()
    assert [event.skipped for event in steps.read()] == [1]
    run.save(state)
    assert run.restore(TrainState.create(CONFIG))


@CUDA
@pytest.mark.parametrize("engine", ["plain", "fused"])
def test_a_captured_training_is_the_same_training(engine, monkeypatch):
    """Skipped steps before and after the recording included."""
    ends = []
    for warm_up in (3, 99):
        monkeypatch.setattr(graph, "WARM_UP", warm_up)
        state = TrainState.create(CONFIG, "cuda")
        state.model.engine = engine
        steps = Stepper(state, CONFIG, BrokenBatches({1, 7}))
        for _ in range(12):
            steps.take()
        ends.append((state, list(steps.read())))
    (captured, events), (launched, others) = ends
    assert_close(captured, launched)
    assert [e.skipped for e in events] == [e.skipped for e in others]
    assert events[-1].skipped == 2
    assert events[-1].train_nats == pytest.approx(others[-1].train_nats, rel=1e-4)


@CUDA
def test_a_training_on_a_gpu_that_was_interrupted_ends_like_a_whole_one(tmp_path):
    """With validations and checkpoints between the replays."""
    images, ends = some_images(), []
    for name, stops in (("whole", []), ("parted", [7])):
        run = RunFolder(tmp_path / name)
        for stop_at in [*stops, CONFIG.steps]:
            taken = count(1)
            stop = partial(lambda taken, at: next(taken) == at, taken, stop_at)
            list(train(CONFIG, run, images, images, device="cuda", stop=stop))
        ends.append(sorted(run.checkpoints.iterdir())[-1].read_bytes())
    assert ends[0] == ends[1]


@CUDA
def test_a_training_on_a_gpu_goes_on_on_the_cpu(tmp_path):
    images, run = some_images(), RunFolder(tmp_path / "run")
    for event in train(CONFIG, run, images, images, device="cuda", stop=lambda: True):
        assert event.step == 1
    steps = [e.step for e in train(CONFIG, run, images, images) if hasattr(e, "train_nats")]
    assert steps == list(range(2, 13))


# ---------------------------------------------------------------- what the commands set


@pytest.mark.parametrize(
    ("device", "tf32", "precision"),
    [("cpu", True, "highest"), ("cuda", True, "high"), ("cuda", False, "highest")],
)
def test_training_rounds_factors_and_on_a_gpu_alone(device, tf32, precision, monkeypatch):
    chosen = ["highest"]
    monkeypatch.setattr(torch, "set_float32_matmul_precision", chosen.append)
    monkeypatch.setattr(torch, "empty", lambda *args, device: None)
    monkeypatch.setattr(torch, "Generator", lambda device: None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: device == "cuda")
    assert prepare_device("auto", tf32=tf32) == device
    assert chosen[-1] == precision
