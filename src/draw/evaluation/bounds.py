"""Evaluate the bounds of DRAW on log p(x), averaged over a set of images."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor

from draw.data import Images
from draw.distributed import SINGLE, World
from draw.errors import ConfigError
from draw.evaluation.batched import (
    MAX_ROWS,
    check_is_images,
    evaluate_batches,
    mean_and_stderr,
)
from draw.evaluation.cache import EvalCache
from draw.inputs import check_network, to_count
from draw.kernels import use_fused
from draw.model import DRAW, DRAWConfig
from draw.objectives import bits_per_dim, elbo, encoder_terms, iwae, log_weight
from draw.storage.tensors import weights_digest
from draw.trace import Trace

MAX_ELEMENTS = 2**21  # pixels times channels evaluated in parallel, which limits memory
GPU_FACTOR = 8  # a GPU evaluates more in parallel, because launching its kernels takes 15 ms
MAX_BATCH_TRAJECTORIES = 2**17  # per batch; an interruption loses at most one batch

# Descriptions of p(x) by (likelihood, binarisation); other combinations are invalid.
DESCRIPTIONS = {
    ("bernoulli", "static"): "Bernoulli, static binarisation",
    ("bernoulli", "dynamic"): "Bernoulli, dynamic binarisation",
    ("bernoulli", "none"): "Bernoulli, intensities as probabilities (no bits per dimension)",
    ("logistic", "none"): "256 levels, discretised logistic",
    ("coupled-logistic", "none"): "256 levels, discretised logistic with coupled channels",
}


@dataclass(frozen=True)
class ImportanceBound:
    """The IWAE bound for one k."""

    k: int  # samples per image
    nats: float  # mean over images, nats per image
    stderr: float | None  # standard error of the mean over images; None for a single image


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Bounds on log p(x), averaged over images, in nats per image; higher is better."""

    likelihood: str  # description of p(x)
    images: int
    samples: int  # samples per image in the ELBO
    elbo_nats: float
    elbo_stderr: float | None  # standard error of the mean over images; None for a single image
    log_likelihood_nats: float  # first part of the ELBO, -L_x
    kl_nats: float  # second part of the ELBO, L_z
    kl_nats_by_step: tuple[float, ...]  # L_z by glimpse
    bits_per_dim: float | None  # ELBO in bits; None if pixels are probabilities
    iwae: tuple[ImportanceBound, ...]  # ordered by k; empty if not requested


@dataclass(frozen=True, kw_only=True, eq=False)
class ImageBounds:
    """Bounds on log p(x) of every image, in nats; higher is better.

    Images unlike those of the training set have low bounds.

    Note:
        The bounds are estimates from different noise. Only their averages over images or samples
        are ordered: the ELBO is lowest, and IWAE bounds rise with k.
    """

    elbo: Tensor  # [n], averaged over the samples
    log_likelihood: Tensor  # [n], first part of the ELBO, -L_x
    kl: Tensor  # [T, n], second part of the ELBO, L_z, by glimpse
    iwae: dict[int, Tensor]  # [n], the IWAE bound for each k


def evaluate(
    model: DRAW,
    images: Images,
    *,
    samples: int = 1,
    importance_samples: int | Sequence[int] = (),
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
    world: World = SINGLE,
    out: Path | None = None,
) -> Evaluation:
    """Evaluate the ELBO, and optionally IWAE bounds, of a model on a set of images.

    Samples are evaluated in chunks, and only one log weight per sample is stored, so memory hardly
    depends on k.

    Args:
        model: the model.
        images: the images.
        samples: samples per image over which the ELBO is averaged.
        importance_samples: one or more values of k for the IWAE bound. All use the samples of the
            largest k; for a smaller k, the bound is averaged over all disjoint groups of k samples,
            which reduces its variance and does not change its expectation.
        seed: random seed for the noise and for dynamic binarisation.
        progress: called with (samples done, total samples).
        world: the processes that share the images; the result does not depend on their number.
        out: a folder for the results of each batch. If a call is interrupted, another one with the
            same arguments resumes from this folder and gives the same result.

    Raises:
        ConfigError: if the model is not a DRAW, `images` is not an `Images`, a sample count is not
            an integer of at least 1, the seed is not an integer of at least 0, or the likelihood is
            incompatible with the images.
        DataError: if there are no images, or the pixels are 0 and 1 instead of 0 and 255.
        RunError: if `out` holds other files or a different evaluation, or is damaged.

    >>> from draw.data import load
    >>> from draw.model import DRAWConfig
    >>> digits = load("digits5k", "valid").subset(8)
    >>> result = evaluate(DRAW(DRAWConfig(glimpses=2)), digits, importance_samples=[1, 4])
    >>> result.images, [bound.k for bound in result.iwae]
    (8, [1, 4])
    """
    bounds = image_bounds(
        *(model, images),
        samples=samples,
        importance_samples=importance_samples,
        seed=seed,
        progress=progress,
        world=world,
        out=out,
    )
    elbo_nats, elbo_stderr = mean_and_stderr(bounds.elbo)
    kl_by_step = bounds.kl.double().mean(1)
    discrete = (model.config.likelihood, images.binarisation) != ("bernoulli", "none")
    return Evaluation(
        likelihood=describe_likelihood(model.config, images),
        images=len(images),
        samples=to_count("samples", samples),
        elbo_nats=elbo_nats,
        elbo_stderr=elbo_stderr,
        log_likelihood_nats=mean_and_stderr(bounds.log_likelihood)[0],
        kl_nats=float(kl_by_step.sum()),
        kl_nats_by_step=tuple(kl_by_step.tolist()),
        bits_per_dim=bits_per_dim(elbo_nats, math.prod(images.shape)) if discrete else None,
        iwae=tuple(ImportanceBound(k, *mean_and_stderr(nats)) for k, nats in bounds.iwae.items()),
    )


@torch.no_grad()
def image_bounds(
    model: DRAW,
    images: Images,
    *,
    samples: int = 1,
    importance_samples: int | Sequence[int] = (),
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
    world: World = SINGLE,
    out: Path | None = None,
) -> ImageBounds:
    """Evaluate the ELBO, and optionally IWAE bounds, of every image of a set.

    `evaluate` averages the result over the images.

    Args:
        model: the model.
        images: the images.
        samples: samples per image over which the ELBO is averaged.
        importance_samples: one or more values of k for the IWAE bound. All use the samples of the
            largest k; for a smaller k, the bound is averaged over all disjoint groups of k samples.
        seed: random seed for the noise and for dynamic binarisation.
        progress: called with (samples done, total samples).
        world: the processes that share the images; the result does not depend on their number.
        out: a folder for the results of each batch. If a call is interrupted, another one with the
            same arguments resumes from this folder and gives the same result.

    Returns:
        The bounds in the order of the images.

    Raises:
        ConfigError: if the model is not a DRAW, `images` is not an `Images`, a sample count is not
            an integer of at least 1, the seed is not an integer of at least 0, or the likelihood is
            incompatible with the images.
        DataError: if there are no images, or the pixels are 0 and 1 instead of 0 and 255.
        RunError: if `out` holds other files or a different evaluation, or is damaged.

    >>> from draw.data import load
    >>> from draw.model import DRAWConfig
    >>> digits = load("digits5k", "valid").subset(8)
    >>> bounds = image_bounds(DRAW(DRAWConfig(glimpses=2)), digits, importance_samples=4)
    >>> bounds.elbo.shape, bounds.kl.shape, bounds.iwae[4].shape
    (torch.Size([8]), torch.Size([2, 8]), torch.Size([8]))
    """
    check_network(model, "DRAW", "; draw.classify evaluates classifiers")
    check_is_images(images)
    several = (
        importance_samples if isinstance(importance_samples, Sequence) else [importance_samples]
    )
    ks = sorted({to_count("importance_samples", k) for k in several})
    samples, seed = to_count("samples", samples), to_count("seed", seed, least=0)
    images.check_usable()  # before anything is written
    describe_likelihood(model.config, images)
    rows = max(1, min(MAX_ROWS, MAX_ELEMENTS // math.prod(images.shape)))
    per_image = samples + max(ks, default=0)
    batch_size = max(1, min(rows, MAX_BATCH_TRAJECTORIES // per_image))
    shapes = {"elbo": (), "log_likelihood": (), "kl": (model.config.glimpses,)}
    shapes |= {f"iwae_{k}": () for k in ks}
    cache = None
    if out is not None:
        settings = {"samples": samples, "importance_samples": ks, "seed": seed}
        settings |= {"images_per_batch": batch_size}
        cache = EvalCache(out, _identity(model, images, batch_size) | settings, shapes, world)
    done, total = 0, len(images) * per_image

    def advance(trajectories: int) -> None:
        nonlocal done
        done = min(done + trajectories * world.size, total)
        if progress:
            progress(done, total)

    def measure(indices: Tensor, x: Tensor, noise: Generator) -> dict[str, Tensor]:
        def run(x: Tensor) -> Trace:
            trace: Trace = model(x, generator=noise)
            advance(len(x))
            return trace

        copies = max(1, rows * (GPU_FACTOR if x.is_cuda else 1) // len(x))  # in parallel
        return dict(zip(shapes, _measure(run, x, samples, ks, copies), strict=True))

    measured = evaluate_batches(
        *(images, batch_size, seed, model.device, world, measure, cache),
        on_cached=lambda count: advance(count * per_image),
    )
    return ImageBounds(
        elbo=measured["elbo"],
        log_likelihood=measured["log_likelihood"],
        kl=measured["kl"],
        iwae={k: measured[f"iwae_{k}"] for k in ks},
    )


def describe_likelihood(config: DRAWConfig, images: Images) -> str:
    """Describe what p(x) is for a model and images.

    Raises:
        ConfigError: if the likelihood is incompatible with the images.

    >>> grey = Images(pixels=torch.zeros(5, 1, 28, 28, dtype=torch.uint8))
    >>> describe_likelihood(DRAWConfig(likelihood="logistic"), grey)
    '256 levels, discretised logistic'
    """
    description = DESCRIPTIONS.get((config.likelihood, images.binarisation))
    if description is None:
        raise ConfigError(
            f"model.likelihood is {config.likelihood!r}, which models 256 intensities; "
            f"these images have {images.binarisation} binarisation, so it must be bernoulli"
        )
    return description


def _identity(model: DRAW, images: Images, batch_size: int) -> dict[str, Any]:
    """Return what determines the results, apart from the other arguments of `evaluate`."""
    eps = torch.empty(model.noise_shape(batch_size), device=model.device)
    x = torch.empty(batch_size, *images.shape, device=model.device)
    return {
        "model": weights_digest(model),
        "images": images.digest(),
        "binarisation": images.binarisation,
        "device": model.device.type,
        "engine": "fused" if use_fused(model, x=x, noise=eps, record=False) else "plain",
    }


def _measure(
    run: Callable[[Tensor], Trace], x: Tensor, samples: int, ks: list[int], copies: int
) -> list[Tensor]:
    """Return the terms of the ELBO, averaged over the samples, and the IWAE bound for each k."""
    sums = _elbo_terms(run(x))
    for _ in range(samples - 1):
        sums = [a + b for a, b in zip(sums, _elbo_terms(run(x)), strict=True)]
    values = [value / samples for value in sums]
    if ks:
        counts = [min(copies, ks[-1] - first) for first in range(0, ks[-1], copies)]
        parts = [log_weight(run(x.repeat(n, 1, 1, 1))).view(n, -1) for n in counts]
        log_weights = torch.cat(parts)  # [k, B]
        values += [_mean_of_groups(log_weights, k) for k in ks]
    return values


def _elbo_terms(trace: Trace) -> list[Tensor]:
    """Return the ELBO [B], the log likelihood [B] and the KL by glimpse [T, B]."""
    return [elbo(trace), *encoder_terms(trace.log_likelihood, trace.kl)]


def _mean_of_groups(log_weights: Tensor, k: int) -> Tensor:
    """Return the IWAE bound for k, averaged over all disjoint groups of k samples, [B]."""
    groups = len(log_weights) // k
    grouped = log_weights[: groups * k].view(k, -1)  # [k, groups * B]
    return iwae(grouped).view(groups, -1).mean(0)
