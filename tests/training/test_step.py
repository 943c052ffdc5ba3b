"""One optimizer step: objective, clipping, update, EMA, skipped steps and the schedule."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn.functional import pad

from draw.data import Batches
from draw.distributed import World
from draw.errors import RunError
from draw.objectives import elbo
from draw.training.state import TrainState
from draw.training.step import MAX_SKIPPED_IN_ROW, Stepper, microbatches, schedule
from tests.training.tiny import ADAM, CONFIG, BrokenBatches, random_images, take_steps


def test_training_raises_the_bound():
    config = replace(CONFIG, steps=150, learning_rate=1e-2, ema_decay=0.0)
    state = TrainState.create(config)
    stepper = Stepper(state, config, Batches(random_images(4, "none"), 4, 0))
    nats = [take_steps(stepper)[0].train_nats for _ in range(150)]
    assert np.mean(nats[-10:]) > np.mean(nats[:10]) + 2


def test_a_step_equals_the_same_step_written_with_torch():
    """AdamW on the mean negative ELBO with clipped gradients, then the EMA."""
    config = replace(ADAM, ema_decay=0.9995, clip_norm=0.5)
    state, batches = TrainState.create(config), Batches(random_images(), 4, 0)
    model, ema = copy.deepcopy(state.model), copy.deepcopy(state.ema)
    matrices = [p for p in model.parameters() if p.ndim == 2]
    others = [p for p in model.parameters() if p.ndim != 2]
    adam = torch.optim.AdamW([{"params": matrices}, {"params": others, "weight_decay": 0.0}])
    stepper = Stepper(state, config, batches)
    for step in range(3):
        [event] = take_steps(stepper)
        nats = elbo(model(batches[step][0], eps=stepper.eps)).mean()
        adam.zero_grad()
        (-nats).backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        for group in adam.param_groups:
            group["lr"] = schedule(config, step)
        adam.param_groups[0]["weight_decay"] = config.weight_decay
        adam.step()
        with torch.no_grad():
            for average, parameter in zip(ema.parameters(), model.parameters(), strict=True):
                average.lerp_(parameter, 1 - (1 + step) / (10 + step))
        assert event.train_nats == pytest.approx(nats.item(), rel=1e-5)
        assert event.gradient_norm == pytest.approx(norm.item(), rel=1e-4)
        assert norm > 0.5  # the gradient was clipped
    for ours, expected in ((state.model, model), (state.ema, ema)):
        for a, b in zip(ours.parameters(), expected.parameters(), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)
    assert not torch.equal(state.ema.canvas_0, state.model.canvas_0)


def test_an_antithetic_minibatch_has_every_image_with_opposite_noise():
    config = replace(CONFIG, antithetic=True)
    state, batches = TrainState.create(config), Batches(random_images(), 4, 0)
    model = copy.deepcopy(state.model)
    stepper = Stepper(state, config, batches)
    [event] = take_steps(stepper)
    images, _ = batches[0]
    assert torch.equal(stepper.x, images.repeat(2, 1, 1, 1))
    noise, opposite = stepper.eps.chunk(2, dim=1)
    assert noise.std() > 0.5
    assert torch.equal(opposite, -noise)
    nats = torch.cat([elbo(model(images, eps=eps)) for eps in (noise, opposite)]).mean()
    nats.backward()
    assert event.train_nats == pytest.approx(nats.item(), rel=1e-5)
    gradient = torch.cat([p.grad.flatten() for p in model.parameters()])
    assert event.gradient_norm == pytest.approx(float(gradient.norm()), rel=1e-4)


def test_images_are_shifted_in_the_first_part_of_the_run_only():
    config = replace(CONFIG, shift=1, antithetic=True, steps=10)
    batches = Batches(random_images(), 4, 0)
    stepper = Stepper(TrainState.create(config), config, batches)
    is_shifted = []
    for step in range(config.steps):
        take_steps(stepper)
        images, _ = batches[step]
        first, second = stepper.x.chunk(2)
        assert torch.equal(first, second)
        padded = pad(images, (1, 1, 1, 1), mode="replicate")
        H, W = images.shape[2:]
        crops = [padded[..., y : y + H, x : x + W] for y in range(3) for x in range(3)]
        same = torch.stack([(crop == first).flatten(1).all(1) for crop in crops])
        assert same.any(0).all()
        is_shifted.append(not torch.equal(images, first))
    assert is_shifted == 7 * [True] + 3 * [False]


@pytest.mark.parametrize("parts", [2, 3, 10])
def test_microbatches_do_not_change_the_gradient(parts):
    config = replace(CONFIG, batch_size=5, antithetic=True)
    whole, split = TrainState.create(config), TrainState.create(config)
    for state, count in ((whole, 1), (split, parts)):
        options = replace(config, microbatches=count)
        take_steps(Stepper(state, options, Batches(random_images(30), 5, 0)))
    for a, b in zip(whole.model.parameters(), split.model.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("parts", "rank", "size"), [(1, 0, 1), (3, 0, 1), (4, 1, 2), (4, 2, 3)])
def test_microbatches_cover_the_shard_of_a_process_without_empty_parts(parts, rank, size):
    config, world = replace(CONFIG, microbatches=parts), World(rank, size)
    slices = microbatches(config, world)
    rows = [row for part in slices for row in range(4)[part]]
    assert rows == list(range(4)[world.shard(4)])
    assert all(part.stop > part.start for part in slices)
    assert len(slices) == min(parts, len(rows))


# ---------------------------------------------------------------------- skipped steps


def test_a_step_without_a_finite_gradient_changes_nothing():
    state = TrainState.create(CONFIG)
    stepper = Stepper(state, CONFIG, BrokenBatches({1}))
    take_steps(stepper)
    before = {name: value.clone() for name, value in state.tensors().items()}
    [event] = take_steps(stepper)
    assert event.skipped == state.skipped == 1
    assert not event.is_finite
    assert all(torch.equal(value, before[name]) for name, value in state.tensors().items())
    assert take_steps(stepper)[0].skipped == 1
    assert state.skipped_in_row == 0
    assert all(torch.isfinite(value).all() for value in state.tensors().values())


def test_training_stops_after_ten_gradients_in_a_row_that_are_not_finite():
    state = TrainState.create(CONFIG)
    stepper = Stepper(state, CONFIG, BrokenBatches(set(range(3, 100))))
    for _ in range(3 + MAX_SKIPPED_IN_ROW - 1):
        take_steps(stepper)
    with pytest.raises(RunError, match="not finite 10 times in a row, up to step 13"):
        take_steps(stepper)
    assert state.skipped_in_row == MAX_SKIPPED_IN_ROW


# ---------------------------------------------------------------------- schedule


@pytest.mark.parametrize(("steps", "warmup_steps", "peak"), [(1000, 99, 99), (100, 300, 25)])
def test_the_learning_rate_rises_linearly_and_falls_to_zero(steps, warmup_steps, peak):
    """Warm-up takes at most a quarter of training."""
    config = replace(CONFIG, steps=steps, warmup_steps=warmup_steps, learning_rate=2e-3)
    rates = [schedule(config, step) for step in range(steps)]
    assert rates[0] == pytest.approx(2e-3 / (peak + 1))
    assert rates.index(max(rates)) == peak
    assert max(rates) == pytest.approx(2e-3)
    assert rates[(peak + steps) // 2] == pytest.approx(1e-3, rel=0.03)
    assert 0 < rates[-1] < 1e-5
    assert rates[: peak + 1] == sorted(rates[: peak + 1])
    assert rates[peak:] == sorted(rates[peak:], reverse=True)
