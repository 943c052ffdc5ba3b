"""The benchmark of the page runs."""

import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent


def test_the_benchmark_of_the_page(browser, site, monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import page as benchmark

    monkeypatch.setattr(benchmark, "SECONDS", 0.1)
    models = {"mnist": "attentive", "cifar10": "colour"}
    results = benchmark.measure(browser, site, 1, models)
    assert set(results["seconds"]) == {"first film", *benchmark.TASKS}
    assert all(0 < times["minimum"] <= times["median"] for times in results["seconds"].values())
    assert results["frames_per_second"] > 0
    for name in ("bench", "floor", "page", "tasks"):
        sys.modules.pop(name, None)
