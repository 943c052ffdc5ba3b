"""The bounds of DRAW on a set of images."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor

from draw.data import Images
from draw.errors import ConfigError
from draw.evaluation.kept import Kept
from draw.evaluation.whole_set import ROWS, mean_and_stderr, measure_all
from draw.model import DRAW, DRAWConfig, Trace
from draw.objectives import bits_per_dim, elbo, encoded_terms, iwae, log_weight
from draw.processes import ALONE, Group
from draw.weights import weights_digest

ELEMENTS = 2**21  # pixels times channels that run side by side, at most: they bound the memory
ON_A_GPU = 8  # times as many trajectories there, where k is large: to launch a run takes 15 ms
PART = 2**17  # trajectories measured at a stretch, at most: what a stop loses, minutes on a CPU

# What p(x) is, by the model's likelihood and the images' binarisation; only these go together.
WORDS = {
    ("bernoulli", "static"): "Bernoulli, static binarisation",
    ("bernoulli", "dynamic"): "Bernoulli, dynamic binarisation",
    ("bernoulli", "none"): "Bernoulli, intensities as probabilities (no bits per dimension)",
    ("logistic", "none"): "256 levels, discretised logistic",
}


@dataclass(frozen=True)
class ImportanceBound:
    """The IWAE bound of one k."""

    k: int  # trajectories an image
    nats: float
    stderr: float | None  # standard error of the mean over images; None of a single one


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Bounds on log p(x) in nats an image, means over the images; higher is better."""

    likelihood: str  # what p(x) is, in words
    images: int
    samples: int  # trajectories an image in the ELBO
    elbo_nats: float
    elbo_stderr: float | None  # standard error of the mean over images; None of a single one
    log_likelihood_nats: float  # the two parts of the ELBO: -L_x,
    kl_nats: float  # and L_z
    kl_nats_by_step: tuple[float, ...]
    bits_per_dim: float | None  # of the ELBO; None where pixels are probabilities, not outcomes
    iwae: tuple[ImportanceBound, ...]  # in the order of k; empty if none was asked for


@torch.no_grad()
def evaluate(
    model: DRAW,
    images: Images,
    *,
    samples: int = 1,
    importance_samples: int | Sequence[int] = (),
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
    group: Group = ALONE,
    out: Path | None = None,
) -> Evaluation:
    """The ELBO, and the IWAE bounds that are asked for, of a model on images.

    Trajectories are run in chunks and leave one number each, so k = 5,000 is a matter of patience,
    not of memory.

    Args:
        samples: trajectories an image over which the ELBO is averaged.
        importance_samples: k of the importance-weighted bound, or several. The trajectories of
            the largest serve all: a smaller k is averaged over as many disjoint groups as they
            hold, which is as unbiased as one group and less noisy.
        seed: decides the noise and a dynamic binarisation.
        progress: called with (trajectories done, trajectories in all).
        group: processes that share the images; the result is the same for any number of them.
        out: a folder that keeps the values image by image. Called again with it, an evaluation
            that was stopped goes on, to the same result.

    Raises:
        ConfigError: there are no samples, or the likelihood is not for such images.
        RunError: `out` holds something else, or is damaged.

    >>> from draw.data import load
    >>> from draw.model import DRAWConfig
    >>> digits = load("digits5k", "valid").subset(8)
    >>> result = evaluate(DRAW(DRAWConfig(glimpses=2)), digits, importance_samples=[1, 4])
    >>> result.images, [bound.k for bound in result.iwae]
    (8, [1, 4])
    """
    asked = (importance_samples,) if isinstance(importance_samples, int) else importance_samples
    ks = sorted(set(asked))
    if min(samples, *ks, 1) < 1:
        raise ConfigError(f"{samples} samples and k = {ks} asked for; each must be at least 1")
    likelihood = likelihood_in_words(model.config, images)
    rows = max(1, min(ROWS, ELEMENTS // math.prod(images.shape)))
    per_image = samples + max(ks, default=0)
    images_a_part = max(1, min(rows, PART // per_image))
    shapes = {"elbo": (), "log_likelihood": (), "kl": (model.config.glimpses,)}
    shapes |= {f"iwae_{k}": () for k in ks}
    asked_for = {"samples": samples, "importance_samples": ks, "seed": seed}
    about = asked_for | {"images_a_part": images_a_part}
    kept = None if out is None else Kept(out, _about(model, images) | about, shapes, group)
    done = 0

    def advance(trajectories: int) -> None:
        nonlocal done
        done += trajectories * group.size
        if progress:
            progress(min(done, len(images) * per_image), len(images) * per_image)

    def measure(indices: Tensor, x: Tensor, noise: Generator) -> dict[str, Tensor]:
        def run(x: Tensor) -> Trace:
            trace: Trace = model(x, generator=noise)
            advance(len(x))
            return trace

        sums = _elbo_terms(run(x))
        for _ in range(samples - 1):
            sums = [a + b for a, b in zip(sums, _elbo_terms(run(x)), strict=True)]
        values = [value / samples for value in sums]
        if ks:
            side_by_side = rows * ON_A_GPU if x.is_cuda else rows
            log_weights = _log_weights(run, x, max(ks), side_by_side)
            values += [_mean_of_groups(log_weights, k) for k in ks]
        return dict(zip(shapes, values, strict=True))

    measured = measure_all(
        *(images, images_a_part, seed, model.device, group, measure),
        kept=kept,
        found=lambda count: advance(count * per_image),
    )
    elbo_nats, elbo_stderr = mean_and_stderr(measured["elbo"])
    kl_by_step = measured["kl"].double().mean(1)
    discrete = (model.config.likelihood, images.binarisation) != ("bernoulli", "none")
    return Evaluation(
        likelihood=likelihood,
        images=len(images),
        samples=samples,
        elbo_nats=elbo_nats,
        elbo_stderr=elbo_stderr,
        log_likelihood_nats=mean_and_stderr(measured["log_likelihood"])[0],
        kl_nats=float(kl_by_step.sum()),
        kl_nats_by_step=tuple(kl_by_step.tolist()),
        bits_per_dim=bits_per_dim(elbo_nats, math.prod(images.shape)) if discrete else None,
        iwae=tuple(ImportanceBound(k, *mean_and_stderr(measured[f"iwae_{k}"])) for k in ks),
    )


def likelihood_in_words(config: DRAWConfig, images: Images) -> str:
    """What the p(x) of a model is on images.

    Raises:
        ConfigError: it is not for such images.

    >>> grey = Images(pixels=torch.zeros(5, 1, 28, 28, dtype=torch.uint8))
    >>> likelihood_in_words(DRAWConfig(likelihood="logistic"), grey)
    '256 levels, discretised logistic'
    """
    words = WORDS.get((config.likelihood, images.binarisation))
    if words is None:
        raise ConfigError(
            f"model.likelihood is {config.likelihood!r}, which is of 256 levels of intensity; "
            f"these images have {images.binarisation} binarisation, so it must be bernoulli"
        )
    return words


def _about(model: DRAW, images: Images) -> dict[str, Any]:
    """What decides the values, besides what is asked for."""
    return {
        "model": weights_digest(model),
        "images": images.digest(),
        "binarisation": images.binarisation,
        "device": model.device.type,
        "engine": model.engine,
    }


def _elbo_terms(trace: Trace) -> list[Tensor]:
    """ELBO [B], log likelihood [B] and KL by step [T, B]."""
    return [elbo(trace), *encoded_terms(trace.log_likelihood, trace.kl)]


def _log_weights(run: Callable[[Tensor], Trace], x: Tensor, k: int, rows: int) -> Tensor:
    """log w of k trajectories of each image [k, B], `rows` side by side."""
    copies = max(1, rows // len(x))
    parts = []
    for done in range(0, k, copies):
        now = min(copies, k - done)
        parts.append(log_weight(run(x.repeat(now, 1, 1, 1))).view(now, -1))  # [now, B]
    return torch.cat(parts)


def _mean_of_groups(log_weights: Tensor, k: int) -> Tensor:
    """The IWAE bound of k trajectories [B], the mean over as many groups of k as are there."""
    groups = len(log_weights) // k
    grouped = log_weights[: groups * k].view(k, -1)  # [k, groups * B]
    return iwae(grouped).view(groups, -1).mean(0)
