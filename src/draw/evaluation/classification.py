"""The errors of a classifier on a set of images."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Generator, Tensor

from draw.classifier import GlimpseClassifier
from draw.data import Images
from draw.errors import ConfigError
from draw.evaluation.whole_set import ROWS, mean_and_stderr, measure_all
from draw.objectives import log_probability
from draw.processes import ALONE, Group


@dataclass(frozen=True, kw_only=True)
class Classification:
    """How often a classifier errs, and how likely it holds the right answers to be."""

    images: int
    errors: int
    error: float  # their share
    error_interval: tuple[float, float]  # Wilson's, 95 %
    error_by_glimpse: tuple[float, ...]  # the share, had it answered then
    log_likelihood_nats: float  # of the labels, mean
    log_likelihood_stderr: float | None  # standard error of the mean; None of a single image


@torch.no_grad()
def classify(
    model: GlimpseClassifier,
    images: Images,
    *,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
    group: Group = ALONE,
) -> Classification:
    """The errors of a classifier on labelled images.

    Args:
        seed: decides a dynamic binarisation, or what a composition makes.
        progress: called with (images done, images in all).
        group: processes that share the images; the result is the same for any number of them.

    Raises:
        ConfigError: the images have no labels, or some that the model does not know.

    >>> from draw.classifier import ClassifierConfig
    >>> from draw.data import load
    >>> digits = load("digits5k", "valid").subset(20)
    >>> model = GlimpseClassifier(ClassifierConfig(height=28, width=28, glimpses=2))
    >>> classify(model, digits).images
    20
    """
    all_labels = labels_of(images, model.config.classes)

    def measure(indices: Tensor, x: Tensor, noise: Generator) -> dict[str, Tensor]:
        """Of some images: log probability of the label [B], errors by glimpse [T, B]."""
        labels, seen = all_labels[indices].to(x.device), model(x)
        if progress:
            progress(int(indices[-1]) + 1, len(images))
        return {"nats": log_probability(seen, labels), "wrong": seen.logits.argmax(-1) != labels}

    measured = measure_all(images, ROWS, seed, model.device, group, measure)
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
    """The labels of images.

    Raises:
        ConfigError: there are none, or some are outside 0 to classes - 1.
    """
    if images.labels is None:
        raise ConfigError("a classifier needs labels, and these images have none")
    lowest, highest = int(images.labels.min()), int(images.labels.max())
    if lowest < 0 or highest >= classes:
        raise ConfigError(
            f"the labels are from {lowest} to {highest}, but model.classes is {classes}: "
            f"they must be from 0 to {classes - 1}"
        )
    return images.labels


def wilson_interval(errors: int, trials: int) -> tuple[float, float]:
    """The 95 % confidence interval of a share that was counted (Wilson 1927).

    >>> [round(end, 4) for end in wilson_interval(336, 10_000)]
    [0.0302, 0.0373]
    """
    z2 = 1.959964**2
    middle = (errors + z2 / 2) / (trials + z2)
    variance = errors * (trials - errors) / trials + z2 / 4
    half = math.sqrt(z2 * variance) / (trials + z2)
    return max(0.0, middle - half), min(1.0, middle + half)
