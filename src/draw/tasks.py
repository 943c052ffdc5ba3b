"""What a network learns: to paint the pictures of a set, or to name what is on them.

A training knows neither; all that differs between the two stands here.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from torch import Tensor

from draw.classifier import ClassifierConfig, GlimpseClassifier
from draw.data import Images
from draw.evaluation import classify, evaluate, labels_of, likelihood_in_words
from draw.model import DRAW, DRAWConfig
from draw.objectives import elbo, log_probability
from draw.processes import Group

Network = DRAW | GlimpseClassifier
NetworkConfig = DRAWConfig | ClassifierConfig


class Judgement(NamedTuple):
    """How good a network is on some images."""

    nats: float  # mean of what it learns to raise, nats an image
    stderr: float | None  # standard error of the mean over images; None of a single one
    images: int
    also: dict[str, float]  # whatever else is worth a line in the log, by name


class Task(NamedTuple):
    """One kind of learning."""

    goal: str  # what is made as large as can be, nats an image: the log's word for it
    network: Any  # the class; it takes its configuration alone
    noise_shape: Callable[[Any, int], tuple[int, ...]]  # of a minibatch's noise: T, B, ...
    objective: Callable[[Any, Tensor, Tensor, Tensor], Tensor]  # of (network, x, labels, eps): [B]
    judge: Callable[[Any, Images, int, Group], Judgement]  # of (network, images, seed, group)
    check: Callable[[Any, Images], None]  # refuses (configuration, images) that do not go together


def _bound(model: DRAW, x: Tensor, labels: Tensor, eps: Tensor) -> Tensor:
    return elbo(model(x, eps=eps))


def _judge_bound(model: DRAW, images: Images, seed: int, group: Group) -> Judgement:
    result = evaluate(model, images, seed=seed, group=group)
    also = {"kl_nats": result.kl_nats}
    return Judgement(result.elbo_nats, result.elbo_stderr, result.images, also)


def _check_likelihood(config: DRAWConfig, images: Images) -> None:
    likelihood_in_words(config, images)  # which refuses what does not go together


def _answer(model: GlimpseClassifier, x: Tensor, labels: Tensor, eps: Tensor) -> Tensor:
    return log_probability(model(x), labels)


def _judge_answer(model: GlimpseClassifier, images: Images, seed: int, group: Group) -> Judgement:
    result = classify(model, images, seed=seed, group=group)
    nats, stderr = result.log_likelihood_nats, result.log_likelihood_stderr
    return Judgement(nats, stderr, result.images, {"error": result.error})


def _check_labels(config: ClassifierConfig, images: Images) -> None:
    labels_of(images, config.classes)  # which refuses what does not go together


PAINTING = Task(
    goal="elbo",
    network=DRAW,
    noise_shape=lambda config, B: (config.glimpses, B, config.latent_size),
    objective=_bound,
    judge=_judge_bound,
    check=_check_likelihood,
)
CLASSIFYING = Task(
    goal="log_likelihood",
    network=GlimpseClassifier,
    noise_shape=lambda config, B: (0, B),
    objective=_answer,
    judge=_judge_answer,
    check=_check_labels,
)

TASKS: dict[type, Task] = {DRAWConfig: PAINTING, ClassifierConfig: CLASSIFYING}
