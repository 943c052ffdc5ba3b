"""What the engines of both devices share: how the weights are laid out, and what a run leaves."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from draw.attention import Window
from draw.likelihoods import LIKELIHOODS


class Weights(NamedTuple):
    """The parameters as an engine wants them; the gradients have the same shapes and order.

    Without read attention the encoder is shown the same x at every step (eq. 17). What its gates
    get of it is computed once and stands in their bias, which is then one for each image; r_t is
    the error image alone.
    """

    W_enc: Tensor | None  # [4 hidden, hidden + r + hidden]: of h_dec, r, h_enc
    b_enc: Tensor | None  # [4 hidden]; without read attention [B, 4 hidden]
    W_post: Tensor | None
    b_post: Tensor | None
    W_dec: Tensor  # [4 hidden, Z + hidden]
    b_dec: Tensor
    W_out: Tensor  # [w + 5 + 5, hidden]: patch, write window, the next step's read window
    b_out: Tensor
    canvas_0: Tensor
    h_enc_0: Tensor
    c_enc_0: Tensor
    h_dec_0: Tensor
    c_dec_0: Tensor

    @classmethod
    def of(cls, model: Any, x: Tensor | None) -> "Weights":
        """Laid out by differentiable operations, so that autograd takes the gradients apart.

        Args:
            x: the images; None leaves the encoder out.
        """
        enc, dec, r = model.encoder, model.decoder, model.encoder.weight_ih.shape[1]
        r -= model.config.hidden_size
        W_r, W_h_dec = enc.weight_ih[:, :r], enc.weight_ih[:, r:]
        b_enc = enc.bias_ih + enc.bias_hh
        if model.config.read_size is None and x is not None:
            W_x, W_r = W_r.chunk(2, dim=1)
            b_enc = torch.addmm(b_enc, x.flatten(1), W_x.t())
        out = [m for m in (model.patch, model.write_window, model.read_window) if m is not None]
        weights = cls(
            W_enc=None if x is None else torch.cat([W_h_dec, W_r, enc.weight_hh], 1),
            b_enc=None if x is None else b_enc,
            W_post=None if x is None else model.posterior.weight,
            b_post=None if x is None else model.posterior.bias,
            W_dec=torch.cat([dec.weight_ih, dec.weight_hh], 1),
            b_dec=dec.bias_ih + dec.bias_hh,
            W_out=torch.cat([linear.weight for linear in out]),
            b_out=torch.cat([linear.bias for linear in out]),
            canvas_0=model.canvas_0,
            h_enc_0=model.h_enc_0,
            c_enc_0=model.c_enc_0,
            h_dec_0=model.h_dec_0,
            c_dec_0=model.c_dec_0,
        )
        return cls._make(w if w is None else w.contiguous() for w in weights)


@dataclass(frozen=True)
class Shape:
    """The sizes of one run; `None` of the two patch sizes is 0 here: without attention."""

    T: int
    B: int
    C: int
    K: int  # channels of the canvas, of which the first C make the mean picture
    H: int
    W: int
    hidden: int
    Z: int
    n_read: int
    n_write: int
    likelihood: str  # what the canvas means

    @property
    def clamped(self) -> bool:
        """Whether the mean picture is a line, cut off at black and white; else a sigmoid."""
        return LIKELIHOODS[self.likelihood].clamped

    @classmethod
    def of(cls, config: Any, noise: Tensor) -> "Shape":
        T, B, _ = noise.shape
        n_read, n_write = config.read_size or 0, config.write_size or 0
        C, H, W = config.image_shape
        return cls(
            *(T, B, C, config.canvas_shape[0], H, W, config.hidden_size, config.latent_size),
            *(n_read, n_write, config.likelihood),
        )


class Results(NamedTuple):
    """What a run leaves; without an encoder there is no posterior."""

    canvas: Tensor  # [B, K, H, W], c_T
    z: Tensor  # [T, B, Z]
    mu: Tensor | None
    log_sigma: Tensor | None
    kl: Tensor | None  # [T, B]


class Recorded(NamedTuple):
    """What only pictures need."""

    canvases: Tensor  # [T, B, K, H, W]
    reads: Tensor | None  # [T, B, 5]
    writes: Tensor | None


def windows(params: Tensor | None, config: Any, n: int | None) -> Window | None:
    """The recorded parameters of T steps as windows."""
    if params is None or n is None:
        return None
    return Window.from_params(params, config.height, config.width, n)
