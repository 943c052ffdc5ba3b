"""Encoding, decoding, interpolation, embeddings and completion of images."""

from itertools import islice

import pytest
import torch
from torch import Tensor

from draw import data, zoo
from draw.classifier import ClassifierConfig, GlimpseClassifier
from draw.errors import ConfigError, DataError
from draw.evaluation import classify, evaluate
from draw.inference import complete, complete_rounds, decode, embed, encode, interpolate
from draw.likelihoods import LIKELIHOODS
from draw.model import DRAW
from draw.objectives import elbo
from tests.kernels.common import network

GREY = {"likelihood": "logistic"}
NETWORKS = {
    "bernoulli": {},
    "colour": {"channels": 3},
    "without attention": {"read_size": None, "write_size": None},
    "logistic": GREY,
    "coupled": {"channels": 3, "likelihood": "coupled-logistic"},
}
KINDS = ["fused float32", "plain float32", "plain float64"]
LEFT = torch.arange(13) < 6  # mask of the left half


@pytest.fixture(params=[(name, kind) for name in NETWORKS for kind in KINDS], ids=" ".join)
def model(request: pytest.FixtureRequest) -> DRAW:
    """A network of each likelihood, on each engine and in both precisions."""
    name, kind = request.param
    engine, dtype = kind.split()
    return network(engine=engine, **NETWORKS[name]).to(getattr(torch, dtype))


def images(model: DRAW, seed: int = 0, count: int = 3) -> Tensor:
    """Binary images for a Bernoulli likelihood, otherwise 256 levels."""
    x = torch.rand(count, *model.config.image_shape, generator=noise(seed))
    levels = 1 if model.config.likelihood == "bernoulli" else 255
    return ((x * levels).round() / levels).to(model.canvas_0.dtype)


def noise(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# ---------------------------------------------------------------------- latents


def test_decoding_the_latents_of_an_image_reconstructs_it(model):
    x = images(model)
    trace = model(x, eps=torch.zeros(model.noise_shape(3)).to(x))
    z = encode(model, x)
    torch.testing.assert_close(z, trace.mu)  # the means of the posteriors
    torch.testing.assert_close(decode(model, z), trace.mean)
    assert not z.requires_grad


def test_latents_of_given_noise(model):
    x = images(model)
    eps = torch.randn(model.noise_shape(3), generator=noise()).to(x)
    z = encode(model, x, eps=eps)
    torch.testing.assert_close(decode(model, z), model(x, eps=eps).mean)
    assert not torch.allclose(z, encode(model, x))


@torch.no_grad()
def test_fewer_latents_decode_to_an_unfinished_image(model):
    x = images(model)
    trace = model(x, eps=torch.zeros(model.noise_shape(3)).to(x), record=True)
    torch.testing.assert_close(decode(model, encode(model, x)[:2]), trace.means[1])


def test_latents_of_another_size_are_refused(model):
    with pytest.raises(ConfigError, match="z"):
        decode(model, torch.zeros(2, 3, model.config.latent_size + 1).to(model.canvas_0))


def test_an_interpolation_starts_at_a_and_ends_at_b(model):
    a, b = images(model, 1), images(model, 2)
    steps = interpolate(model, a, b, steps=5)
    assert steps.shape == (5, *a.shape)
    torch.testing.assert_close(steps[0], decode(model, encode(model, a)))
    torch.testing.assert_close(steps[-1], decode(model, encode(model, b)))
    middle = (encode(model, a) + encode(model, b)) / 2
    torch.testing.assert_close(steps[2], decode(model, middle))
    torch.testing.assert_close(interpolate(model, b, a, steps=5), steps.flip(0))


def test_an_embedding_is_the_mean_of_the_hidden_states(model):
    x = images(model)
    state, states = model.initial_state(3), []
    for z_t in encode(model, x):  # the decoder depends on the latents only
        state, _ = model.decode_step(z_t, state)
        states.append(state.h_dec)
    features = embed(model, x)
    assert features.shape == (3, 2 * model.config.hidden_size)
    torch.testing.assert_close(features[:, 20:], torch.stack(states).mean(0))
    assert not torch.allclose(features[0], features[1])


def test_a_linear_probe_of_embeddings_beats_one_of_pixels():
    model = zoo.load("quick")
    splits = [
        data.load("digits5k", split).subset(n, 0) for split, n in [("train", 1000), ("valid", 500)]
    ]

    def accuracy(features: list[Tensor]) -> float:
        train, valid = (torch.cat([f, torch.ones(len(f), 1)], 1) for f in features)
        targets = torch.eye(10)[splits[0].labels.long()]
        ridge = train.T @ train + 1.0 * torch.eye(train.shape[1])
        scores = valid @ torch.linalg.solve(ridge, train.T @ targets)
        return float((scores.argmax(1) == splits[1].labels).float().mean())

    x = [(split.pixels / 255).round() for split in splits]
    assert accuracy([embed(model, each) for each in x]) > accuracy([f.flatten(1) for f in x]) + 0.03


# ---------------------------------------------------------------------- completion


def test_known_pixels_never_change(model):
    x = images(model)
    completed = complete(model, x, LEFT, rounds=2, generator=noise())
    assert torch.equal(completed[..., :6], x[..., :6])
    assert not torch.equal(completed[..., 6:], x[..., 6:])
    assert (completed.dtype, completed.requires_grad) == (x.dtype, False)
    assert completed.min() >= 0
    assert completed.max() <= 1


@pytest.mark.parametrize("shape", [(13,), (9, 13), (1, 9, 13), (3, 9, 13), (2, 3, 9, 13)])
def test_a_mask_broadcasts_to_the_images(shape):
    model = network(**NETWORKS["coupled"])
    x = images(model, count=2)
    completed = complete(model, x, LEFT.expand(shape), rounds=1, generator=noise())
    assert torch.equal(completed, complete(model, x, LEFT, rounds=1, generator=noise()))


def test_unknown_pixels_do_not_matter(model):
    x = images(model)
    completed = complete(model, x, LEFT, rounds=2, generator=noise())
    x[..., 6:] = torch.nan
    assert torch.equal(completed, complete(model, x, LEFT, rounds=2, generator=noise()))
    assert not torch.equal(completed, complete(model, x, LEFT, rounds=2, generator=noise(1)))


def test_unknown_pixels_are_sampled_from_the_likelihood(model):
    rounds = islice(complete_rounds(model, images(model), LEFT, generator=noise()), 3)
    levels = 1 if model.config.likelihood == "bernoulli" else 255
    for filled, trace in rounds:
        torch.testing.assert_close(filled * levels, (filled * levels).round())
        assert torch.equal(filled[..., :6], images(model)[..., :6])
        with torch.no_grad():
            again = model(filled, eps=trace.eps)
        torch.testing.assert_close(trace.canvas, again.canvas)


def test_grey_images_are_filled_with_the_mean_of_a_bernoulli():
    """Images are judged one by one, by their known pixels."""
    model = network()
    x = images(model)
    x[0, ..., 0], x[1, ..., -1] = 0.4, 0.4  # the second is grey in unknown pixels only
    *_, (filled, _) = islice(complete_rounds(model, x, LEFT, generator=noise()), 2)
    unknown = filled[..., 6:]
    is_binary = ((unknown == 0) | (unknown == 1)).flatten(1).all(1)
    assert is_binary.tolist() == [False, True, True]


@pytest.mark.parametrize("ink", [False, True], ids=["left half", "ink"])
def test_completions_become_more_likely(ink):
    """The energy -ELBO of digits falls, by more than its noise."""
    model = zoo.load("quick")
    x = (data.load("digits5k", "valid").pixels[:8] / 255).round().repeat(2, 1, 1, 1)
    mask = torch.arange(28) < 14
    if ink:  # as on the page: the strokes of the upper half
        mask = (x > 0) & (torch.arange(28) < 14)[:, None]
    rounds = islice(complete_rounds(model, x, mask, generator=noise()), 12)
    energies = [-float(elbo(trace).mean()) for _, trace in rounds]
    assert sum(energies[-3:]) / 3 < energies[0] - 10


def test_completions_differ():
    model = zoo.load("quick")
    x = (data.load("digits5k", "valid").pixels[:1] / 255).round().expand(4, -1, -1, -1)
    completed = complete(model, x, torch.arange(28) < 10, generator=noise())
    assert len(completed.flatten(1).round().unique(dim=0)) == 4


# ---------------------------------------------------------------------- errors

TINY = network(**GREY)
X = images(TINY)
Z = TINY.config.latent_size
CLASSIFIER = GlimpseClassifier(ClassifierConfig(height=28, width=28, glimpses=1, hidden_size=8))
SOME = data.load("digits5k", "valid").subset(2)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: encode(TINY, X[..., :5]), ConfigError, "the images have shape"),
        (lambda: encode(TINY, X.double()), DataError, "float64"),
        (lambda: encode(TINY, X, eps=torch.zeros(1, 3, 1)), ConfigError, "eps has shape"),
        (lambda: encode(TINY, X.tolist()), DataError, "the images are a list"),
        (lambda: encode(TINY, X, eps=[0.0]), ConfigError, "eps is of type list"),
        (
            lambda: decode(TINY, encode(TINY, X)[0]),
            ConfigError,
            rf"z has shape \(3, {Z}\); it must be \(T, B, {Z}\) with at least one glimpse T$",
        ),
        (lambda: decode(TINY, encode(TINY, X)[:0]), ConfigError, "z has shape"),
        (lambda: decode(TINY, encode(TINY, X).numpy()), ConfigError, "z is of type ndarray"),
        (lambda: embed(TINY, 2 * X), DataError, "range"),
        (lambda: interpolate(TINY, X, X, steps=1), ConfigError, "steps is 1; it must be an int"),
        (lambda: interpolate(TINY, X, X, steps=2.5), ConfigError, "steps is 2.5; it must be an"),
        (lambda: interpolate(TINY, X, None), DataError, "the images are a NoneType"),
        (lambda: interpolate(TINY, X, X[:1]), ConfigError, "a holds 3 images and b holds 1"),
        (lambda: complete(TINY, X, LEFT, rounds=0), ConfigError, "rounds is 0; it must be an int"),
        (lambda: complete(TINY, X, LEFT, rounds=2.0), ConfigError, "rounds is 2.0; it must be an"),
        (lambda: complete(TINY, X, LEFT, generator=7), ConfigError, "generator is 7; pass torch"),
        (lambda: complete(TINY, X, LEFT.float()), ConfigError, "the mask is float32"),
        (lambda: complete(TINY, X, LEFT[:5]), ConfigError, r"the mask has shape \(5,\)"),
        (lambda: complete(TINY, X, LEFT.expand(2, 3, 1, 9, 13)), ConfigError, "the mask has shape"),
        (lambda: complete(TINY, X, LEFT.expand(3, 9, 13)), ConfigError, r"pass .*\(B, 1, H, W\)"),
        (lambda: complete(TINY, X[..., :6], LEFT[:6]), ConfigError, "the images have shape"),
        (lambda: complete(TINY, 3 + X, LEFT), DataError, "range"),
        (lambda: complete(TINY, X.tolist(), LEFT), DataError, "the images are a list"),
        (lambda: encode(CLASSIFIER, X), ConfigError, "a GlimpseClassifier, not a DRAW"),
        (lambda: decode(CLASSIFIER, X), ConfigError, "a GlimpseClassifier, not a DRAW"),
        (lambda: embed(CLASSIFIER, X), ConfigError, "a GlimpseClassifier, not a DRAW"),
        (lambda: complete(CLASSIFIER, X, LEFT), ConfigError, "a GlimpseClassifier, not a DRAW"),
        (lambda: evaluate(CLASSIFIER, SOME), ConfigError, "draw.classify evaluates classifiers"),
        (lambda: evaluate(TINY, X), ConfigError, "the images are a Tensor; wrap them"),
        (lambda: classify(TINY, SOME), ConfigError, "draw.evaluate evaluates DRAW"),
        (lambda: classify(CLASSIFIER, X), ConfigError, "the images are a Tensor"),
    ],
)
@pytest.mark.usefixtures("untyped")
def test_unusable_arguments_are_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_every_likelihood_is_tested():
    tested = {network.get("likelihood", "bernoulli") for network in NETWORKS.values()}
    assert tested == set(LIKELIHOODS)
