"""The engine is held against the plain path on the machine where it runs, before it is used."""

import importlib
import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from torch.utils.checkpoint import checkpoint

from draw import kernels
from draw.errors import ConfigError
from draw.kernels import loops, trial
from draw.model import DRAW, DRAWConfig

TINY = DRAWConfig(
    height=7, width=9, glimpses=4, hidden_size=6, latent_size=3, read_size=2, write_size=2
)
CPU = torch.device("cpu")
ENGINE = importlib.import_module("draw.kernels.cpu")

pytestmark = pytest.mark.skipif(not kernels.available(), reason="no compiler, or no MKL")


@pytest.fixture(autouse=True)
def _untried():
    """No machine has been tried yet, nor has any after the test."""
    trial._failure.cache_clear()
    yield
    trial._failure.cache_clear()


@pytest.fixture
def broken(monkeypatch):
    """Puts an engine in place some of whose results go through other functions."""

    def put(function: str, only=lambda x, record: True, **faults):
        def faulty(shape, weights, x, noise, **options):
            given = getattr(ENGINE, function)(shape, weights, x, noise, **options)
            results, *more = given if options else (given,)
            if only(x, options.get("record", False)):
                changed = {name: fault(getattr(results, name)) for name, fault in faults.items()}
                results = results._replace(**changed)
            return (results, *more) if options else results

        place(monkeypatch, **{function: faulty})

    return put


def place(monkeypatch, **functions):
    names = ("available", "hindrance", "run", "run_with_gradients")
    engine = SimpleNamespace(**{name: getattr(ENGINE, name) for name in names} | functions)
    monkeypatch.setattr(loops, "engine_for", lambda device: engine)


# ---------------------------------------------------------------- what it finds


@pytest.mark.parametrize("batch", [1, 5, 32])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"read_size": None},
        {"write_size": None},
        {"read_size": None, "write_size": None},
        {"channels": 3, "glimpses": 1},
        {"likelihood": "logistic"},
        {"height": 2, "width": 70, "hidden_size": 300},  # larger than what is tried in its place
    ],
    ids=str,
)
def test_a_sound_engine_passes_by_far(changes, batch, caplog):
    config = DRAWConfig(**vars(TINY) | changes)
    assert trial.failure(DRAW, config, CPU, batch) is None
    assert not caplog.records
    assert max(trial._errors(DRAW, config, CPU, batch).values()) < trial.EXACT / 10


@pytest.mark.parametrize("result", ["z", "mu", "log_sigma", "kl"])
@pytest.mark.parametrize(
    ("task", "function", "only"),
    [
        ("training", "run_with_gradients", lambda x, record: True),
        ("evaluation", "run", lambda x, record: x is not None and not record),
        ("recording", "run", lambda x, record: x is not None and record),
    ],
)
def test_a_wrong_result_is_found_wherever_it_is(broken, result, task, function, only, caplog):
    broken(function, only, **{result: lambda value: 1.01 * value})
    told = trial.failure(DRAW, TINY, CPU, 5)
    assert f"{result} in {task}" in told
    (record,) = caplog.records
    assert told in record.getMessage()
    assert record.levelno == logging.WARNING


@pytest.mark.parametrize("function", ["run", "run_with_gradients"])
def test_the_mean_of_another_likelihood_is_found(monkeypatch, function):
    """As if the engine's copy of it were not the one in draw.likelihoods."""

    def faulty(shape, *inputs, **options):
        other = replace(shape, likelihood="bernoulli")
        return getattr(ENGINE, function)(other, *inputs, **options)

    place(monkeypatch, **{function: faulty})
    assert trial.failure(DRAW, replace(TINY, likelihood="logistic"), CPU, 5)


@pytest.mark.parametrize("task", ["training", "evaluation"])
def test_a_wrong_last_canvas_is_found(broken, task):
    broken(
        {"training": "run_with_gradients", "evaluation": "run"}[task],
        canvas=lambda canvas: 1.01 * canvas,
    )
    assert f"canvas in {task}" in trial.failure(DRAW, TINY, CPU, 5)


@pytest.mark.parametrize("task", ["recording", "generation"])
@pytest.mark.parametrize("kept", ["canvases", "writes"])
def test_wrong_records_are_found(monkeypatch, task, kept):
    def faulty(shape, weights, x, noise, *, record):
        results, recorded = ENGINE.run(shape, weights, x, noise, record=record)
        if record and (x is None) == (task == "generation"):
            recorded = recorded._replace(**{kept: 1.01 * getattr(recorded, kept)})
        return results, recorded

    place(monkeypatch, run=faulty)
    what = {"canvases": "canvas", "writes": "g_x of write"}[kept]
    assert f"{what} in {task}" in trial.failure(DRAW, TINY, CPU, 5)


class EvenGradient(torch.autograd.Function):
    """The same values; on the way back, the mean of all gradients for each."""

    @staticmethod
    def forward(ctx, values):
        return values.clone()

    @staticmethod
    def backward(ctx, gradient):
        return gradient.mean().expand_as(gradient)


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ({"canvas": lambda c: 1.1 * c - 0.1 * c.detach()}, "gradient by canvas_0"),
        ({"kl": lambda kl: 1.1 * kl - 0.1 * kl.detach()}, "gradient by encoder.weight_ih"),
        ({"canvas": lambda c: c * torch.nan}, "canvas in training"),
        ({"z": lambda z: z.detach()}, "gradient by posterior.weight"),
        ({"kl": lambda kl: EvenGradient.apply(kl)}, "gradient by posterior.bias"),
        (
            {name: lambda r: r.detach() for name in ("canvas", "z", "mu", "log_sigma", "kl")},
            "RuntimeError: element 0",
        ),
    ],
)
def test_wrong_gradients_are_found(broken, fault, told):
    broken("run_with_gradients", **fault)
    found = trial.failure(DRAW, TINY, CPU, 5)
    assert told in found or trial._errors(DRAW, TINY, CPU, 5)[told] > trial.EXACT


@pytest.mark.parametrize("initial", ["canvas_0", "h_enc_0", "c_enc_0", "h_dec_0", "c_dec_0"])
def test_an_initial_state_that_is_left_out_is_found(monkeypatch, initial):
    def faulty(shape, weights, x, noise, **options):
        zero = torch.zeros_like(getattr(weights, initial))
        return ENGINE.run(shape, weights._replace(**{initial: zero}), x, noise, **options)

    place(monkeypatch, run=faulty)
    assert trial.failure(DRAW, TINY, CPU, 5)


# ---------------------------------------------------------------- what follows from it


def test_one_that_stops_is_told_of_in_one_line(monkeypatch):
    def run(*_):
        raise RuntimeError("no such instruction\nat 0x0")

    place(monkeypatch, run_with_gradients=run)
    assert trial.failure(DRAW, TINY, CPU, 5).endswith(": RuntimeError: no such instruction")


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory."),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"),
        MemoryError(),
    ],
    ids=repr,
)
def test_that_there_was_no_memory_for_it_is_not_remembered(monkeypatch, error):
    def run(*_):
        raise error

    with monkeypatch.context() as patch:
        place(patch, run_with_gradients=run)
        with pytest.raises(type(error)):
            trial.failure(DRAW, TINY, CPU, 5)
    assert trial.failure(DRAW, TINY, CPU, 5) is None


def test_that_there_was_no_thread_for_it_is_not_remembered(monkeypatch):
    def start(thread):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr("threading.Thread.start", start)
        with pytest.raises(RuntimeError, match="new thread"):
            trial.failure(DRAW, TINY, CPU, 5)
    assert trial.failure(DRAW, TINY, CPU, 5) is None


def test_the_plain_path_takes_its_place_and_the_log_says_so_once(broken, caplog):
    broken("run_with_gradients", mu=lambda mu: mu + 1)
    model, x, eps = DRAW(TINY), torch.rand(5, 1, 7, 9), torch.randn(4, 5, 3)
    by_itself = model(x, eps=eps)
    model.engine = "plain"
    assert torch.equal(by_itself.mu, model(x, eps=eps).mu)
    model.engine = "fused"
    with pytest.raises(ConfigError, match="mu in training"):
        model(x, eps=eps)
    assert len(caplog.records) == 1


# ---------------------------------------------------------------- and nothing else does


def test_it_draws_no_random_number_and_changes_no_model():
    model, x, eps = DRAW(TINY), torch.rand(5, 1, 7, 9), torch.randn(4, 5, 3)
    before = torch.get_rng_state()
    model(x, eps=eps)
    assert trial._failure.cache_info().misses == 1
    assert torch.equal(before, torch.get_rng_state())
    assert model.engine == "auto"
    assert all(p.grad is None for p in model.parameters())


def test_the_callers_modes_have_no_part_in_it(caplog):
    x, eps = torch.rand(5, 1, 7, 9), torch.randn(4, 5, 3)

    def first(x):
        trial._failure.cache_clear()
        total = model(x, eps=eps).canvas.sum()
        assert trial._failure.cache_info().misses == 1
        return total

    model = DRAW(TINY)
    for mode in (torch.inference_mode(), torch.no_grad(), torch.device("meta")):
        with mode:
            first(x)
    checkpoint(first, x, use_reentrant=False).backward()
    assert not caplog.records


def test_many_threads_try_once():
    model, x, eps = DRAW(TINY), torch.rand(5, 1, 7, 9), torch.randn(4, 5, 3)
    with ThreadPoolExecutor(4) as pool:
        canvases = [
            run.result().canvas for run in [pool.submit(model, x, eps=eps) for _ in range(4)]
        ]
    assert trial._failure.cache_info().misses == 1
    assert all(torch.equal(canvas, canvases[0]) for canvas in canvases)
