"""The bounds of a model on a set of images."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from draw.data import Images
from draw.model import DRAW, Trace
from draw.objectives import bits_per_dim, elbo, log_weight, of_an_encoded

ROWS = 512  # trajectories that run side by side, at most,
ELEMENTS = 2**21  # and their pixels times channels, at most: they bound the memory


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Bounds on log p(x) in nats an image, means over the images; higher is better."""

    images: int
    samples: int  # trajectories an image in the ELBO
    elbo_nats: float
    elbo_stderr: float | None  # standard error of the mean over images; None of a single one
    log_likelihood_nats: float  # the two parts of the ELBO: -L_x,
    kl_nats: float  # and L_z
    kl_nats_by_step: tuple[float, ...]
    bits_per_dim: float | None  # of the ELBO; None where pixels are intensities, not outcomes
    importance_samples: int  # k; 0 if the importance-weighted bound was not asked for
    iwae_nats: float | None = None
    iwae_stderr: float | None = None


@torch.no_grad()
def evaluate(
    model: DRAW,
    images: Images,
    *,
    samples: int = 1,
    importance_samples: int = 0,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """The ELBO, and with `importance_samples` = k the IWAE bound, of a model on images.

    Trajectories are run in chunks, so memory grows neither with k nor with the samples:
    k = 5,000 is a matter of patience only.

    Args:
        samples: trajectories an image over which the ELBO is averaged.
        seed: decides the noise and a dynamic binarisation.
        progress: called with (trajectories done, trajectories in all).

    >>> from draw.data import load
    >>> from draw.model import DRAWConfig
    >>> digits = load("digits5k", "valid").subset(8)
    >>> result = evaluate(DRAW(DRAWConfig(glimpses=2)), digits, importance_samples=4)
    >>> result.images, result.importance_samples
    (8, 4)
    """
    noise = Generator(model.device).manual_seed(seed)
    binariser = Generator().manual_seed(seed)
    rows = max(1, min(ROWS, ELEMENTS // math.prod(images.shape)))
    done, total = 0, len(images) * (samples + importance_samples)

    def run(x: Tensor) -> Trace:
        nonlocal done
        trace: Trace = model(x, generator=noise)
        done += len(x)
        if progress:
            progress(done, total)
        return trace

    elbos, log_likelihoods, kls, iwaes = [], [], [], []
    for indices in torch.split(torch.arange(len(images)), rows):
        x = images.batch(indices, binariser).to(model.device)
        sums = _elbo_terms(run(x))
        for _ in range(samples - 1):
            sums = [a + b for a, b in zip(sums, _elbo_terms(run(x)), strict=True)]
        bound, log_likelihood, kl = (value / samples for value in sums)
        elbos.append(bound)
        log_likelihoods.append(log_likelihood)
        kls.append(kl)
        if importance_samples:
            iwaes.append(_iwae(run, x, importance_samples, rows))

    elbo_nats, elbo_stderr = _mean_and_stderr(elbos)
    iwae_nats, iwae_stderr = _mean_and_stderr(iwaes) if iwaes else (None, None)
    kl_by_step = torch.cat(kls, dim=1).double().mean(1)
    discrete = images.binarisation != "none"
    return Evaluation(
        images=len(images),
        samples=samples,
        elbo_nats=elbo_nats,
        elbo_stderr=elbo_stderr,
        log_likelihood_nats=_mean_and_stderr(log_likelihoods)[0],
        kl_nats=float(kl_by_step.sum()),
        kl_nats_by_step=tuple(kl_by_step.tolist()),
        bits_per_dim=bits_per_dim(elbo_nats, math.prod(images.shape)) if discrete else None,
        importance_samples=importance_samples,
        iwae_nats=iwae_nats,
        iwae_stderr=iwae_stderr,
    )


def _elbo_terms(trace: Trace) -> list[Tensor]:
    """ELBO [B], log likelihood [B] and KL by step [T, B]."""
    return [elbo(trace), *of_an_encoded(trace.log_likelihood, trace.kl)]


def _iwae(run: Callable[[Tensor], Trace], x: Tensor, k: int, rows: int) -> Tensor:
    """log 1/k sum_i w_i for each image [B], over chunks of trajectories (Burda et al., eq. 8)."""
    total = torch.full((len(x),), -math.inf, device=x.device)
    copies = max(1, rows // len(x))
    for done in range(0, k, copies):
        now = min(copies, k - done)
        log_weights = log_weight(run(x.repeat(now, 1, 1, 1))).view(now, -1)  # [now, B]
        total = torch.logaddexp(total, log_weights.logsumexp(0))
    return total - math.log(k)


def _mean_and_stderr(parts: list[Tensor]) -> tuple[float, float | None]:
    values = torch.cat(parts).double()
    if len(values) == 1:
        return float(values), None
    return float(values.mean()), float(values.std()) / math.sqrt(len(values))
