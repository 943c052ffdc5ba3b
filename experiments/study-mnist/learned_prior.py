"""Train DRAW with a learned prior p(z_t | h_dec_{t-1}) instead of N(0, I).

    python learned_prior.py train mnist --model.glimpses 16 ...

The arguments are those of `draw`. It uses the plain loop.
"""

import sys
from typing import Any

import torch
from torch import Tensor, nn

from draw import DRAW, DRAWConfig, zoo
from draw.commands.main import main
from draw.trace import Trace


class LearnedPrior(DRAW):
    """DRAW whose prior is a Gaussian with the mean and scale that the decoder chooses."""

    def __init__(self, config: DRAWConfig) -> None:
        super().__init__(config)
        self.prior = nn.Linear(config.hidden_size, 2 * config.latent_size)
        nn.init.zeros_(self.prior.weight)  # starts as N(0, I)
        nn.init.zeros_(self.prior.bias)

    def forward(
        self, x: Tensor, *, eps: Tensor | None = None, record: bool = False, **options: Any
    ) -> Trace:
        """Encode and reconstruct images; the KL divergence is relative to the learned prior."""
        eps = self._noise(len(x), options.get("generator")) if eps is None else eps
        state, kl, outputs, canvases = self.initial_state(len(x)), [], [], []
        for eps_t in eps:
            prior_mu, prior_log_sigma = self.prior(state.h_dec).chunk(2, dim=1)
            state, output = self.encode_step(x, state, eps_t)
            state, _ = self.decode_step(output.z, state)
            log_ratio = output.log_sigma - prior_log_sigma
            distance = (output.mu - prior_mu) * (-prior_log_sigma).exp()
            kl.append((distance**2 + (2 * log_ratio).exp() - 2 * log_ratio - 1).sum(1) / 2)
            outputs.append(output)
            canvases.append(state.canvas)
        return Trace(
            canvas=state.canvas,
            z=torch.stack([output.z for output in outputs]),
            eps=eps,
            mu=torch.stack([output.mu for output in outputs]),
            log_sigma=torch.stack([output.log_sigma for output in outputs]),
            kl=torch.stack(kl),
            log_likelihood=self.likelihood.log_likelihood(x, state.canvas),
            canvases=torch.stack(canvases) if record else None,
            likelihood=self.likelihood,
        )

    @torch.no_grad()
    def generate(self, count: int, *, record: bool = False, **options: Any) -> Trace:
        """Generate images from the learned prior."""
        state, z, canvases = self.initial_state(count), [], []
        for eps_t in self._noise(count, options.get("generator")):
            mu, log_sigma = self.prior(state.h_dec).chunk(2, dim=1)
            z.append(mu + log_sigma.exp() * eps_t)
            state, _ = self.decode_step(z[-1], state)
            canvases.append(state.canvas)
        return Trace(
            canvas=state.canvas,
            z=torch.stack(z),
            canvases=torch.stack(canvases) if record else None,
            likelihood=self.likelihood,
        )


if __name__ == "__main__":
    zoo.NETWORKS["DRAW"] = LearnedPrior
    DRAWConfig.build = lambda self: LearnedPrior(self)  # type: ignore[method-assign]
    sys.exit(main())
