"""What both networks are made of, how large they may be, and where their learning starts.

Note:
    The paper gives no initialisation. Forget gates start open, so that a cell remembers. With
    window parameters near zero and N = 2 the four read filters would start on the four corners,
    and learning hardly leaves them: the first window covers the image.
"""

from typing import Any

import torch
from torch import nn

from draw import attention
from draw.errors import ConfigError, check_limits

LIMITS = {
    "height": (2, 1024),
    "width": (2, 1024),
    "channels": (1, 3),
    "glimpses": (1, 4096),
    "hidden_size": (1, 8192),
    "latent_size": (1, 8192),
    "read_size": (1, 128),
    "write_size": (1, 128),
    "classes": (2, 100_000),
}


def check_sizes(config: Any) -> None:
    """Refuse the configuration of a network that has a size outside its limits.

    Raises:
        ConfigError: it has.
    """
    present = {name: limits for name, limits in LIMITS.items() if hasattr(config, name)}
    check_limits("model.", config, **present)
    if config.channels == 2:
        raise ConfigError("model.channels is 2; it must be 1 (grey) or 3 (colour)")


@torch.no_grad()
def lstm(inputs: int, hidden: int) -> nn.LSTMCell:
    """An LSTM with forget gates, all biases zero but theirs.

    >>> lstm(3, 2).bias_ih.tolist()  # gates in order i, f, g, o
    [0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0]
    """
    cell = nn.LSTMCell(inputs, hidden)
    cell.bias_ih.zero_()
    cell.bias_hh.zero_()
    cell.bias_ih.chunk(4)[1].fill_(1.0)
    return cell


@torch.no_grad()
def window_layer(hidden: int, height: int, width: int, n: int, *, painting: bool) -> nn.Linear:
    """The layer that emits the five numbers of a window (eq. 21); see `covering_params`.

    >>> layer = window_layer(8, 28, 28, 7, painting=False)
    >>> round(layer.bias[2].exp().item(), 3)  # sigma^2, half of a stride of 4
    4.0
    """
    layer = nn.Linear(hidden, 5)
    layer.bias.copy_(attention.covering_params(height, width, n, painting=painting))
    return layer
