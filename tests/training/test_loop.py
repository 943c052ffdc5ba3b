"""The loop: schedule, order, guard, average, and exact resume."""

import contextlib
import copy
import json
import math
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import jaxtyping
import numpy as np
import pytest
import safetensors.torch
import torch

from draw import training
from draw.classifier import ClassifierConfig
from draw.data import Batches
from draw.data.dataset import Images
from draw.errors import ConfigError, RunError
from draw.model import DRAWConfig
from draw.objectives import elbo
from draw.seeding import generator
from draw.storage.run_folder import RunFolder
from draw.training import Validation, train
from draw.training.config import TrainConfig
from draw.training.step import PATIENCE, Step, Stepper, TrainState, schedule

CONFIG = TrainConfig(
    model=DRAWConfig(
        height=8, width=8, glimpses=3, hidden_size=8, latent_size=4, read_size=2, write_size=3
    ),
    data="folder",
    steps=12,
    batch_size=4,
    warmup_steps=2,
    optimizer="muon",  # and Adam with it
    weight_decay=0.1,
    eval_every=4,
    eval_images=8,
    checkpoint_every=3,
)


def some_images(count: int = 10, binarisation: str = "dynamic") -> Images:
    rng = np.random.default_rng(0)
    pixels = torch.from_numpy(rng.integers(0, 256, (count, 1, 8, 8), dtype=np.uint8))
    return Images(pixels=pixels, binarisation=binarisation)


def run_to_end(config, path, stop_at=None):
    """Train until the end, or let a stop be asked for at a step; the final weights."""
    run = RunFolder(path)
    seen = [0]
    for event in train(config, run, some_images(), some_images(), stop=lambda: seen[-1] == stop_at):
        seen.append(event.step)
    state = TrainState.create(config)
    run.restore(state)
    return state


def train_step(state, config, batches) -> Step:
    """One step, and what it gave."""
    steps = Stepper(state, config, batches)
    steps.take()
    (event,) = steps.read()
    return event


def assert_equal(a, b):
    assert a.step == b.step
    left, right = a.tensors(), b.tensors()
    assert left.keys() == right.keys()
    for name, value in left.items():
        assert torch.equal(value, right[name]), name


@pytest.mark.parametrize(
    "changes", [{"optimizer": "adam"}, {"optimizer": "muon"}, {"antithetic": True}], ids=str
)
@pytest.mark.parametrize("stop_at", [1, 4, 6, 11])
def test_an_interrupted_run_ends_bit_for_bit_like_an_uninterrupted_one(tmp_path, stop_at, changes):
    config = replace(CONFIG, **changes)
    whole = run_to_end(config, tmp_path / "whole")
    half = run_to_end(config, tmp_path / "parted", stop_at)
    assert half.step == stop_at
    resumed = run_to_end(config, tmp_path / "parted")
    assert_equal(whole, resumed)
    best = "model/model.safetensors"
    assert (tmp_path / "whole" / best).read_bytes() == (tmp_path / "parted" / best).read_bytes()


LONGER = replace(CONFIG, steps=200, checkpoint_every=2, eval_every=5)
KILLED_RUN = """
import sys
from pathlib import Path
from tests.test_training import LONGER, run_to_end
run_to_end(LONGER, Path(sys.argv[1]))
"""


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """What a run that nobody kills ends with."""
    with one_thread():
        return run_to_end(LONGER, tmp_path_factory.mktemp("whole"))


@contextlib.contextmanager
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("seconds", [0.0, 0.15])
def test_a_killed_run_resumes_bit_for_bit(tmp_path, seconds, whole):
    """SIGKILL at moments that nobody chose: some hit a checkpoint being written."""
    path = tmp_path / "killed"
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    process = subprocess.Popen([sys.executable, "-c", KILLED_RUN, str(path)], env=environment)
    while not list(path.glob("checkpoints/*.safetensors")):
        assert process.poll() is None
        time.sleep(0.01)
    time.sleep(seconds)
    process.send_signal(signal.SIGKILL)
    process.wait()
    state = TrainState.create(LONGER)
    RunFolder(path).restore(state)
    assert 0 < state.step < 200  # it was killed on its way, and what it left is whole
    with one_thread():
        assert_equal(whole, run_to_end(LONGER, path))
    steps = [record["step"] for record in RunFolder(path).records()]
    assert steps == sorted(steps)
    assert len([r for r in RunFolder(path).records() if "valid_elbo_nats" in r]) == 40


def test_the_log_of_a_resumed_run_has_each_measurement_once(tmp_path):
    run_to_end(CONFIG, tmp_path, stop_at=7)
    run_to_end(CONFIG, tmp_path)
    records = RunFolder(tmp_path).records()
    assert [r["step"] for r in records if "valid_elbo_nats" in r] == [4, 8, 12]


def test_training_learns():
    """The bound of a few images rises by a lot when they are seen over and over."""
    config = replace(CONFIG, steps=150, learning_rate=1e-2, ema_decay=0.0)
    state, batches = TrainState.create(config), Batches(some_images(4, "none"), 4, 0)
    nats = [train_step(state, config, batches).train_nats for _ in range(150)]
    assert np.mean(nats[-10:]) > np.mean(nats[:10]) + 2


def test_events_and_log_agree(tmp_path):
    run = RunFolder(tmp_path / "run")
    events = list(train(CONFIG, run, some_images(), some_images()))
    steps = [e for e in events if isinstance(e, Step)]
    checks = [e for e in events if isinstance(e, Validation)]
    assert [e.step for e in steps] == list(range(1, 13))
    assert [e.step for e in checks] == [4, 8, 12]
    best = max(e.result.nats for e in checks)
    assert [e for e in checks if e.is_best][-1].result.nats == best
    logged = [json.loads(line) for line in run.log_file.read_text().splitlines()]
    assert logged[0]["valid_elbo_nats"] == checks[0].result.nats
    mean = np.mean([e.train_nats for e in steps])
    assert next(r for r in logged if "train_elbo_nats" in r)["train_elbo_nats"] == pytest.approx(
        mean
    )
    kept = sorted(path.name for path in run.checkpoints.iterdir())
    assert kept == ["000000009.safetensors", "000000012.safetensors"]


def test_the_average_is_what_is_validated_and_kept(tmp_path):
    state = run_to_end(CONFIG, tmp_path / "run")
    assert not torch.equal(state.ema.canvas_0, state.model.canvas_0)
    from draw.evaluation import evaluate

    validation = some_images().subset(CONFIG.eval_images, CONFIG.seed)
    again = evaluate(state.ema, validation, seed=CONFIG.seed).elbo_nats
    assert RunFolder(tmp_path / "run").records()[-1]["valid_elbo_nats"] == again


def test_the_average_by_hand():
    """One step from equal weights, with the young average's short memory: decay 1/10."""
    config = replace(CONFIG, ema_decay=0.999, warmup_steps=0)
    state = TrainState.create(config)
    before = state.model.patch.weight.detach().clone()
    train_step(state, config, Batches(some_images(), 4, 0))
    expected = 0.1 * before + 0.9 * state.model.patch.weight
    torch.testing.assert_close(state.ema.patch.weight, expected.detach())


class BrokenBatches(Batches):
    """Images whose loss is not a number at the steps given."""

    def __init__(self, bad: set[int]) -> None:
        super().__init__(some_images(), 4, 0)
        self.bad = bad

    def __getitem__(self, step):
        x, labels = super().__getitem__(step)
        return (x * torch.nan if step in self.bad else x), labels


def test_a_step_without_finite_gradient_is_skipped_and_counted():
    state = TrainState.create(CONFIG)
    batches = BrokenBatches({1})
    train_step(state, CONFIG, batches)
    before = {name: value.clone() for name, value in state.tensors().items()}
    event = train_step(state, CONFIG, batches)
    assert event.skipped == state.skipped == 1
    assert all(torch.equal(value, before[name]) for name, value in state.tensors().items())
    assert train_step(state, CONFIG, batches).skipped == 1
    assert state.skipped_in_row == 0
    assert all(torch.isfinite(value).all() for value in state.tensors().values())


def test_a_skipped_step_has_no_part_in_the_means_of_the_log(tmp_path, monkeypatch):
    """And where all were skipped, the log is JSON nevertheless."""
    monkeypatch.setattr("draw.training.LOG_EVERY", 2)
    monkeypatch.setattr("draw.training.Batches", lambda *_: BrokenBatches({1, 2, 3}))
    run = RunFolder(tmp_path / "run")
    images = some_images()
    events = list(train(replace(CONFIG, steps=4), run, images, images))
    first, second = (r for r in run.records() if "images_per_second" in r)
    assert first["train_elbo_nats"] == events[0].train_nats
    assert first["gradient_norm"] == events[0].gradient_norm
    assert (second["train_elbo_nats"], second["gradient_norm"], second["skipped"]) == (
        None,
        None,
        3,
    )
    assert "NaN" not in run.log_file.read_text()


def test_a_step_with_a_finite_loss_and_no_finite_gradient_has_none_either():
    steps = [
        Step(step=i, train_nats=nats, gradient_norm=norm, learning_rate=1.0, skipped=0, seconds=1.0)
        for i, (nats, norm) in enumerate([(-100.0, 2.0), (-1e30, math.inf)])
    ]
    line = training._summary(steps, 4, "elbo")
    assert (line["train_elbo_nats"], line["gradient_norm"]) == (-100, 2)


def test_training_stops_when_no_gradient_is_finite_any_more():
    state = TrainState.create(CONFIG)
    batches = BrokenBatches(set(range(3, 100)))
    for _ in range(3 + PATIENCE - 1):
        train_step(state, CONFIG, batches)
    with pytest.raises(RunError, match="not finite 10 times in a row, up to step 13"):
        train_step(state, CONFIG, batches)
    assert state.skipped_in_row == PATIENCE


def test_the_gradient_is_clipped():
    config = replace(CONFIG, clip_norm=1e-3)
    state = TrainState.create(config)
    event = train_step(state, config, Batches(some_images(), 4, 0))
    total = torch.stack([p.grad.norm() for p in state.model.parameters()]).norm()
    assert event.gradient_norm > 1e-2
    assert float(total) == pytest.approx(1e-3, rel=1e-3)


def test_an_antithetic_minibatch_has_each_image_with_noise_and_its_opposite():
    config = replace(CONFIG, antithetic=True)
    state, batches = TrainState.create(config), Batches(some_images(), 4, 0)
    model = copy.deepcopy(state.model)
    steps = Stepper(state, config, batches)
    steps.take()
    (event,) = steps.read()
    images, _ = batches[0]
    assert torch.equal(steps.x, images.repeat(2, 1, 1, 1))
    noise, opposite = steps.eps.chunk(2, dim=1)
    assert noise.std() > 0.5
    assert torch.equal(opposite, -noise)
    nats = torch.cat([elbo(model(images, eps=eps)) for eps in (noise, opposite)]).mean()
    nats.backward()
    assert event.train_nats == pytest.approx(nats.item(), rel=1e-5)
    expected = torch.cat([p.grad.flatten() for p in model.parameters()])
    assert event.gradient_norm == pytest.approx(float(expected.norm()), rel=1e-4)


def test_there_is_no_opposite_noise_for_a_classifier():
    with pytest.raises(ConfigError, match="antithetic is of noise, and a classifier has none"):
        TrainConfig(model=ClassifierConfig(), data="cluttered-100", antithetic=True)


def test_the_schedule_rises_and_falls():
    config = replace(CONFIG, steps=1000, warmup_steps=99, learning_rate=2e-3)
    rates = [schedule(config, step) for step in range(1000)]
    assert rates[0] == pytest.approx(2e-5)
    assert max(rates) == pytest.approx(2e-3)
    assert rates.index(max(rates)) == 99
    assert schedule(config, (99 + 1000) // 2) == pytest.approx(1e-3, rel=0.01)
    assert 0 < rates[-1] < 1e-8
    assert rates[:100] == sorted(rates[:100])
    assert rates[99:] == sorted(rates[99:], reverse=True)


def test_a_short_training_has_a_short_rise_and_falls_to_zero_as_well():
    config = replace(CONFIG, steps=100, warmup_steps=300, learning_rate=2e-3)
    rates = [schedule(config, step) for step in range(100)]
    assert max(rates) == pytest.approx(2e-3)
    assert rates.index(max(rates)) == 25
    assert 0 < rates[-1] < 1e-5


def test_every_epoch_sees_every_image_once_in_an_order_of_its_own():
    count = 10
    pixels = torch.arange(count, dtype=torch.uint8).view(count, 1, 1, 1)
    batches = Batches(Images(pixels=pixels), 4, seed=5)
    seen = torch.cat([(batches[step][0] * 255).round().flatten() for step in range(10)]).int()
    epochs = seen.view(4, count)
    for epoch in epochs:
        assert sorted(epoch.tolist()) == list(range(count))
    assert len({tuple(epoch.tolist()) for epoch in epochs}) == 4


def test_a_batch_may_be_larger_than_the_data():
    batches = Batches(some_images(3, "none"), 8, seed=0)
    assert batches[0][0].shape == (8, 1, 8, 8)


def test_dynamic_binarisation_differs_between_epochs_and_repeats_by_step():
    batches = Batches(some_images(4), 4, seed=0)
    (first, _), (second, _) = batches[0], batches[1]
    assert not torch.equal(first.sum(0), second.sum(0))
    assert torch.equal(second, Batches(some_images(4), 4, seed=0)[1][0])


def test_random_streams_are_independent_of_each_other():
    draws = {
        float(torch.rand((), generator=generator(seed, purpose, index)))
        for seed in (0, 1)
        for purpose in ("noise", "training noise", "order")
        for index in (0, 1, 2)
    }
    assert len(draws) == 18


def test_training_leaves_the_global_random_state_alone(tmp_path):
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    run_to_end(CONFIG, tmp_path / "run")
    assert torch.equal(torch.rand(2), expected)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("steps", 0),
        ("batch_size", -1),
        ("batch_size", 10**6),
        ("learning_rate", 0.0),
        ("learning_rate", float("nan")),
        ("warmup_steps", -1),
        ("weight_decay", -0.1),
        ("weight_decay", 1e3),
        ("weight_decay", float("nan")),
        ("clip_norm", 0.0),
        ("clip_norm", float("inf")),
        ("ema_decay", 1.0),
        ("seed", -1),
        ("data", "imagenet"),
    ],
)
def test_a_wrong_setting_is_refused(name, value):
    with pytest.raises(ConfigError):
        replace(CONFIG, **{name: value})


def test_an_unknown_optimizer_is_refused(monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # as outside of the tests
    with pytest.raises(ConfigError, match="optimizer is 'sgd'; it must be adam or muon"):
        replace(CONFIG, optimizer="sgd")


def test_the_configuration_survives_the_run_folder(tmp_path):
    run = RunFolder(tmp_path / "run")
    config = replace(CONFIG, data_dir=tmp_path, learning_rate=0.1 + 0.2)
    run.create(config.to_dict(), {})
    assert read_config(run) == config


@pytest.mark.parametrize("lost", ["average.canvas_0", "optimizer.canvas_0.exp_avg", "optimizer."])
def test_a_checkpoint_that_lacks_something_is_refused(tmp_path, lost):
    """Without its moments Adam would go on, but not exactly."""
    run_to_end(CONFIG, tmp_path / "run")
    run = RunFolder(tmp_path / "run")
    newest = max(run.checkpoints.iterdir())
    with safetensors.safe_open(newest, framework="pt") as file:
        names = [name for name in file.keys() if not name.startswith(lost)]  # noqa: SIM118
        kept = {name: file.get_tensor(name) for name in names}
        safetensors.torch.save_file(kept, newest, file.metadata())
    with pytest.raises(RunError, match=rf"\(.*{lost}.* is missing"):
        run.restore(TrainState.create(CONFIG))


def test_a_checkpoint_of_another_network_is_refused_with_what_differs(tmp_path):
    run_to_end(CONFIG, tmp_path / "run")
    other = TrainState.create(replace(CONFIG, model=replace(CONFIG.model, latent_size=5)))
    with pytest.raises(RunError, match=r"posterior\.weight is \[8, 8\] instead of \[10, 8\]"):
        RunFolder(tmp_path / "run").restore(other)


def test_a_run_does_not_go_on_with_other_data(tmp_path):
    run_to_end(CONFIG, tmp_path / "run", stop_at=6)
    run = RunFolder(tmp_path / "run")
    with pytest.raises(RunError, match=r"other data \(training changed\)"):
        next(train(CONFIG, run, some_images(11), some_images()))


def test_a_run_does_not_go_on_with_another_configuration(tmp_path):
    run_to_end(CONFIG, tmp_path / "run", stop_at=6)
    run = RunFolder(tmp_path / "run")
    other = replace(CONFIG, steps=24, model=replace(CONFIG.model, glimpses=9))
    with pytest.raises(ConfigError, match=r"\(steps was 12, model\.glimpses was \d\)"):
        next(train(other, run, some_images(), some_images()))


def test_a_likelihood_that_is_not_for_such_images_is_refused_at_once(tmp_path):
    config = replace(CONFIG, model=replace(CONFIG.model, likelihood="logistic"))
    with pytest.raises(ConfigError, match="these images have dynamic binarisation"):
        next(train(config, RunFolder(tmp_path / "run"), some_images(), some_images()))
    assert not (tmp_path / "run").exists()


def test_a_folder_that_holds_something_else_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(RunError, match="not empty"):
        next(train(CONFIG, RunFolder(tmp_path), some_images(), some_images()))
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_what_a_kill_left_of_a_first_write_is_no_obstacle(tmp_path):
    (tmp_path / ".run.json.partial").write_text("{")
    next(train(CONFIG, RunFolder(tmp_path), some_images(), some_images()))
    assert read_config(RunFolder(tmp_path)) == CONFIG
