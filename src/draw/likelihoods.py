"""The distributions D(x | c_T) of eq. 9, listed in `LIKELIHOODS`.

Each likelihood defines how many canvas channels an image needs, the mean picture of a canvas, the
scale of the error image, the log likelihood of an image, and how to sample one. The first C canvas
channels hold the mean.
"""

import math

import torch
from jaxtyping import Float
from torch import Generator, Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, logsigmoid, softsign

LEVELS = 256  # intensities k / 255 with k from 0 to 255
HALF = 1 / (2 * (LEVELS - 1))  # half the distance between two levels
INITIAL_SCALE = 0.1  # logistic scale s where the canvas is zero, in units of the full range
MAX_LOG_SCALE = 7.0  # bound on |log s - log INITIAL_SCALE|


class Bernoulli:
    """The paper's likelihood: the canvas holds logits, and D has mean sigmoid(c).

    Note:
        For intensities strictly between 0 and 1 the log likelihood is the cross entropy that the
        paper uses for SVHN and CIFAR, which treats each intensity as a probability. It is not a
        density of x and cannot be converted to bits per dimension.
    """

    clamped = False  # the mean is a sigmoid; the fused engines read this
    error_scale = 1  # eq. 3: x_hat = error_scale (x - mean)

    def canvas_channels(self, channels: int) -> int:
        """Return the number of canvas channels K of images with C channels."""
        return channels

    def mean(self, canvas: Float[Tensor, "*batch C H W"]) -> Float[Tensor, "*batch C H W"]:
        """Return the mean image in [0, 1], which eq. 3 subtracts and figures show."""
        return torch.sigmoid(canvas)

    def log_likelihood(
        self, x: Float[Tensor, "*batch C H W"], canvas: Float[Tensor, "*batch C H W"]
    ) -> Float[Tensor, "*batch"]:
        """Compute log D(x | c) in nats per image (`-L_x` of eq. 9), from logits.

        >>> float(Bernoulli().log_likelihood(torch.ones(1, 1, 2), torch.zeros(1, 1, 2)))
        -1.3862943649291992
        """
        nats = binary_cross_entropy_with_logits(canvas, x, reduction="none")
        return -nats.sum(dim=(-3, -2, -1))  # -L_x of eq. 9

    def sample(
        self, canvas: Float[Tensor, "*batch C H W"], generator: Generator | None = None
    ) -> Float[Tensor, "*batch C H W"]:
        """Sample binary pixels from D(X | c) (eq. 16)."""
        return torch.bernoulli(self.mean(canvas), generator=generator)


class DiscretisedLogistic:
    """A logistic distribution discretised to 256 intensities (Salimans et al. 2017, 2.1).

    The first C canvas channels give the location mu = 1/2 + c/4, the next C the scale s.
    Level k has the mass between (k - 1/2)/255 and (k + 1/2)/255; black also has all mass below and
    white all mass above, so that the 256 masses sum to one. The bound is therefore a bound on the
    probability of discrete outcomes, and can be converted to bits per dimension.

    Note:
        The canvas is a sum of strokes, and its values grow large early in training; gradients must
        not vanish there. So mu is linear in c, with the slope of a sigmoid at zero: with a sigmoid,
        the latents learned nothing from grey digits. And log s = log 0.1 + c / (1 + |c|/7): s is
        0.1 for c = 0, stays between 0.0001 and 110, and its slope falls no faster than 1/c^2.

        Unlike in the paper, the error image is multiplied by 8, because for photographs it soon
        becomes much smaller than the intensities that the encoder reads beside it.
    """

    clamped = True
    error_scale = 8  # a power of two, so that the engines can divide by it without rounding

    def canvas_channels(self, channels: int) -> int:
        """Return the number of canvas channels K of images with C channels."""
        return 2 * channels

    def mean(self, canvas: Float[Tensor, "*batch K H W"]) -> Float[Tensor, "*batch C H W"]:
        """Return the location mu as a picture in [0, 1].

        It is the median of the distribution, and its mean except for mass clipped at 0 and 1.
        """
        return self._split(canvas)[0].clamp(0, 1)

    def log_likelihood(
        self, x: Float[Tensor, "*batch C H W"], canvas: Float[Tensor, "*batch K H W"]
    ) -> Float[Tensor, "*batch"]:
        """Compute log D(x | c) in nats per image (`-L_x` of eq. 9).

        With F = sigmoid and bin edges a > b, F(a) - F(b) = F(a) F(-b) (1 - exp(b - a)): a product
        whose factors all have finite logarithms.

        Args:
            x: intensities k / 255.

        >>> x = torch.arange(256).view(256, 1, 1, 1) / 255  # every level of a single pixel
        >>> canvas = torch.tensor([2.0, -1.0]).view(1, 2, 1, 1).expand(256, 2, 1, 1)
        >>> float(DiscretisedLogistic().log_likelihood(x, canvas).exp().sum().round(decimals=4))
        1.0
        """
        mu, log_s, coupling = self._split(canvas)
        mu = self._couple(x, mu, coupling)
        precision = torch.exp(-log_s)  # 1 / s
        below = logsigmoid((x + HALF - mu) * precision)  # log of the mass below the upper edge
        above = logsigmoid((mu - x + HALF) * precision)  # log of the mass above the lower edge
        between = below + above + torch.log(-torch.expm1(-2 * HALF * precision))
        nats = torch.where(x < HALF, below, torch.where(x > 1 - HALF, above, between))
        return nats.sum(dim=(-3, -2, -1))

    def sample(
        self, canvas: Float[Tensor, "*batch K H W"], generator: Generator | None = None
    ) -> Float[Tensor, "*batch C H W"]:
        """Sample intensities k / 255 from D(X | c) (eq. 16), one channel after the other."""
        mu, log_s, coupling = self._split(canvas)
        u = torch.rand(mu.shape, generator=generator, dtype=mu.dtype, device=mu.device)
        noise = log_s.exp() * u.logit()
        x = mu
        for channel in range(mu.shape[-3]):  # each depends on those before it
            values = (self._couple(x, mu, coupling) + noise).select(-3, channel)
            levels = ((LEVELS - 1) * values.clamp(0, 1)).round() / (LEVELS - 1)
            x = x.select_scatter(levels, -3, channel)
        return x

    def _split(self, canvas: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return mu and log s, [..., C, H, W], and the remaining channels of the canvas."""
        K = canvas.shape[-3]
        C = next(C for C in range(1, K + 1) if self.canvas_channels(C) == K)
        location, stretch, coupling = torch.split(canvas, [C, C, K - 2 * C], dim=-3)
        log_s = math.log(INITIAL_SCALE) + MAX_LOG_SCALE * softsign(stretch / MAX_LOG_SCALE)
        return 0.5 + location / 4, log_s, coupling

    def _couple(self, x: Tensor, mu: Tensor, coupling: Tensor) -> Tensor:
        """Return the location of each channel given the channels before it: here mu."""
        return mu


class CoupledLogistic(DiscretisedLogistic):
    """A discretised logistic whose channels depend on each other (after Salimans et al. 2017, 2.2).

    Green and blue are correlated with the residuals of the channels before them:

        mu_R, mu_G + a (R - m_R), mu_B + b (R - m_R) + c (G - m_G)

    where m is mu clamped to [0, 1], the mean picture.

    The remaining canvas channels give the coefficients, one per pair of channels, as
    tanh(c/4 + 1/2), which is 0.46 where the canvas is zero. The masses of all colours of a pixel
    sum to one. For grey images, it is the discretised logistic.

    Note:
        Salimans et al. 2017 add multiples of R and G themselves. With residuals, the first canvas
        channels remain the picture that eq. 3 subtracts.
    """

    def canvas_channels(self, channels: int) -> int:
        """Return the number of canvas channels K of images with C channels."""
        return 2 * channels + channels * (channels - 1) // 2

    def _couple(self, x: Tensor, mu: Tensor, coupling: Tensor) -> Tensor:
        residuals = (x - mu.clamp(0, 1)).unbind(-3)
        coefficients = iter(torch.tanh(coupling / 4 + 0.5).unbind(-3))
        locations = list(mu.unbind(-3))
        for channel in range(len(locations)):
            for before in range(channel):
                locations[channel] = locations[channel] + next(coefficients) * residuals[before]
        return torch.stack(locations, dim=-3)


# the type of `model.likelihood` and `trace.likelihood`
Likelihood = Bernoulli | DiscretisedLogistic | CoupledLogistic
LIKELIHOODS: dict[str, Likelihood] = {
    "bernoulli": Bernoulli(),
    "logistic": DiscretisedLogistic(),
    "coupled-logistic": CoupledLogistic(),
}
