"""The engine is held against the plain path on the machine where it runs, before it is trusted."""

import importlib
import logging
from types import SimpleNamespace

import pytest
import torch

from draw import kernels
from draw.errors import ConfigError
from draw.kernels import trial
from draw.model import DRAW, DRAWConfig

TINY = DRAWConfig(
    height=7, width=9, glimpses=4, hidden_size=6, latent_size=3, read_size=2, write_size=2
)
CPU = torch.device("cpu")

needs_engine = pytest.mark.skipif(not kernels.available(), reason="no compiler, or no MKL")


@pytest.fixture(autouse=True)
def _untried():
    """No machine has been tried yet, nor has any after the test."""
    trial.failure.cache_clear()
    yield
    trial.failure.cache_clear()


class Room(SimpleNamespace):
    """Stands in for a module, which can be hashed."""

    __hash__ = object.__hash__


def room(**changes) -> Room:
    """The engine for this processor, but for what is changed."""
    engine = importlib.import_module("draw.kernels.cpu")
    names = ("available", "hindrance", "run", "run_with_gradients")
    return Room(**{name: getattr(engine, name) for name in names} | changes)


def altered(function, **changes):
    """The engine's function, with some of its results put through other functions."""

    def run(*args, **options):
        results = function(*args, **options)
        inner = results if hasattr(results, "canvas") else results[0]
        inner = inner._replace(**{name: f(getattr(inner, name)) for name, f in changes.items()})
        return inner if hasattr(results, "canvas") else (inner, *results[1:])

    return run


@needs_engine
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"read_size": None},
        {"write_size": None},
        {"read_size": None, "write_size": None},
        {"channels": 3, "glimpses": 1},
        {"height": 2, "width": 70, "hidden_size": 300},  # larger than what is tried in its place
    ],
    ids=str,
)
def test_a_sound_engine_passes(changes, caplog):
    config = DRAWConfig(**vars(TINY) | changes)
    assert trial.failure(kernels._room("cpu"), DRAW, config, CPU) is None
    assert not caplog.records


@needs_engine
@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ({"canvas": lambda c: c + 0.1}, "canvas"),
        ({"canvas": lambda c: c * torch.nan}, "canvas"),
        ({"mu": lambda mu: mu.roll(1, 1)}, "mu"),
        ({"canvas": lambda c: 1.1 * c - 0.1 * c.detach()}, "gradient by canvas_0"),
        ({"kl": lambda kl: 1.1 * kl}, "gradient by posterior.bias"),
        ({"kl": lambda kl: kl.detach(), "canvas": lambda c: c.detach()}, "it stopped with"),
    ],
)
def test_wrong_values_and_wrong_gradients_are_found(fault, told, caplog):
    run = altered(room().run_with_gradients, **fault)
    broken = room(run_with_gradients=run)
    assert told in trial.failure(broken, DRAW, TINY, CPU)
    (record,) = caplog.records
    assert told in record.getMessage()
    assert record.levelno == logging.WARNING


@needs_engine
def test_a_wrong_path_without_gradients_is_found():
    broken = room(run=altered(room().run, canvas=lambda c: c * 1.1))
    assert "canvas without gradients differ" in trial.failure(broken, DRAW, TINY, CPU)


def test_one_that_stops_is_told_of_in_one_line():
    def run(*_):
        raise RuntimeError("no such instruction\nat 0x0")

    wrong = trial.failure(room(run_with_gradients=run), DRAW, TINY, CPU)
    assert wrong == "it stopped with RuntimeError: no such instruction"


@needs_engine
def test_the_plain_path_takes_its_place_and_the_log_says_so_once(monkeypatch, caplog):
    broken = room(run_with_gradients=altered(room().run_with_gradients, mu=lambda mu: mu + 1))
    monkeypatch.setattr(kernels, "_room", lambda device: broken)
    model, x, eps = DRAW(TINY), torch.rand(5, 1, 7, 9), torch.randn(4, 5, 3)
    by_itself = model(x, eps=eps)
    model.engine = "plain"
    assert torch.equal(by_itself.mu, model(x, eps=eps).mu)
    model.engine = "fused"
    with pytest.raises(ConfigError, match="its mu differ"):
        model(x, eps=eps)
    assert len(caplog.records) == 1


@needs_engine
def test_it_leaves_no_trace():
    """No random number drawn, and it works where gradients are switched off."""
    model, x, eps = DRAW(TINY), torch.rand(5, 1, 7, 9), torch.randn(4, 5, 3)
    before = torch.get_rng_state()
    with torch.inference_mode():
        model(x, eps=eps)
    assert trial.failure.cache_info().misses == 1
    assert torch.equal(before, torch.get_rng_state())
    assert model.engine == "auto"
    assert all(p.grad is None for p in model.parameters())
