"""The self-check compares the engine with the plain engine before it is first used."""

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
from draw.kernels import loops, self_check
from draw.model import DRAW, DRAWConfig

TINY = DRAWConfig(
    height=7, width=9, glimpses=4, hidden_size=6, latent_size=3, read_size=2, write_size=2
)
CPU = torch.device("cpu")
ENGINE = importlib.import_module("draw.kernels.cpu")

pytestmark = [
    pytest.mark.skipif(not kernels.available(), reason="the engine cannot be built here"),
    pytest.mark.usefixtures("fresh_self_check"),
]


@pytest.fixture
def broken(monkeypatch):
    """Return a function that installs an engine whose results are changed by other functions."""

    def install(function: str, only=lambda x, record: True, **faults):
        def faulty(**inputs):
            output = getattr(ENGINE, function)(**inputs)
            results, *steps = output if function == "run" else (output,)
            if only(inputs["x"], inputs.get("record", False)):
                changed = {name: fault(getattr(results, name)) for name, fault in faults.items()}
                results = results._replace(**changed)
            return (results, *steps) if function == "run" else results

        install_engine(monkeypatch, **{function: faulty})

    return install


def install_engine(monkeypatch, **functions):
    names = ("unavailable_reason", "unsupported_reason", "precision", "run", "run_with_gradients")
    engine = SimpleNamespace(**{name: getattr(ENGINE, name) for name in names} | functions)
    monkeypatch.setattr(loops, "engine_for", lambda device: engine)


# ---------------------------------------------------------------- detected faults


@pytest.mark.parametrize(
    ("changes", "batch"),
    [
        ({}, 1),
        ({}, 32),
        ({"read_size": None}, 5),
        ({"write_size": None}, 5),
        ({"read_size": None, "write_size": None}, 5),
        ({"channels": 3, "glimpses": 1}, 5),
        ({"likelihood": "logistic"}, 5),
        ({"likelihood": "coupled-logistic", "channels": 3}, 5),
        ({"height": 2, "width": 70, "hidden_size": 300}, 5),  # larger than the sizes checked
    ],
    ids=str,
)
def test_a_correct_engine_passes_by_a_wide_margin(changes, batch):
    config = DRAWConfig(**vars(TINY) | changes)
    assert self_check.failure(DRAW, config, CPU, batch) is None
    errors = self_check.relative_errors(DRAW, config, CPU, batch)
    assert max(errors.values()) < self_check.FLOAT32_TOLERANCE / 10


@pytest.mark.parametrize("result", ["z", "mu", "log_sigma", "kl"])
@pytest.mark.parametrize(
    ("task", "function", "only"),
    [
        ("training", "run_with_gradients", lambda x, record: True),
        ("evaluation", "run", lambda x, record: x is not None and not record),
        ("recording", "run", lambda x, record: x is not None and record),
    ],
)
def test_a_wrong_result_is_detected_in_every_task(broken, result, task, function, only):
    broken(function, only, **{result: lambda value: 1.01 * value})
    assert f"{result} in {task}" in self_check.failure(DRAW, TINY, CPU, 5)


@pytest.mark.parametrize("function", ["run", "run_with_gradients"])
def test_the_mean_of_another_likelihood_is_detected(monkeypatch, function):
    """Simulate an engine whose copy of the mean differs from the one in draw.likelihoods."""

    def faulty(*, shape, **inputs):
        other = replace(shape, likelihood="bernoulli")
        return getattr(ENGINE, function)(shape=other, **inputs)

    install_engine(monkeypatch, **{function: faulty})
    assert self_check.failure(DRAW, replace(TINY, likelihood="logistic"), CPU, 5)


@pytest.mark.parametrize("task", ["training", "evaluation"])
def test_a_wrong_final_canvas_is_detected(broken, task):
    broken(
        {"training": "run_with_gradients", "evaluation": "run"}[task],
        canvas=lambda canvas: 1.01 * canvas,
    )
    assert f"canvas in {task}" in self_check.failure(DRAW, TINY, CPU, 5)


@pytest.mark.parametrize("task", ["recording", "generation"])
@pytest.mark.parametrize("kept", ["canvases", "write_params"])
def test_wrong_recorded_steps_are_detected(monkeypatch, task, kept):
    def faulty(**inputs):
        results, steps = ENGINE.run(**inputs)
        if steps and (inputs["x"] is None) == (task == "generation"):
            steps = steps._replace(**{kept: 1.01 * getattr(steps, kept)})
        return results, steps

    install_engine(monkeypatch, run=faulty)
    what = {"canvases": "canvases", "write_params": "g_x of write_window"}[kept]
    assert f"{what} in {task}" in self_check.failure(DRAW, TINY, CPU, 5)


class EvenGradient(torch.autograd.Function):
    """The identity, whose gradient is replaced by its mean."""

    @staticmethod
    def forward(ctx, values):
        return values.clone()

    @staticmethod
    def backward(ctx, gradient):
        return gradient.mean().expand_as(gradient)


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ({"canvas": lambda c: 1.1 * c - 0.1 * c.detach()}, "gradient of canvas_0"),
        ({"kl": lambda kl: 1.1 * kl - 0.1 * kl.detach()}, "gradient of encoder.weight_ih"),
        ({"canvas": lambda c: c * torch.nan}, "canvas in training"),
        ({"z": lambda z: z.detach()}, "gradient of posterior.weight"),
        ({"kl": lambda kl: EvenGradient.apply(kl)}, "gradient of posterior.bias"),
        (
            {name: lambda r: r.detach() for name in ("canvas", "z", "mu", "log_sigma", "kl")},
            "RuntimeError: element 0",
        ),
    ],
)
def test_wrong_gradients_are_detected(broken, fault, reason):
    broken("run_with_gradients", **fault)
    found = self_check.failure(DRAW, TINY, CPU, 5)
    errors = self_check.relative_errors if reason not in found else None
    assert errors is None or errors(DRAW, TINY, CPU, 5)[reason] > self_check.FLOAT32_TOLERANCE


@pytest.mark.parametrize("initial", ["canvas_0", "h_enc_0", "c_enc_0", "h_dec_0", "c_dec_0"])
def test_a_missing_initial_state_is_detected(monkeypatch, initial):
    def faulty(*, weights, **inputs):
        zero = torch.zeros_like(getattr(weights, initial))
        return ENGINE.run(weights=weights._replace(**{initial: zero}), **inputs)

    install_engine(monkeypatch, run=faulty)
    assert self_check.failure(DRAW, TINY, CPU, 5)


# ---------------------------------------------------------------- consequences


def test_an_exception_is_reported_in_one_line(monkeypatch):
    def run(**_):
        raise RuntimeError("no such instruction\nat 0x0")

    install_engine(monkeypatch, run_with_gradients=run)
    assert self_check.failure(DRAW, TINY, CPU, 5).endswith(": RuntimeError: no such instruction")


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory."),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"),
        MemoryError(),
    ],
    ids=repr,
)
def test_a_lack_of_memory_is_not_cached(monkeypatch, error):
    def run(**_):
        raise error

    with monkeypatch.context() as patch:
        install_engine(patch, run_with_gradients=run)
        with pytest.raises(type(error)):
            self_check.failure(DRAW, TINY, CPU, 5)
    assert self_check.failure(DRAW, TINY, CPU, 5) is None


def test_a_lack_of_threads_is_not_cached(monkeypatch):
    def start(thread):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr("threading.Thread.start", start)
        with pytest.raises(RuntimeError, match="new thread"):
            self_check.failure(DRAW, TINY, CPU, 5)
    assert self_check.failure(DRAW, TINY, CPU, 5) is None


def test_the_plain_engine_runs_instead_with_one_warning(broken, caplog):
    broken("run_with_gradients", mu=lambda mu: mu + 1)
    model, x, eps = DRAW(TINY), torch.rand(5, 1, 7, 9), torch.randn(4, 5, 3)
    automatic = [model(x, eps=eps).mu for _ in range(2)]
    model.engine = "plain"
    assert torch.equal(automatic[1], model(x, eps=eps).mu)
    model.engine = "fused"
    with pytest.raises(ConfigError, match="mu in training"):
        model(x, eps=eps)
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "mu in training" in record.getMessage()


# ---------------------------------------------------------------- no side effects


def test_it_draws_no_random_numbers_and_changes_no_model():
    model, x, eps = DRAW(TINY), torch.rand(5, 1, 7, 9), torch.randn(4, 5, 3)
    before = torch.get_rng_state()
    model(x, eps=eps)
    assert self_check._failure.cache_info().misses == 1
    assert torch.equal(before, torch.get_rng_state())
    assert model.engine == "auto"
    assert all(p.grad is None for p in model.parameters())


def test_the_modes_of_the_caller_do_not_matter(caplog):
    x, eps = torch.rand(5, 1, 7, 9), torch.randn(4, 5, 3)

    def first(x):
        self_check._failure.cache_clear()
        total = model(x, eps=eps).canvas.sum()
        assert self_check._failure.cache_info().misses == 1
        return total

    model = DRAW(TINY)
    for mode in (torch.inference_mode(), torch.no_grad(), torch.device("meta")):
        with mode:
            first(x)
    checkpoint(first, x, use_reentrant=False).backward()
    assert not caplog.records


def test_threads_share_one_check():
    model, x, eps = DRAW(TINY), torch.rand(5, 1, 7, 9), torch.randn(4, 5, 3)
    with ThreadPoolExecutor(4) as pool:
        canvases = [
            run.result().canvas for run in [pool.submit(model, x, eps=eps) for _ in range(4)]
        ]
    assert self_check._failure.cache_info().misses == 1
    assert all(torch.equal(canvas, canvases[0]) for canvas in canvases)
