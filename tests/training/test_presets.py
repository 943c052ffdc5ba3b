"""Presets: each can be built, and those of the paper have the settings of table 3."""

import pytest

from draw import PRESETS
from draw.data import DATASETS


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
