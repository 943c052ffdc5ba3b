"""What the canvas means: the distribution D(x | c_T) of eq. 9.

The canvas is a logit for each pixel and channel, and D is Bernoulli with mean sigmoid(c_T).
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits


def mean(canvas: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
    """The mean picture of a canvas, in [0, 1]: what the encoder compares with, what is shown."""
    return torch.sigmoid(canvas)


def log_likelihood(
    x: Float[Tensor, "*batch C H W"], canvas: Float[Tensor, "*batch C H W"]
) -> Float[Tensor, "*batch"]:
    """log D(x | c), in nats an image; `-L_x` of eq. 9. Computed on logits, so it cannot overflow.

    Note:
        For pixels strictly between 0 and 1 (grey or colour intensities) this is the cross
        entropy that the paper uses for SVHN and CIFAR, where each intensity counts as a
        probability. It is then not a density of x, and no bits per dimension follow from it.

    >>> float(log_likelihood(torch.ones(1, 1, 2), torch.zeros(1, 1, 2)))  # 2 log(1/2)
    -1.3862943649291992
    """
    nats = binary_cross_entropy_with_logits(canvas, x, reduction="none")
    return -nats.sum(dim=(-3, -2, -1))
