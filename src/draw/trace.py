"""`State`, the recurrent state between glimpses, and `Trace`, the result of running the network."""

from dataclasses import dataclass
from typing import NamedTuple

from jaxtyping import Float
from torch import Generator, Tensor

from draw.attention import Window
from draw.errors import TraceError
from draw.likelihoods import Likelihood


class State(NamedTuple):
    """The recurrent state between two glimpses."""

    canvas: Tensor  # [B, K, H, W]
    h_enc: Tensor  # [B, hidden]
    c_enc: Tensor  # [B, hidden], cell state of the encoder LSTM
    h_dec: Tensor  # [B, hidden]
    c_dec: Tensor  # [B, hidden], cell state of the decoder LSTM


class EncodeOutput(NamedTuple):
    """The posterior Q(Z_t | h_enc_t) of one glimpse, a sample from it and the read window."""

    mu: Tensor  # [B, Z]
    log_sigma: Tensor  # [B, Z]
    z: Tensor  # [B, Z]
    window: Window | None  # fields [B]; None without attention


@dataclass(kw_only=True, eq=False)
class Trace:
    """The result of running the network for T glimpses.

    Losses, pictures and films are all computed from a trace. Fields of the encoder are None in a
    generated trace; `canvases` and the windows are None unless the trace was made with
    `record=True`, and windows are also None without attention.

    Note:
        The class is not frozen, so that functions which convert the tensors of a data class, such
        as Lightning's `apply_to_collection`, work on it.
    """

    canvas: Float[Tensor, "B K H W"]  # the final canvas c_T
    z: Float[Tensor, "T B Z"]
    likelihood: Likelihood  # of the model
    eps: Float[Tensor, "T B Z"] | None = None  # standard normal noise, z = mu + sigma eps
    mu: Float[Tensor, "T B Z"] | None = None
    log_sigma: Float[Tensor, "T B Z"] | None = None
    kl: Float[Tensor, "T B"] | None = None  # KL(Q_t, P), nats
    log_likelihood: Float[Tensor, " B"] | None = None  # log D(x | c_T), nats
    canvases: Float[Tensor, "T B K H W"] | None = None  # c_1 to c_T
    read_window: Window | None = None  # fields [T, B]
    write_window: Window | None = None  # fields [T, B]
    read_size: int | None = None  # patch size N of the read windows
    write_size: int | None = None  # patch size N of the write windows

    @property
    def mean(self) -> Float[Tensor, "B C H W"]:
        """The final canvas as a picture in [0, 1]: the mean of D(x | c_T), as in the paper."""
        return self.likelihood.mean(self.canvas)  # eq. 16, the mean instead of a sample

    def sample(self, generator: Generator | None = None) -> Float[Tensor, "B C H W"]:
        """Sample pictures from D(x | c_T), pixel by pixel; in general noisier than `mean`."""
        return self.likelihood.sample(self.canvas, generator)  # eq. 16

    @property
    def means(self) -> Float[Tensor, "T B C H W"]:
        """The canvas after every glimpse, as pictures in [0, 1].

        Raises:
            TraceError: if the trace was not recorded.
        """
        if self.canvases is None:
            raise TraceError("this trace holds only the final canvas; make it with record=True")
        return self.likelihood.mean(self.canvases)
