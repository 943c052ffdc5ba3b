"""The folder that keeps an evaluation image by image, so that it can resume."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from draw.errors import RunError
from draw.evaluation import bounds, evaluate
from draw.kernels import use_fused
from draw.model import DRAW
from tests.evaluation.test_bounds import CONFIG, random_images


@pytest.fixture
def model() -> DRAW:
    torch.manual_seed(0)
    return DRAW(CONFIG)


@pytest.fixture
def small_batches(monkeypatch):
    """Evaluate ten images in batches of 4, 4 and 2."""
    monkeypatch.setattr(bounds, "MAX_ROWS", 4)


def cached_batches(folder: Path) -> list[dict[str, torch.Tensor]]:
    return [load_file(path) for path in sorted(folder.glob("part-*.safetensors"))]


def interrupt_at(trajectories: int):
    def progress(done: int, total: int) -> None:
        if done >= trajectories:
            raise KeyboardInterrupt

    return progress


@pytest.mark.parametrize(("stop", "missing"), [(1, 3), (21, 2), (29, 2), (41, 1)])
def test_an_interrupted_evaluation_resumes_exactly(model, tmp_path, small_batches, stop, missing):
    """With two samples and k = 3, a batch of four images takes twenty trajectories."""
    arguments = {"samples": 2, "importance_samples": [1, 3], "seed": 5}
    images, out, calls = random_images("dynamic"), tmp_path / "out", []
    expected = evaluate(model, images, **arguments)
    with pytest.raises(KeyboardInterrupt):
        evaluate(model, images, **arguments, progress=interrupt_at(stop), out=out)
    arguments |= {"progress": lambda *call: calls.append(call), "out": out}
    assert evaluate(model, images, **arguments) == expected
    assert [done for done, _ in calls][: 3 - missing] == [20, 40][: 3 - missing]
    assert calls[-1] == (50, 50)
    calls.clear()
    assert evaluate(model, images, **arguments) == expected
    assert calls == [(20, 50), (40, 50), (50, 50)]  # all from the cache


def test_the_cache_holds_the_bounds_of_each_image(model, tmp_path, small_batches):
    result = evaluate(model, random_images(), importance_samples=[2], out=tmp_path)
    batches = cached_batches(tmp_path)
    assert [set(batch) for batch in batches] == [{"elbo", "log_likelihood", "kl", "iwae_2"}] * 3
    values = {name: torch.cat([batch[name] for batch in batches], -1) for name in batches[0]}
    assert values["kl"].shape == (3, 10)
    assert float(values["elbo"].double().mean()) == result.elbo_nats
    assert float(values["iwae_2"].double().mean()) == result.iwae[0].nats
    torch.testing.assert_close(values["log_likelihood"] - values["kl"].sum(0), values["elbo"])


def test_batches_are_smaller_for_a_large_k(model, tmp_path, monkeypatch):
    """An interruption loses at most one batch."""
    monkeypatch.setattr(bounds, "MAX_BATCH_TRAJECTORIES", 300)
    evaluate(model, random_images(), importance_samples=99, out=tmp_path)
    assert [len(batch["elbo"]) for batch in cached_batches(tmp_path)] == [3, 3, 3, 1]


def test_the_cache_records_the_engine_that_ran(model, tmp_path):
    def recorded(folder: Path) -> str:
        return json.loads((folder / "evaluation.json").read_text())["engine"]

    evaluate(model, random_images(), out=tmp_path / "auto")
    x, noise = torch.empty(10, 1, 5, 4), torch.empty(model.noise_shape(10))
    is_fused = use_fused(model, x=x, noise=noise, record=False)
    assert recorded(tmp_path / "auto") == ("fused" if is_fused else "plain")

    model.encoder.register_forward_hook(lambda *_: None)  # the fused engine would not call it
    expected = evaluate(model, random_images(), out=tmp_path / "plain")
    assert recorded(tmp_path / "plain") == "plain"
    model.engine = "plain"  # the same evaluation
    assert evaluate(model, random_images(), out=tmp_path / "plain") == expected


# ---------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("change", "names"),
    [
        ({"seed": 1}, "seed"),
        ({"samples": 3}, "samples"),
        ({"importance_samples": 2}, "importance_samples"),
        ({"images": random_images(count=9)}, "images"),
        ({"images": random_images("dynamic")}, "images, binarisation"),
        ({"model": DRAW(replace(CONFIG, write_size=1))}, "model"),
        ({"max_rows": 6}, "images_per_batch"),
    ],
)
def test_another_evaluation_is_an_error(model, tmp_path, change, names, monkeypatch):
    arguments = {"model": model, "images": random_images(), "out": tmp_path / "out"}
    evaluate(**arguments)
    change = dict(change)
    monkeypatch.setattr(bounds, "MAX_ROWS", change.pop("max_rows", bounds.MAX_ROWS))
    with pytest.raises(
        RunError, match=rf"a different evaluation \(different {names}\); choose another"
    ):
        evaluate(**arguments | change)


def test_a_folder_that_holds_something_else_is_not_touched(model, tmp_path):
    (tmp_path / "letter.txt").write_text("dear")
    for out in (tmp_path, tmp_path / "letter.txt"):
        with pytest.raises(RunError, match="is not empty; choose another folder with --out"):
            evaluate(model, random_images(), out=out)
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]


@pytest.mark.parametrize("text", ["", "[]", "{"])
def test_damaged_settings_are_an_error(model, tmp_path, text):
    evaluate(model, random_images(), out=tmp_path)
    (tmp_path / "evaluation.json").write_text(text)
    with pytest.raises(RunError, match="choose another folder with --out"):
        evaluate(model, random_images(), out=tmp_path)


def test_a_damaged_batch_is_an_error(model, tmp_path, small_batches):
    expected = evaluate(model, random_images(), out=tmp_path)
    path = tmp_path / "part-00001.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(RunError, match=r"part-00001.*; delete it to evaluate its images again"):
        evaluate(model, random_images(), out=tmp_path)
    path.unlink()
    assert evaluate(model, random_images(), out=tmp_path) == expected
