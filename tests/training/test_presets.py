"""The presets: each can be built, and the published ones have the published numbers."""

import pytest

from draw import PRESETS
from draw.data import DATASETS
from draw.tasks import TASKS
from draw.training.config import TrainConfig


@pytest.mark.parametrize("name", PRESETS)
def test_each_builds_a_network_and_names_what_it_is_for(name):
    config = PRESETS[name]()
    assert isinstance(config, TrainConfig)
    assert config == PRESETS[name]()
    assert TASKS[type(config.model)].network(config.model).config == config.model
    assert config.data in DATASETS


@pytest.mark.parametrize(("name", "size"), [("cluttered-100", 100), ("cluttered-60", 60)])
def test_cluttered_is_the_classifier_of_table_3(name, size):
    config = PRESETS[name]()
    model = config.model
    assert (model.glimpses, model.hidden_size, model.read_size) == (8, 256, 12)
    assert model.image_shape == (1, size, size)
    assert config.data == name
    assert PRESETS[name].__doc__


def test_mnist_is_the_network_of_table_3_on_static_binarised_mnist():
    config = PRESETS["mnist"]()
    model = config.model
    assert (model.glimpses, model.hidden_size, model.latent_size) == (64, 256, 100)
    assert (model.read_size, model.write_size) == (2, 5)
    assert model.image_shape == (1, 28, 28)
    assert config.data == "binarized-mnist"


def test_mnist_without_attention_is_otherwise_the_same_network_on_the_same_images():
    plain, attentive = PRESETS["mnist-no-attention"](), PRESETS["mnist"]()
    assert (plain.model.read_size, plain.model.write_size) == (None, None)
    same = ("height", "width", "channels", "hidden_size", "latent_size", "likelihood")
    assert all(getattr(plain.model, n) == getattr(attentive.model, n) for n in same)
    assert plain.data == attentive.data


def test_colour_is_as_table_3_has_it():
    svhn, cifar = PRESETS["svhn"]().model, PRESETS["cifar10"]().model
    assert (svhn.glimpses, svhn.hidden_size, svhn.latent_size) == (32, 800, 100)
    assert (svhn.read_size, svhn.write_size, svhn.image_shape) == (12, 12, (3, 54, 54))
    assert svhn.likelihood == "bernoulli"
    assert (cifar.glimpses, cifar.hidden_size, cifar.latent_size) == (64, 400, 200)
    assert (cifar.read_size, cifar.write_size, cifar.image_shape) == (5, 5, (3, 32, 32))


def test_quick_needs_no_network_and_folder_takes_the_users_pictures():
    assert PRESETS["quick"]().data == "digits5k"
    assert PRESETS["folder"]().data == "folder"
    assert PRESETS["folder"]().data_dir is None
