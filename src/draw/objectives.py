"""Bounds on log p(x) from a `Trace`, in nats per image.

Bounds are negative for discrete data and higher is better; the paper reports their negatives.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from draw.errors import TraceError
from draw.trace import Trace


def elbo(trace: Trace) -> Float[Tensor, " B"]:
    """Compute the evidence lower bound with the KL in closed form: -(L_x + L_z) of eq. 12, nats.

    Raises:
        TraceError: if the trace was generated from the prior.

    >>> from draw.model import DRAW, DRAWConfig
    >>> model = DRAW(DRAWConfig(height=8, width=8, glimpses=3, hidden_size=16))
    >>> elbo(model(torch.rand(5, 1, 8, 8))).shape
    torch.Size([5])
    """
    log_likelihood, kl = encoder_terms(trace.log_likelihood, trace.kl)
    return log_likelihood - kl.sum(0)  # eqs. 10, 12


def log_weight(trace: Trace) -> Float[Tensor, " B"]:
    """Compute log p(x, z_1..z_T) - log q(z_1..z_T | x), the log importance weight, nats.

    It uses the noise of the trace, because (z - mu) / sigma loses precision where sigma is small.

    Raises:
        TraceError: if the trace was generated from the prior.
    """
    nats, eps, log_sigma = encoder_terms(trace.log_likelihood, trace.eps, trace.log_sigma)
    log_ratio = (eps**2 - trace.z**2) / 2 + log_sigma  # log p(z) - log q(z), [T, B, Z]
    return nats + log_ratio.sum((0, 2))


def iwae(log_weights: Float[Tensor, "k B"]) -> Float[Tensor, " B"]:
    """Compute the importance-weighted bound from k samples per image (Burda et al. 2016, eq. 8).

    With k = 1 this is the sampled ELBO; in expectation it rises with k towards log p(x). For a k
    that does not fit in memory, see `draw.evaluate`.

    >>> iwae(torch.tensor([[0.0], [math.log(3.0)]])).exp()  # the mean of 1 and 3
    tensor([2.])
    """
    return torch.logsumexp(log_weights, dim=0) - math.log(len(log_weights))


def bits_per_dim(nats: float, dimensions: int) -> float:
    """Convert a bound in nats per image to bits per dimension, lower is better: -nats / (D ln 2).

    Args:
        nats: a bound on log p(x), negative for discrete data.
        dimensions: D, pixels times channels.

    >>> bits_per_dim(-784 * math.log(2), 784)
    1.0
    """
    return -nats / (dimensions * math.log(2))


def encoder_terms(*terms: Tensor | None) -> tuple[Tensor, ...]:
    """Return terms of a trace that only an encoded image has.

    Raises:
        TraceError: if one of them is None because the trace was generated from the prior.
    """
    present = tuple(term for term in terms if term is not None)
    if len(present) < len(terms):
        raise TraceError("a generated trace has no bound; use the trace returned by model(x)")
    return present
