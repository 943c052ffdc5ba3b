"""The benchmarks run."""

import sys
from pathlib import Path

import pytest
import torch

from draw import kernels
from draw.kernels import loops, self_check
from draw.model import DRAWConfig

ROOT = Path(__file__).parent.parent
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


@pytest.fixture
def gpu(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    monkeypatch.setitem(loops.ENGINES, DEVICE, "draw.kernels.gpu")
    monkeypatch.setattr(self_check, "failure", lambda *_, **__: None)
    before = torch.get_float32_matmul_precision()
    import gpu

    yield gpu
    torch.set_float32_matmul_precision(before)
    for name in ("gpu", "tasks"):
        del sys.modules[name]


def test_the_table_for_a_gpu(gpu, monkeypatch, capsys):
    """Use minimal sizes, without torch.compile, which is slow on a CPU."""
    monkeypatch.setattr(gpu, "ITERATIONS", 1)
    monkeypatch.setattr(gpu, "INFERENCE_BATCH", 1)
    variants = ["plain", "fused captured"]
    assert set(variants) < set(gpu.VARIANTS)
    config = DRAWConfig(height=4, width=4, glimpses=1, hidden_size=4, latent_size=2)
    results = gpu.table(config, device=DEVICE, batches=[1], variants=variants, rounds=1)
    (row,) = results["train"]
    assert list(row["milliseconds"]) == list(row["peak_megabytes"]) == variants
    assert all(value > 0 for value in row["milliseconds"].values())
    assert [other["task"] for other in results["others"]] == ["evaluate", "generate"]
    assert "does not run" not in capsys.readouterr().out


def test_the_row_of_the_classifier(monkeypatch, capsys):
    if not kernels.available():
        pytest.skip("the engine cannot be built here")
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import bench

    row = bench.classifier_row(rounds=1)
    assert set(row["seconds"]) == {"floor", "plain", "fused", "bfloat16", "muon"}
    assert all(value > 0 for value in row["seconds"].values())
    assert "floor/fused" in capsys.readouterr().out
    for name in ("bench", "floor", "gpu", "tasks"):
        del sys.modules[name]


def test_the_table_in_multi_gpu_md_is_up_to_date(monkeypatch, capsys):
    if not kernels.available():
        pytest.skip("the engine cannot be built here")
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import scaling

    scaling.main()
    table = capsys.readouterr().out
    assert table.count("\n") > 3
    assert table in (ROOT / "docs/multi-gpu.md").read_text()
    del sys.modules["scaling"]
