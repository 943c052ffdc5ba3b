"""What is trained and reported, nats an image: bounds on log p(x) from a Trace, log p(label | x).

Signs are honest: a bound is negative and higher is better; the paper's figures are its negative.
"""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy

from draw.classifier import Glimpses
from draw.errors import TraceError
from draw.model import Trace


def elbo(trace: Trace) -> Float[Tensor, " B"]:
    """The evidence lower bound with the KL in closed form: -(L_x + L_z) of eq. 12, nats.

    Raises:
        TraceError: the trace was generated, so nothing was encoded.

    >>> from draw.model import DRAW, DRAWConfig
    >>> model = DRAW(DRAWConfig(height=8, width=8, glimpses=3, hidden_size=16))
    >>> elbo(model(torch.rand(5, 1, 8, 8))).shape
    torch.Size([5])
    """
    log_likelihood, kl = encoded_terms(trace.log_likelihood, trace.kl)
    return log_likelihood - kl.sum(0)  # eqs. 10, 12


def log_weight(trace: Trace) -> Float[Tensor, " B"]:
    """log p(x, z_1..z_T) - log q(z_1..z_T | x): the sampled ELBO, nats, one weight a trajectory.

    The noise is the trace's own: (z - mu) / sigma would lose its digits where sigma is small.

    Raises:
        TraceError: the trace was generated.
    """
    nats, eps, log_sigma = encoded_terms(trace.log_likelihood, trace.eps, trace.log_sigma)
    log_ratio = (eps**2 - trace.z**2) / 2 + log_sigma  # log p(z) - log q(z), [T, B, Z]
    return nats + log_ratio.sum((0, 2))


def iwae(log_weights: Float[Tensor, "k B"]) -> Float[Tensor, " B"]:
    """The importance-weighted bound of k trajectories an image (Burda et al. 2016, eq. 8).

    With k = 1 it is the sampled ELBO; it rises with k towards log p(x). To use k trajectories
    without holding them at once, see `draw.evaluation.evaluate`.

    >>> iwae(torch.tensor([[0.0], [math.log(3.0)]])).exp()  # the mean of 1 and 3
    tensor([2.])
    """
    return torch.logsumexp(log_weights, dim=0) - math.log(len(log_weights))


def log_probability(glimpses: Glimpses, labels: Int[Tensor, " B"]) -> Float[Tensor, " B"]:
    """log p(label | x) after the last glimpse, nats an image: what a classifier learns to raise.

    >>> from draw.classifier import ClassifierConfig, GlimpseClassifier
    >>> model = GlimpseClassifier(ClassifierConfig(height=20, width=20, glimpses=3))
    >>> log_probability(model(torch.rand(5, 1, 20, 20)), torch.tensor([0, 1, 2, 3, 9])).shape
    torch.Size([5])
    """
    return -cross_entropy(glimpses.logits[-1], labels, reduction="none")


def bits_per_dim(nats: float, dimensions: int) -> float:
    """A bound in nats an image as bits a dimension, lower is better: -nats / (D ln 2).

    Args:
        nats: a bound on log p(x), negative for discrete data.
        dimensions: pixels times channels.

    >>> bits_per_dim(-784 * math.log(2), 784)
    1.0
    """
    return -nats / (dimensions * math.log(2))


def encoded_terms(*terms: Tensor | None) -> tuple[Tensor, ...]:
    """These terms of a trace, none of which is None if it encoded images.

    Raises:
        TraceError: one is, as the trace was generated.
    """
    present = tuple(term for term in terms if term is not None)
    if len(present) < len(terms):
        raise TraceError("a generated trace has no bound; take the trace of model(x)")
    return present
