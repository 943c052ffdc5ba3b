"""Presets: each can be built, and those of the paper have the settings of table 3."""

import pytest

from draw import PRESETS
from draw.data import DATASETS
from draw.data.survey import Survey
from draw.training.presets import folder


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_builds_its_network(name):
    config = PRESETS[name]()
    assert config == PRESETS[name]()
    assert config.model.build().config == config.model
    assert config.data in DATASETS
    assert PRESETS[name].__doc__


@pytest.mark.parametrize(("name", "size"), [("cluttered-100", 100), ("cluttered-60", 60)])
def test_cluttered_is_the_classifier_of_table_3(name, size):
    model = PRESETS[name]().model
    assert (model.glimpses, model.hidden_size, model.read_size) == (8, 256, 12)
    assert model.image_shape == (1, size, size)
    assert PRESETS[name]().data == name


def test_mnist_is_the_network_of_table_3_on_static_binarised_mnist():
    model = PRESETS["mnist"]().model
    assert (model.glimpses, model.hidden_size, model.latent_size) == (64, 256, 100)
    assert (model.read_size, model.write_size) == (2, 5)
    assert model.image_shape == (1, 28, 28)
    assert PRESETS["mnist"]().data == "binarized-mnist"


def test_mnist_without_attention_differs_in_the_windows_and_the_glimpses_only():
    plain, attentive = PRESETS["mnist-no-attention"](), PRESETS["mnist"]()
    assert (plain.model.read_size, plain.model.write_size) == (None, None)
    for name in ("image_shape", "hidden_size", "latent_size", "likelihood"):
        assert getattr(plain.model, name) == getattr(attentive.model, name)
    assert plain.data == attentive.data


def test_svhn_and_cifar_have_the_networks_of_table_3():
    svhn, cifar = PRESETS["svhn"]().model, PRESETS["cifar10"]().model
    assert (svhn.glimpses, svhn.hidden_size, svhn.latent_size) == (32, 800, 100)
    assert (svhn.read_size, svhn.write_size, svhn.image_shape) == (12, 12, (3, 54, 54))
    assert svhn.likelihood == "bernoulli"
    assert (cifar.glimpses, cifar.hidden_size, cifar.latent_size) == (64, 400, 200)
    assert (cifar.read_size, cifar.write_size, cifar.image_shape) == (5, 5, (3, 32, 32))


TYPICAL = {"images": 1_000, "side": 500, "is_colour": False, "mid_tones": 0.6}


@pytest.mark.parametrize(
    ("images", "shape", "likelihood"),
    [
        ({}, (1, 64, 64), "logistic"),
        ({"side": 28}, (1, 28, 28), "logistic"),
        ({"side": 3}, (1, 16, 16), "logistic"),
        ({"is_colour": True}, (3, 64, 64), "coupled-logistic"),
        ({"mid_tones": 0.1}, (1, 64, 64), "bernoulli"),
        ({"mid_tones": 0.1, "is_colour": True}, (3, 64, 64), "coupled-logistic"),
    ],
)
def test_the_folder_preset_adapts_to_size_and_colour(images, shape, likelihood):
    model = folder(Survey(**TYPICAL | images)).model
    assert (model.image_shape, model.likelihood) == (shape, likelihood)


def test_the_folder_preset_takes_your_shape_and_adapts_the_rest():
    model = folder(Survey(**TYPICAL), (3, 32, 48)).model
    assert (model.image_shape, model.likelihood) == ((3, 32, 48), "coupled-logistic")
    assert folder(Survey(**TYPICAL), (1, 3, 4)).model.read_size == 3


@pytest.mark.parametrize(("count", "side", "shift"), [(400, 64, 3), (400, 28, 1), (2_000, 64, 0)])
def test_few_images_are_shifted_by_a_twentieth_of_their_size(count, side, shift):
    assert folder(Survey(**TYPICAL | {"images": count, "side": side})).shift == shift


def test_few_or_large_images_take_fewer_steps():
    def steps(**images):
        return folder(Survey(**TYPICAL | images)).steps

    assert steps(images=3) == steps(images=30) < steps(images=300) < steps(images=3_000)
    assert steps(images=100_000, is_colour=True) < steps(images=100_000)
    assert steps(images=100_000) < steps(images=100_000, side=32)
