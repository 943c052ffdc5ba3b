"""The GPU engine computes the same values and gradients for classifiers as the plain engine."""

import pytest
import torch

from draw import kernels
from draw.classifier import ClassifierConfig, GlimpseClassifier
from draw.errors import ConfigError
from draw.kernels import gpu
from draw.kernels.classifier import Shape
from draw.kernels.self_check import failure

from .. import classifier_tests
from ..classifier_tests import ClassifierTests, compare, every_output, images
from .conftest import DEVICE

TINY = {"height": 7, "width": 9, "glimpses": 2, "hidden_size": 6, "read_size": 2}


def network(**changes) -> GlimpseClassifier:
    return classifier_tests.network(**TINY | changes).to(DEVICE)


class TestGPU(ClassifierTests):
    network = staticmethod(network)


@pytest.mark.parametrize(("read_size", "channels"), [(1, 1), (2, 3), (5, 1), (17, 3)])
def test_patches_and_channels(read_size, channels):
    model = network(height=20, width=23, read_size=read_size, channels=channels)
    compare(model, batch=1, loss=every_output)


def test_more_rows_units_and_terms_than_one_program_processes():
    compare(network(hidden_size=70, read_size=9, glimpses=1), batch=33)


def test_large_patches_run_the_plain_engine():
    model = network(read_size=65)
    with pytest.raises(ConfigError, match="up to 64 x 64"):
        model(images(model, 1))
    model.engine = "auto"
    assert not kernels.use_fused(model, x=images(model, 1))


def test_batches_beyond_32_bit_indices_run_the_plain_engine():
    config = ClassifierConfig(channels=3, height=1024, width=1024, hidden_size=256, read_size=64)
    shapes = [
        Shape.of(config, torch.empty(batch, *config.image_shape, device="meta"))
        for batch in (171_196, 171_197)
    ]
    assert gpu.unsupported_reason(shapes[0], torch.device("cpu")) is None
    assert "too large" in gpu.unsupported_reason(shapes[1], torch.device("cpu"))


@pytest.mark.parametrize("precision", ["highest", "high"])
def test_it_passes_its_self_check(precision):
    config = ClassifierConfig(**TINY)
    torch.set_float32_matmul_precision(precision)
    try:
        assert failure(GlimpseClassifier, config, torch.device(DEVICE), batch=1) is None
    finally:
        torch.set_float32_matmul_precision("highest")
