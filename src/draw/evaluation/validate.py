"""Validate a network of either type, and check that it fits its training images."""

from typing import NamedTuple

from draw.classifier import ClassifierConfig, GlimpseClassifier
from draw.data import Images
from draw.distributed import SINGLE, World
from draw.errors import ConfigError
from draw.evaluation.bounds import describe_likelihood, evaluate
from draw.evaluation.classification import classify, labels_of
from draw.model import DRAW, DRAWConfig


class EvalResult(NamedTuple):
    """The objective of a network on a set of images."""

    nats: float  # mean over images, nats per image; higher is better
    stderr: float | None  # standard error of the mean over images; None for a single image
    images: int
    extra: dict[str, float]  # further quantities to log, by name


def validate(
    model: DRAW | GlimpseClassifier, images: Images, *, seed: int, world: World = SINGLE
) -> EvalResult:
    """Evaluate the training objective of a network: the ELBO, or log p(label | x)."""
    if isinstance(model, GlimpseClassifier):
        errors = classify(model, images, seed=seed, world=world)
        return EvalResult(
            errors.log_likelihood_nats,
            errors.log_likelihood_stderr,
            errors.images,
            {"error": errors.error},
        )
    bound = evaluate(model, images, seed=seed, world=world)
    return EvalResult(bound.elbo_nats, bound.elbo_stderr, bound.images, {"kl_nats": bound.kl_nats})


def check_images_fit(config: DRAWConfig | ClassifierConfig, images: Images) -> None:
    """Check that a network can be trained on images.

    Raises:
        ConfigError: if the images do not have the network's shape, the likelihood does not fit the
            images, or the labels are missing or do not fit the classes.
        DataError: if there are no images, or the pixels are 0 and 1 instead of 0 and 255.
    """
    if images.shape != config.image_shape:
        raise ConfigError(
            f"the images have shape (C, H, W) = {images.shape}; the network takes "
            f"{config.image_shape}: set model.channels, model.height and model.width"
        )
    images.check_usable()
    if isinstance(config, ClassifierConfig):
        labels_of(images, config.classes)
    else:
        describe_likelihood(config, images)
