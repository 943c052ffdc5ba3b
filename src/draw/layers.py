"""The layers of both networks, with their initial values, and the limits on their sizes.

Note:
    The paper gives no initialisation. Forget gates start open, so that cells keep their content.
    With zero window parameters and N = 2, the four read filters would start on the four corners and
    hardly move; the initial window covers the whole image instead.
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
    """Check the sizes of a network configuration.

    Raises:
        ConfigError: if a size is outside its limits.
    """
    present = {name: limits for name, limits in LIMITS.items() if hasattr(config, name)}
    check_limits("model.", config, **present)
    if config.channels == 2:
        raise ConfigError("model.channels is 2; it must be 1 (grey) or 3 (colour)")


@torch.no_grad()
def lstm(inputs: int, hidden: int) -> nn.LSTMCell:
    """Create an LSTM cell with zero biases, except 1 for the forget gates.

    >>> lstm(3, 2).bias_ih.tolist()  # gates in order i, f, g, o
    [0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0]
    """
    cell = nn.LSTMCell(inputs, hidden)
    cell.bias_ih.zero_()
    cell.bias_hh.zero_()
    cell.bias_ih.chunk(4)[1].fill_(1.0)
    return cell


@torch.no_grad()
def window_layer(hidden: int, height: int, width: int, n: int, *, for_write: bool) -> nn.Linear:
    """Create the layer that emits the five parameters of a window (eq. 21).

    Its bias is `attention.full_image_params`.

    >>> layer = window_layer(8, 28, 28, 7, for_write=False)
    >>> round(layer.bias[2].exp().item(), 3)  # sigma is half of the stride of 4, so sigma^2 is 4
    4.0
    """
    layer = nn.Linear(hidden, 5)
    layer.bias.copy_(attention.full_image_params(height, width, n, for_write=for_write))
    return layer
