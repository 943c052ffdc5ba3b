"""The bounds over a whole set."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from draw.data.dataset import Images
from draw.errors import ConfigError, RunError
from draw.evaluation import bounds, evaluate
from draw.model import DRAW, DRAWConfig
from draw.objectives import elbo, iwae, log_weight
from draw.seeding import generator

CONFIG = DRAWConfig(height=5, width=4, glimpses=3, hidden_size=8, latent_size=4, write_size=2)


@pytest.fixture
def model() -> DRAW:
    torch.manual_seed(0)
    return DRAW(CONFIG)


def some_images(binarisation: str = "static", count: int = 10) -> Images:
    generator = torch.Generator().manual_seed(1)
    pixels = torch.randint(0, 2, (count, 1, 5, 4), generator=generator) * 255
    if binarisation != "static":
        pixels = torch.randint(0, 256, (count, 1, 5, 4), generator=generator)
    return Images(pixels=pixels.to(torch.uint8), binarisation=binarisation)


@torch.no_grad()
def test_the_elbo_is_the_mean_over_images_and_samples(model):
    images = some_images()
    result = evaluate(model, images, samples=3, seed=7)
    noise = generator(7, "noise")
    elbos = torch.stack([elbo(model(images.first(10), generator=noise)) for _ in range(3)])
    per_image = elbos.mean(0).double()
    assert result.elbo_nats == pytest.approx(float(per_image.mean()), rel=1e-6)
    assert result.elbo_stderr == pytest.approx(float(per_image.std()) / math.sqrt(10), rel=1e-4)
    assert result.elbo_nats == pytest.approx(result.log_likelihood_nats - result.kl_nats, rel=1e-5)
    assert sum(result.kl_nats_by_step) == pytest.approx(result.kl_nats)
    assert result.bits_per_dim == pytest.approx(-result.elbo_nats / (20 * math.log(2)))


@torch.no_grad()
def test_iwae_in_chunks_equals_iwae_at_once(model, monkeypatch):
    """The same trajectories, 7 of 10 images side by side in chunks of 2, 2, 2 and 1."""
    images = some_images()
    noise = generator(3, "noise")
    x = images.first(10)
    model(x, generator=noise)  # the ELBO's sample comes first
    weights = torch.cat(
        [log_weight(model(x.repeat(n, 1, 1, 1), generator=noise)).view(n, 10) for n in (2, 2, 2, 1)]
    )
    monkeypatch.setattr(bounds, "ROWS", 20)
    result = evaluate(model, images, importance_samples=7, seed=3)
    [bound] = result.iwae
    per_image = iwae(weights).double()
    assert bound.k == 7
    assert bound.nats == pytest.approx(float(per_image.mean()), rel=1e-6)
    assert bound.stderr == pytest.approx(float(per_image.std()) / math.sqrt(10), rel=1e-4)


@torch.no_grad()
def test_one_set_of_trajectories_serves_every_k(model):
    """Each k takes the mean over disjoint groups: all 8 of k = 1, 2 of k = 3 and 1 of k = 8."""
    images = some_images()
    noise = generator(3, "noise")
    x = images.first(10)
    model(x, generator=noise)  # the ELBO's sample comes first
    w = log_weight(model(x.repeat(8, 1, 1, 1), generator=noise)).view(8, 10).double().exp().numpy()
    expected = {
        1: np.log(w).mean(0),
        3: (np.log(w[[0, 2, 4]].mean(0)) + np.log(w[[1, 3, 5]].mean(0))) / 2,
        8: np.log(w.mean(0)),
    }
    result = evaluate(model, images, importance_samples=[8, 1, 3, 1], seed=3)
    assert [bound.k for bound in result.iwae] == [1, 3, 8]
    for bound in result.iwae:
        per_image = expected[bound.k]
        assert bound.nats == pytest.approx(per_image.mean(), rel=1e-6)
        assert bound.stderr == pytest.approx(per_image.std(ddof=1) / math.sqrt(10), rel=1e-4)


def test_the_largest_k_is_what_it_would_be_alone(model):
    together = evaluate(model, some_images(), importance_samples=[2, 5], seed=1)
    alone = evaluate(model, some_images(), importance_samples=5, seed=1)
    assert together.iwae[1:] == alone.iwae


@pytest.mark.parametrize("asked", [{"samples": 0}, {"importance_samples": [0, 5]}])
def test_no_samples_at_all_are_refused(model, asked):
    with pytest.raises(ConfigError, match="each must be at least 1"):
        evaluate(model, some_images(), **asked)


def test_many_importance_samples_never_run_side_by_side(model, monkeypatch):
    """LSTMState is bounded by ROWS (on a GPU, some times as many), whatever k is."""
    rows = []
    forward = DRAW.forward

    def watched(self, x, **kwargs):
        rows.append(len(x))
        return forward(self, x, **kwargs)

    monkeypatch.setattr(DRAW, "forward", watched)
    evaluate(model, some_images(), importance_samples=5_000)
    assert max(rows) <= bounds.ROWS
    assert sum(rows) == 10 + 10 * 5_000


def test_the_seed_decides_everything(model):
    images = some_images("dynamic")
    assert evaluate(model, images, seed=1) == evaluate(model, images, seed=1)
    assert evaluate(model, images, seed=1) != evaluate(model, images, seed=2)


@pytest.mark.parametrize(
    ("likelihood", "binarisation", "words"),
    [
        ("bernoulli", "static", "Bernoulli, static binarisation"),
        ("bernoulli", "dynamic", "Bernoulli, dynamic binarisation"),
        ("logistic", "none", "256 levels, discretised logistic"),
    ],
)
def test_a_bound_on_outcomes_has_bits_per_dim(likelihood, binarisation, words):
    model = DRAW(replace(CONFIG, likelihood=likelihood))
    result = evaluate(model, some_images(binarisation))
    assert result.likelihood == words
    assert result.bits_per_dim == pytest.approx(-result.elbo_nats / (20 * math.log(2)))


def test_intensities_as_probabilities_have_none(model):
    result = evaluate(model, some_images("none"))
    assert result.likelihood == "Bernoulli, intensities as probabilities (no bits per dimension)"
    assert result.bits_per_dim is None


@pytest.mark.parametrize("binarisation", ["static", "dynamic"])
def test_levels_of_binarised_pixels_are_refused(binarisation):
    model = DRAW(replace(CONFIG, likelihood="logistic"))
    told = f"is 'logistic', .* have {binarisation} binarisation, so it must be bernoulli"
    with pytest.raises(ConfigError, match=told):
        evaluate(model, some_images(binarisation))


def test_one_image_has_no_standard_error(model):
    assert evaluate(model, some_images(count=1)).elbo_stderr is None


def test_progress_is_told(model):
    calls = []
    evaluate(model, some_images(), progress=lambda *call: calls.append(call))
    assert calls == [(10, 10)]
    evaluate(model, some_images(), importance_samples=[2, 3], progress=lambda *c: calls.append(c))
    assert calls[1:] == [(10, 40), (40, 40)]


# ------------------------------------------------------------------ kept image by image


@pytest.fixture
def parts(monkeypatch):
    """Ten images in parts of 4, 4 and 2."""
    monkeypatch.setattr(bounds, "ROWS", 4)


def test_a_large_k_is_kept_a_few_images_at_a_time(model, tmp_path, monkeypatch):
    """What a stop loses is bounded by PART, whatever k is."""
    monkeypatch.setattr(bounds, "PART", 300)
    evaluate(model, some_images(), importance_samples=99, out=tmp_path)
    files = [load_file(path) for path in sorted(tmp_path.glob("part-*.safetensors"))]
    assert [len(values["elbo"]) for values in files] == [3, 3, 3, 1]


def stop_at(trajectories: int):
    def progress(done: int, total: int) -> None:
        if done >= trajectories:
            raise KeyboardInterrupt

    return progress


@pytest.mark.parametrize(("stop", "left"), [(1, 3), (21, 2), (29, 2), (41, 1)])
def test_a_stopped_evaluation_goes_on_to_the_same_result(model, tmp_path, parts, stop, left):
    """With two samples and k = 3 a part of four images takes twenty trajectories."""
    asked = {"samples": 2, "importance_samples": [1, 3], "seed": 5}
    images, out, calls = some_images("dynamic"), tmp_path / "kept", []
    whole = evaluate(model, images, **asked)
    with pytest.raises(KeyboardInterrupt):
        evaluate(model, images, **asked, progress=stop_at(stop), out=out)
    told = lambda *call: calls.append(call)  # noqa: E731
    assert evaluate(model, images, **asked, progress=told, out=out) == whole
    found = [done for done, _ in calls][: 3 - left]
    assert found == [20, 40][: 3 - left]
    assert calls[-1] == (50, 50)
    calls.clear()
    assert evaluate(model, images, **asked, progress=told, out=out) == whole
    assert calls == [(20, 50), (40, 50), (50, 50)]  # nothing was run


def test_what_is_kept_is_the_bounds_image_by_image(model, tmp_path, parts):
    result = evaluate(model, some_images(), importance_samples=[2], out=tmp_path)
    files = [load_file(path) for path in sorted(tmp_path.glob("part-*.safetensors"))]
    assert [set(values) for values in files] == [{"elbo", "log_likelihood", "kl", "iwae_2"}] * 3
    of_all = {name: torch.cat([values[name] for values in files], -1) for name in files[0]}
    assert of_all["kl"].shape == (3, 10)
    assert float(of_all["elbo"].double().mean()) == result.elbo_nats
    assert float(of_all["iwae_2"].double().mean()) == result.iwae[0].nats
    torch.testing.assert_close(of_all["log_likelihood"] - of_all["kl"].sum(0), of_all["elbo"])


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"seed": 1}, "seed"),
        ({"samples": 3}, "samples"),
        ({"importance_samples": 2}, "importance_samples"),
        ({"images": some_images(count=9)}, "images"),
        ({"images": some_images("dynamic")}, "images, binarisation"),
        ({"model": DRAW(CONFIG)}, "model"),
        ({"model": DRAW(replace(CONFIG, write_size=1))}, "model"),
        ({"engine": "plain"}, "engine"),
        ({"part": 6}, "images_a_part"),
    ],
)
def test_a_folder_that_keeps_another_evaluation_is_refused(
    model, tmp_path, change, named, monkeypatch
):
    asked = {"model": model, "images": some_images(), "out": tmp_path / "kept"}
    evaluate(**asked)
    change = dict(change)
    monkeypatch.setattr(model, "engine", change.pop("engine", "auto"))
    monkeypatch.setattr(bounds, "PART", change.pop("part", bounds.PART))
    with pytest.raises(RunError, match=rf"kept keeps another evaluation \({named}\); choose"):
        evaluate(**asked | change)


def test_a_folder_that_holds_something_else_is_left_alone(model, tmp_path):
    (tmp_path / "letter.txt").write_text("dear")
    for out in (tmp_path, tmp_path / "letter.txt"):
        with pytest.raises(RunError, match="is not empty; choose another folder with --out"):
            evaluate(model, some_images(), out=out)
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]


@pytest.mark.parametrize("damage", ["", "[]", "{"])
def test_a_folder_that_does_not_tell_what_it_keeps_is_refused(model, tmp_path, damage):
    evaluate(model, some_images(), out=tmp_path)
    (tmp_path / "evaluation.json").write_text(damage)
    with pytest.raises(RunError, match="choose another folder with --out"):
        evaluate(model, some_images(), out=tmp_path)


def test_a_damaged_part_is_told_and_not_taken(model, tmp_path, parts):
    whole = evaluate(model, some_images(), out=tmp_path)
    path = tmp_path / "part-00001.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(RunError, match=r"part-00001.*; delete it to measure those images again"):
        evaluate(model, some_images(), out=tmp_path)
    path.unlink()
    assert evaluate(model, some_images(), out=tmp_path) == whole
