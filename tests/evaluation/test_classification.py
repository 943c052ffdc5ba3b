"""Classification errors of a data set, their confidence interval, and labels that do not fit."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from draw.classifier import ClassifierConfig, ClassifierOutput, GlimpseClassifier
from draw.data import Images
from draw.errors import ConfigError
from draw.evaluation import check_images_fit, classify
from draw.evaluation.classification import wilson_interval

CONFIG = ClassifierConfig(height=9, width=11, glimpses=3, hidden_size=6, read_size=3, classes=4)


class FirstPixelClassifier(GlimpseClassifier):
    """Predict 0 after the first glimpse and the intensity of the first pixel after the second."""

    def forward(self, x):
        last = torch.eye(10)[(x[:, 0, 0, 0] * 255).round().long()]
        first = torch.eye(10)[:1].expand(len(x), 10)
        return ClassifierOutput(torch.stack([first, last]), None)


def test_errors_are_counted_by_glimpse():
    pixels = torch.zeros(700, 1, 4, 4, dtype=torch.uint8)  # two batches
    pixels[:, 0, 0, 0] = torch.arange(700) % 10
    labels = torch.arange(700) % 10
    labels[:7] = 9
    progress = []
    result = classify(
        FirstPixelClassifier(replace(CONFIG, classes=10)),
        Images(pixels=pixels, labels=labels),
        progress=lambda *counts: progress.append(counts),
    )
    assert (result.images, result.errors) == (700, 7)
    assert result.error == 0.01
    assert result.error_interval == wilson_interval(7, 700)
    assert result.error_by_glimpse == (1 - 69 / 700, 0.01)
    assert progress == [(512, 700), (700, 700)]
    right, wrong = np.log(np.e / (np.e + 9)), np.log(1 / (np.e + 9))
    assert result.log_likelihood_nats == pytest.approx(0.99 * right + 0.01 * wrong)


@pytest.mark.parametrize(("errors", "trials"), [(0, 10), (10, 10), (3, 50), (336, 10_000)])
def test_the_interval_is_wilsons(errors, trials):
    """Its ends are the error rates from which the count deviates by 1.96 standard errors."""
    for end in wilson_interval(errors, trials):
        deviation = 1.959964 * np.sqrt(end * (1 - end) / trials)
        assert abs(errors / trials - end) == pytest.approx(deviation, abs=1e-9)


def test_missing_labels_and_labels_outside_the_classes_are_errors():
    pixels = torch.zeros(3, 1, 9, 11, dtype=torch.uint8)
    model = GlimpseClassifier(CONFIG)
    for check in (lambda images: check_images_fit(CONFIG, images), lambda i: classify(model, i)):
        with pytest.raises(ConfigError, match="these images have none"):
            check(Images(pixels=pixels))
        with pytest.raises(
            ConfigError, match="from 0 to 4; with 4 classes they must be from 0 to 3"
        ):
            check(Images(pixels=pixels, labels=torch.tensor([0, 1, 4])))
        with pytest.raises(ConfigError, match="from -1 to 2"):
            check(Images(pixels=pixels, labels=torch.tensor([0, 2, -1])))
        check(Images(pixels=pixels, labels=torch.tensor([0, 1, 3])))
