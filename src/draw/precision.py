"""Mixed precision: the LSTMs' matrix products in bfloat16, all else in float32.

bfloat16 has the range of float32 and 8 of its 24 bits. The LSTMs do nine tenths of the work and
bear the rounding; windows, canvases and likelihoods do not.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import linear

States = tuple[Float[Tensor, "B hidden"], Float[Tensor, "B hidden"]]  # h and c


class BFloat16LSTMCell(nn.LSTMCell):
    """`nn.LSTMCell` with products of bfloat16 factors; weights, gates and states are float32.

    Note:
        `torch.autocast` ends at the products. Around the whole cell it would, on a GPU, round the
        cell's state at every step; around the whole network also windows and filters. Weights are
        rounded at each step anew, so that their gradients over the steps add up in float32.
    """

    def forward(self, x: Float[Tensor, "B I"], state: States) -> States:  # type: ignore[override]
        """The next h and c, from the last."""
        h, c = state
        with torch.autocast(x.device.type, torch.bfloat16):
            of_x, of_h = linear(x, self.weight_ih), linear(h, self.weight_hh)
        gates = of_x.float() + of_h.float() + self.bias_ih + self.bias_hh  # [B, 4 hidden]
        i, f, g, o = gates.chunk(4, dim=1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        return o.sigmoid() * c.tanh(), c


def multiply_in_bf16(network: nn.Module) -> None:
    """Give a network's LSTM cells products of bfloat16 factors; its weights remain its own.

    >>> network = nn.Sequential(nn.LSTMCell(3, 2))
    >>> multiply_in_bf16(network)
    >>> network
    Sequential(
      (0): BFloat16LSTMCell(3, 2)
    )
    """
    for layer in network.modules():
        if isinstance(layer, nn.LSTMCell):
            layer.__class__ = BFloat16LSTMCell
