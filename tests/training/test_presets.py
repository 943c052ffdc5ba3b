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


FIELDS = "glimpses hidden_size latent_size read_size write_size image_shape likelihood".split()
TABLE_3 = {  # the data set, and the fields of the network
    "mnist": ("binarized-mnist", (64, 256, 100, 2, 5, (1, 28, 28), "bernoulli")),
    "svhn": ("svhn", (32, 800, 100, 12, 12, (3, 54, 54), "bernoulli")),
    "cifar10": ("cifar10", (64, 400, 200, 5, 5, (3, 32, 32), "coupled-logistic")),
    "cluttered-100": ("cluttered-100", (8, 256, None, 12, None, (1, 100, 100), None)),
    "cluttered-60": ("cluttered-60", (8, 256, None, 12, None, (1, 60, 60), None)),
}


@pytest.mark.parametrize("name", TABLE_3)
def test_the_presets_of_the_paper_are_those_of_table_3(name):
    """Except for the likelihood of CIFAR-10, which allows bits per dimension."""
    config = PRESETS[name]()
    network = tuple(getattr(config.model, field, None) for field in FIELDS)
    assert (config.data, network) == TABLE_3[name]


def test_mnist_without_attention_differs_in_the_windows_and_the_glimpses_only():
    plain, attentive = PRESETS["mnist-no-attention"](), PRESETS["mnist"]()
    assert (plain.model.read_size, plain.model.write_size) == (None, None)
    for name in ("image_shape", "hidden_size", "latent_size", "likelihood"):
        assert getattr(plain.model, name) == getattr(attentive.model, name)
    assert plain.data == attentive.data


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


def test_the_shorter_side_of_your_shape_limits_the_shift():
    assert folder(Survey(**TYPICAL), (1, 40, 400)).shift == 2
    assert folder(Survey(**TYPICAL), (1, 2, 400)).shift == 0


def test_few_or_large_images_take_fewer_steps():
    def steps(**images):
        return folder(Survey(**TYPICAL | images)).steps

    assert steps(images=3) == steps(images=30) < steps(images=300) < steps(images=3_000)
    assert steps(images=100_000, is_colour=True) < steps(images=100_000)
    assert steps(images=100_000) < steps(images=100_000, side=32)
