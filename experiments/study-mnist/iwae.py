"""Train with the importance-weighted bound of K samples per image (Burda et al. 2016).

    python iwae.py K train mnist --start-from mnist ...

The arguments after K are those of `draw`. The logged training objective is this bound; validation
still uses the ELBO.
"""

import sys
from typing import Any

from torch import Tensor

from draw import DRAW
from draw.commands.main import main
from draw.objectives import iwae, log_weight
from draw.training.state import TrainState

K = int(sys.argv.pop(1))
create = TrainState.create


def objective(self: DRAW, x: Tensor, labels: Tensor, eps: Tensor) -> Tensor:
    """Return the bound of each image; eps has the shape [K T, B, Z]."""
    glimpses, B = self.config.glimpses, len(x)
    eps = eps.view(K, glimpses, B, -1).transpose(0, 1).reshape(glimpses, K * B, -1)
    weights: Tensor = log_weight(self(x.repeat(K, 1, 1, 1), eps=eps))
    return iwae(weights.view(K, B))


def create_with_more_noise(*args: Any, **options: Any) -> TrainState:
    """Create the state of a run whose model asks for K times as much noise."""
    state = create(*args, **options)
    T, Z = state.model.config.glimpses, state.model.config.latent_size  # type: ignore[union-attr]
    state.model.noise_shape = lambda rows: (K * T, rows, Z)  # type: ignore[method-assign]
    return state


if __name__ == "__main__":
    DRAW.objective = objective  # type: ignore[method-assign]
    TrainState.create = create_with_more_noise  # type: ignore[method-assign]
    sys.exit(main())
