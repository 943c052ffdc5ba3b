"""The bounds of a model on a set of images."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from draw.data import Images
from draw.model import DRAW
from draw.objectives import bits_per_dim, elbo, log_weight

ROWS = 512  # trajectories that run side by side; bounds the memory, whatever k is


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

    Trajectories are run in chunks, so memory does not grow with k: k = 5,000 is a matter of
    patience only.

    Args:
        samples: trajectories an image over which the ELBO is averaged.
        seed: decides the noise and a dynamic binarisation.
        progress: called with (images done, images in all).

    >>> from draw.data import load
    >>> from draw.model import DRAWConfig
    >>> digits = load("digits5k", "valid").subset(8)
    >>> result = evaluate(DRAW(DRAWConfig(glimpses=2)), digits, importance_samples=4)
    >>> result.images, result.importance_samples
    (8, 4)
    """
    device = model.canvas_0.device
    noise = Generator(device).manual_seed(seed)
    binariser = Generator().manual_seed(seed)
    parts: dict[str, list[Tensor]] = {"elbo": [], "log_likelihood": [], "kl": [], "iwae": []}
    for indices in torch.split(torch.arange(len(images)), ROWS):
        x = images.batch(indices, binariser).to(device)
        traces = [model(x, generator=noise) for _ in range(samples)]
        parts["elbo"].append(torch.stack([elbo(t) for t in traces]).mean(0))
        parts["log_likelihood"].append(torch.stack([t.log_likelihood for t in traces]).mean(0))
        parts["kl"].append(torch.stack([t.kl for t in traces]).mean(0).T)  # [B, T]
        if importance_samples:
            parts["iwae"].append(_iwae(model, x, importance_samples, noise))
        if progress:
            progress(int(indices[-1]) + 1, len(images))
    mean, stderr = _mean_and_stderr(parts["elbo"])
    kl_by_step = torch.cat(parts["kl"]).double().mean(0)
    result = Evaluation(
        images=len(images),
        samples=samples,
        elbo_nats=mean,
        elbo_stderr=stderr,
        log_likelihood_nats=_mean_and_stderr(parts["log_likelihood"])[0],
        kl_nats=float(kl_by_step.sum()),
        kl_nats_by_step=tuple(kl_by_step.tolist()),
        bits_per_dim=(
            None if images.binarisation == "none" else bits_per_dim(mean, math.prod(images.shape))
        ),
        importance_samples=importance_samples,
    )
    if not importance_samples:
        return result
    mean, stderr = _mean_and_stderr(parts["iwae"])
    return Evaluation(**(vars(result) | {"iwae_nats": mean, "iwae_stderr": stderr}))


def _iwae(model: DRAW, x: Tensor, k: int, noise: Generator) -> Tensor:
    """log 1/k sum_i w_i for each image [B], over chunks of trajectories (Burda et al., eq. 8)."""
    total = torch.full((len(x),), -math.inf, device=x.device)
    copies = max(1, ROWS // len(x))
    for done in range(0, k, copies):
        now = min(copies, k - done)
        log_weights = log_weight(model(x.repeat(now, 1, 1, 1), generator=noise)).view(now, -1)
        total = torch.logaddexp(total, log_weights.logsumexp(0))
    return total - math.log(k)


def _mean_and_stderr(parts: list[Tensor]) -> tuple[float, float | None]:
    values = torch.cat(parts).double()
    if len(values) == 1:
        return float(values), None
    return float(values.mean()), float(values.std()) / math.sqrt(len(values))
