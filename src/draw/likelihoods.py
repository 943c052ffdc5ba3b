"""What the canvas means: the distribution D(x | c_T) of eq. 9.

Each likelihood says how many channels of the canvas it wants for one of the image, what the
canvas looks like as a picture, and how likely it makes an image. They are listed in `LIKELIHOODS`.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, logsigmoid, softsign

LEVELS = 256  # of a pixel in one channel: k / 255 for k from 0 to 255
HALF = 1 / (2 * (LEVELS - 1))  # of the distance between two of them
SCALE = 0.1  # of the logistic where the canvas is zero, in units of the whole range,
REACH = 7.0  # and how far log s can go from there


class Bernoulli:
    """The paper's: the canvas is a logit for each pixel and channel, and D has mean sigmoid(c).

    Note:
        For pixels strictly between 0 and 1 (grey or colour intensities) the log likelihood is the
        cross entropy that the paper uses for SVHN and CIFAR, where each intensity counts as a
        probability. It is then not a density of x, and no bits per dimension follow from it.
    """

    planes = 1  # channels of the canvas for each of the image
    clamped = False  # the mean is a sigmoid; the engines have it of their own

    def mean(self, canvas: Float[Tensor, "*batch C H W"]) -> Float[Tensor, "*batch C H W"]:
        """The mean picture, in [0, 1]: what the encoder compares with, what is shown."""
        return torch.sigmoid(canvas)

    def log_likelihood(
        self, x: Float[Tensor, "*batch C H W"], canvas: Float[Tensor, "*batch C H W"]
    ) -> Float[Tensor, "*batch"]:
        """log D(x | c), nats an image; `-L_x` of eq. 9. Works on logits, so it cannot overflow.

        >>> float(Bernoulli().log_likelihood(torch.ones(1, 1, 2), torch.zeros(1, 1, 2)))
        -1.3862943649291992
        """
        nats = binary_cross_entropy_with_logits(canvas, x, reduction="none")
        return -nats.sum(dim=(-3, -2, -1))  # -L_x of eq. 9


class DiscretisedLogistic:
    """256 levels of intensity: a logistic distribution cut into bins (Salimans et al. 2017, 2.1).

    The first C of the canvas's 2C channels give the location mu = 1/2 + c/4, the others the scale
    s. Level k has the mass from (k - 1/2)/255 to (k + 1/2)/255; black also has all below and white
    all above, so the 256 masses sum to one. The bound is then one on true outcomes, and bits per
    dimension follow from it.

    Note:
        The canvas is a sum of strokes, and its values run far away early in a training; wherever
        they are, their gradients must lead back. So mu is linear, with the slope of the Bernoulli's
        sigmoid at zero: behind a sigmoid, grey digits taught the latents nothing. And log s =
        log 0.1 + c / (1 + |c|/7): s is 0.1 where c is 0, stays between 0.0001 and 110, and its
        slope falls no faster than 1/c^2.
    """

    planes = 2
    clamped = True  # the mean is a line that is cut off

    def mean(self, canvas: Float[Tensor, "*batch K H W"]) -> Float[Tensor, "*batch K//2 H W"]:
        """The location as a picture, in [0, 1].

        It is the median of the levels, and their mean but for what is cut off at black and white.
        """
        return (0.5 + canvas.chunk(2, dim=-3)[0] / 4).clamp(0, 1)

    def log_likelihood(
        self, x: Float[Tensor, "*batch C H W"], canvas: Float[Tensor, "*batch 2*C H W"]
    ) -> Float[Tensor, "*batch"]:
        """log D(x | c), nats an image; `-L_x` of eq. 9.

        With F = sigmoid and edges a > b, F(a) - F(b) = F(a) F(-b) (1 - exp(b - a)): a product, of
        which every factor has a finite logarithm.

        Args:
            x: levels, k / 255.

        >>> x = torch.arange(256).view(256, 1, 1, 1) / 255  # every level of a single pixel
        >>> canvas = torch.tensor([2.0, -1.0]).view(1, 2, 1, 1).expand(256, 2, 1, 1)
        >>> float(DiscretisedLogistic().log_likelihood(x, canvas).exp().sum().round(decimals=4))
        1.0
        """
        location, stretch = canvas.chunk(2, dim=-3)
        mu = 0.5 + location / 4
        log_s = math.log(SCALE) + REACH * softsign(stretch / REACH)
        precision = torch.exp(-log_s)  # 1 / s
        below = logsigmoid((x + HALF - mu) * precision)  # log of the mass up to the upper edge
        above = logsigmoid((mu - x + HALF) * precision)  # and of that from the lower edge on
        between = below + above + torch.log(-torch.expm1(-2 * HALF * precision))
        nats = torch.where(x < HALF, below, torch.where(x > 1 - HALF, above, between))
        return nats.sum(dim=(-3, -2, -1))


Likelihood = Bernoulli | DiscretisedLogistic
LIKELIHOODS: dict[str, Likelihood] = {
    "bernoulli": Bernoulli(),
    "logistic": DiscretisedLogistic(),
}
