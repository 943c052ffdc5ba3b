"""The benchmarks run: what nobody has tried is not measured on the day that it matters."""

import sys
from pathlib import Path

import pytest
import torch

from draw import kernels
from draw.kernels import loops
from draw.model import DRAWConfig

ROOT = Path(__file__).parent.parent
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


@pytest.fixture
def gpu(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    monkeypatch.setitem(loops.ENGINES, DEVICE, "draw.kernels.gpu")
    before = torch.get_float32_matmul_precision()
    import gpu

    yield gpu
    torch.set_float32_matmul_precision(before)
    for name in ("gpu", "tasks"):
        del sys.modules[name]


def test_the_table_of_the_gpu(gpu, monkeypatch, capsys):
    """At the least size; without torch.compile, which takes its time on a CPU."""
    monkeypatch.setattr(gpu, "ITERATIONS", 1)
    monkeypatch.setattr(gpu, "OTHERS", 1)
    variants = ["plain", "fused captured"]
    assert set(variants) < set(gpu.VARIANTS)
    config = DRAWConfig(height=4, width=4, glimpses=1, hidden_size=4, latent_size=2)
    results = gpu.table(config, device=DEVICE, batches=[1], variants=variants, rounds=1)
    (row,) = results["train"]
    assert list(row["milliseconds"]) == list(row["peak_megabytes"]) == variants
    assert all(value > 0 for value in row["milliseconds"].values())
    assert [other["task"] for other in results["others"]] == ["evaluate", "generate"]
    assert "does not run" not in capsys.readouterr().out


def test_the_table_of_scaling_md_is_what_is_counted(monkeypatch, capsys):
    if not kernels.available():
        pytest.skip("no compiler, or no MKL")
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import scaling

    scaling.main()
    assert capsys.readouterr().out in (ROOT / "docs/scaling.md").read_text()
    del sys.modules["scaling"]
