"""Evaluate a classifier on a set of images."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Generator, Tensor

from draw.classifier import GlimpseClassifier, log_probability
from draw.data import Images
from draw.distributed import SINGLE, World
from draw.errors import ConfigError
from draw.evaluation.batched import (
    MAX_ROWS,
    check_is_images,
    evaluate_batches,
    mean_and_stderr,
)
from draw.inputs import check_network


@dataclass(frozen=True, kw_only=True)
class Classification:
    """The error of a classifier and the likelihood of the correct labels."""

    images: int
    errors: int
    error: float  # errors / images
    error_interval: tuple[float, float]  # 95% confidence interval (Wilson)
    error_by_glimpse: tuple[float, ...]  # error of the prediction after each glimpse
    log_likelihood_nats: float  # log p(label | x), mean over images
    log_likelihood_stderr: float | None  # standard error of the mean; None for a single image


@torch.no_grad()
def classify(
    model: GlimpseClassifier,
    images: Images,
    *,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
    world: World = SINGLE,
) -> Classification:
    """Evaluate a classifier on labelled images.

    Args:
        model: the classifier.
        images: the images, with labels.
        seed: random seed for dynamic binarisation and random transforms.
        progress: called with (images done, total images).
        world: the processes that share the images; the result does not depend on their number.

    Raises:
        ConfigError: if the model is not a classifier, `images` is not an `Images`, or the images
            have no labels, or labels outside the model's classes.
        DataError: if there are no images, or the pixels are 0 and 1 instead of 0 and 255.

    >>> from draw.classifier import ClassifierConfig
    >>> from draw.data import load
    >>> digits = load("digits5k", "valid").subset(20)
    >>> model = GlimpseClassifier(ClassifierConfig(height=28, width=28, glimpses=2))
    >>> classify(model, digits).images
    20
    """
    check_network(model, "GlimpseClassifier", "; draw.evaluate evaluates DRAW")
    check_is_images(images)
    images.check_usable()
    all_labels = labels_of(images, model.config.classes)

    def measure(indices: Tensor, x: Tensor, noise: Generator) -> dict[str, Tensor]:
        """Return log p(label | x) [B] and the errors by glimpse [T, B]."""
        labels, output = all_labels[indices].to(x.device), model(x)
        if progress:
            progress(int(indices[-1]) + 1, len(images))
        wrong = output.logits.argmax(-1) != labels
        return {"nats": log_probability(output, labels), "wrong": wrong}

    measured = evaluate_batches(images, MAX_ROWS, seed, model.device, world, measure)
    by_glimpse = measured["wrong"].sum(1).tolist()
    mean, stderr = mean_and_stderr(measured["nats"])
    return Classification(
        images=len(images),
        errors=by_glimpse[-1],
        error=by_glimpse[-1] / len(images),
        error_interval=wilson_interval(by_glimpse[-1], len(images)),
        error_by_glimpse=tuple(errors / len(images) for errors in by_glimpse),
        log_likelihood_nats=mean,
        log_likelihood_stderr=stderr,
    )


def labels_of(images: Images, classes: int) -> Int[Tensor, " n"]:
    """Return the labels of images.

    Raises:
        ConfigError: if the images have no labels, or labels outside 0 to classes - 1.
    """
    if images.labels is None:
        raise ConfigError(
            "a classifier needs labels, and these images have none; choose a data set with labels, "
            "or pass `labels` to Images"
        )
    lowest, highest = int(images.labels.min()), int(images.labels.max())
    if lowest < 0 or highest >= classes:
        raise ConfigError(
            f"the labels range from {lowest} to {highest}; with {classes} classes they must be "
            f"from 0 to {classes - 1}"
        )
    return images.labels


def wilson_interval(errors: int, trials: int) -> tuple[float, float]:
    """Compute the 95% confidence interval of a proportion (Wilson 1927).

    >>> [round(end, 4) for end in wilson_interval(336, 10_000)]
    [0.0302, 0.0373]
    """
    z2 = 1.959964**2
    middle = (errors + z2 / 2) / (trials + z2)
    variance = errors * (trials - errors) / trials + z2 / 4
    half = math.sqrt(z2 * variance) / (trials + z2)
    return max(0.0, middle - half), min(1.0, middle + half)
