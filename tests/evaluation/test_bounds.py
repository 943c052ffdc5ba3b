"""The bounds of a data set: their definition, importance samples, and likelihoods."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from draw.data import Images
from draw.errors import ConfigError, DataError
from draw.evaluation import bounds, evaluate, image_bounds
from draw.evaluation.batched import MAX_ROWS
from draw.model import DRAW, DRAWConfig
from draw.objectives import elbo, iwae, log_weight
from draw.seeding import generator

CONFIG = DRAWConfig(height=5, width=4, glimpses=3, hidden_size=8, latent_size=4, write_size=2)


@pytest.fixture
def model() -> DRAW:
    torch.manual_seed(0)
    return DRAW(CONFIG)


def random_images(binarisation: str = "static", count: int = 10) -> Images:
    seeded = torch.Generator().manual_seed(1)
    pixels = torch.randint(0, 2, (count, 1, 5, 4), generator=seeded) * 255
    if binarisation != "static":
        pixels = torch.randint(0, 256, (count, 1, 5, 4), generator=seeded)
    return Images(pixels=pixels.to(torch.uint8), binarisation=binarisation)


@torch.no_grad()
def test_the_elbo_is_the_mean_over_images_and_samples(model):
    images = random_images()
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
def test_image_bounds_are_the_bounds_of_each_image(model, monkeypatch):
    monkeypatch.setattr(bounds, "MAX_ROWS", 4)  # in batches of 4, 4 and 2
    images = random_images()
    result = image_bounds(model, images, importance_samples=2, seed=7)
    for number, indices in enumerate(torch.arange(10).split(4)):
        x, noise = (
            images.batch(indices, generator(7, "pixels", number)),
            generator(7, "noise", number),
        )
        trace = model(x, generator=noise)
        torch.testing.assert_close(result.elbo[indices], elbo(trace))
        torch.testing.assert_close(result.log_likelihood[indices], trace.log_likelihood)
        torch.testing.assert_close(result.kl[:, indices], trace.kl)
    summary = evaluate(model, images, importance_samples=2, seed=7)
    assert summary.elbo_nats == pytest.approx(float(result.elbo.mean()), rel=1e-6)
    assert summary.iwae[0].nats == pytest.approx(float(result.iwae[2].mean()), rel=1e-6)
    assert list(result.iwae) == [2]


@torch.no_grad()
def test_chunks_of_importance_samples_do_not_change_the_bound(model, monkeypatch):
    """With 20 rows in parallel, the 7 samples of 10 images run in chunks of 2, 2, 2 and 1."""
    images = random_images()
    noise = generator(3, "noise")
    x = images.first(10)
    model(x, generator=noise)  # the sample of the ELBO
    weights = torch.cat(
        [log_weight(model(x.repeat(n, 1, 1, 1), generator=noise)).view(n, 10) for n in (2, 2, 2, 1)]
    )
    monkeypatch.setattr(bounds, "MAX_ROWS", 20)
    result = evaluate(model, images, importance_samples=7, seed=3)
    [bound] = result.iwae
    per_image = iwae(weights).double()
    assert bound.k == 7
    assert bound.nats == pytest.approx(float(per_image.mean()), rel=1e-6)
    assert bound.stderr == pytest.approx(float(per_image.std()) / math.sqrt(10), rel=1e-4)


@torch.no_grad()
def test_every_k_uses_the_same_samples(model):
    """Each k averages over disjoint groups: 8 for k = 1, 2 for k = 3 and 1 for k = 8."""
    images = random_images()
    noise = generator(3, "noise")
    x = images.first(10)
    model(x, generator=noise)  # the sample of the ELBO
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


def test_a_smaller_k_does_not_change_the_largest(model):
    together = evaluate(model, random_images(), importance_samples=[2, 5], seed=1)
    alone = evaluate(model, random_images(), importance_samples=5, seed=1)
    assert together.iwae[1:] == alone.iwae


def test_memory_does_not_grow_with_k(model, monkeypatch):
    """At most MAX_ROWS trajectories run in parallel on a CPU."""
    rows = []
    forward = DRAW.forward

    def spy(self, x, **kwargs):
        rows.append(len(x))
        return forward(self, x, **kwargs)

    monkeypatch.setattr(DRAW, "forward", spy)
    evaluate(model, random_images(), importance_samples=500)
    assert max(rows) <= MAX_ROWS < 10 * 500
    assert sum(rows) == 10 + 10 * 500


def test_the_seed_determines_the_result(model):
    images = random_images("dynamic")
    assert evaluate(model, images, seed=1) == evaluate(model, images, seed=1)
    assert evaluate(model, images, seed=1) != evaluate(model, images, seed=2)


@pytest.mark.parametrize(
    ("likelihood", "binarisation", "description"),
    [
        ("bernoulli", "static", "Bernoulli, static binarisation"),
        ("bernoulli", "dynamic", "Bernoulli, dynamic binarisation"),
        ("logistic", "none", "256 levels, discretised logistic"),
    ],
)
def test_a_bound_for_discrete_pixels_has_bits_per_dim(likelihood, binarisation, description):
    model = DRAW(replace(CONFIG, likelihood=likelihood))
    result = evaluate(model, random_images(binarisation))
    assert result.likelihood == description
    assert result.bits_per_dim == pytest.approx(-result.elbo_nats / (20 * math.log(2)))


def test_intensities_as_probabilities_have_no_bits_per_dim(model):
    result = evaluate(model, random_images("none"))
    assert result.likelihood == "Bernoulli, intensities as probabilities (no bits per dimension)"
    assert result.bits_per_dim is None


@pytest.mark.parametrize("binarisation", ["static", "dynamic"])
def test_a_logistic_likelihood_of_binarised_pixels_is_an_error(binarisation):
    model = DRAW(replace(CONFIG, likelihood="logistic"))
    message = f"is 'logistic', .* have {binarisation} binarisation, so it must be bernoulli"
    with pytest.raises(ConfigError, match=message):
        evaluate(model, random_images(binarisation))


def test_one_image_has_no_standard_error(model):
    assert evaluate(model, random_images(count=1)).elbo_stderr is None


def test_progress_is_reported(model):
    calls = []
    evaluate(model, random_images(), progress=lambda *call: calls.append(call))
    assert calls == [(10, 10)]
    evaluate(model, random_images(), importance_samples=[2, 3], progress=lambda *c: calls.append(c))
    assert calls[1:] == [(10, 40), (40, 40)]


# ---------------------------------------------------------------------- arguments


def test_numpy_integers_are_accepted(tmp_path, untyped):
    model, images = DRAW(CONFIG), random_images(count=4)
    expected = evaluate(model, images, samples=2, importance_samples=[1, 3], seed=5)
    ks = [np.int64(1), np.int32(3)]
    result = evaluate(
        *(model, images),
        samples=np.int64(2),
        importance_samples=ks,
        seed=np.uint8(5),
        out=tmp_path / "out",
    )
    assert result == expected
    assert evaluate(model, images, importance_samples=np.int64(3)).iwae[0].k == 3


@pytest.mark.parametrize(
    "values",
    [{"samples": 1.5}, {"samples": 0}, {"importance_samples": [0, 5]}, {"seed": -1}],
    ids=str,
)
def test_other_numbers_are_errors(values, untyped):
    with pytest.raises(ConfigError, match="must be an integer of at least"):
        evaluate(DRAW(CONFIG), random_images(count=2), **values)


@pytest.mark.parametrize("count", [0, 3])
def test_no_images_and_nearly_black_images_are_errors(count, tmp_path):
    pixels = torch.ones(count, *CONFIG.image_shape, dtype=torch.uint8)
    with pytest.raises(DataError, match=r"pass at least one|pixels of the images range from 0"):
        evaluate(DRAW(CONFIG), Images(pixels=pixels), out=tmp_path / "out")
    assert not (tmp_path / "out").exists()
