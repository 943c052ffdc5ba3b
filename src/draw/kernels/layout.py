"""Data that the CPU and GPU engines share: weights, sizes and results."""

import functools
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from draw.attention import Window
from draw.likelihoods import LIKELIHOODS

INITIAL_STATE = ("canvas_0", "h_enc_0", "c_enc_0", "h_dec_0", "c_dec_0")


class Weights(NamedTuple):
    """The parameters in the layout of the engines; gradients have the same shapes and order.

    Without read attention the encoder sees the same x at every glimpse (eq. 17). The contribution
    of x to its gates is then computed once and added to the bias, which becomes one row per image,
    and r_t consists of the error image only.
    """

    W_enc: Tensor | None  # [4 hidden, hidden + r + hidden]: columns of h_dec, r, h_enc
    b_enc: Tensor | None  # [4 hidden]; without read attention [B, 4 hidden]
    W_post: Tensor | None
    b_post: Tensor | None
    W_dec: Tensor  # [4 hidden, Z + hidden]
    b_dec: Tensor
    W_out: Tensor  # [w + 5 + 5, hidden]: patch, write window, read window of the next glimpse
    b_out: Tensor
    canvas_0: Tensor
    h_enc_0: Tensor
    c_enc_0: Tensor
    h_dec_0: Tensor
    c_dec_0: Tensor

    @classmethod
    def of(cls, model: Any, x: Tensor | None) -> "Weights":
        """Arrange a model's parameters with differentiable operations, for autograd.

        Args:
            x: the images; None to leave out the encoder.
        """
        enc, dec = model.encoder, model.decoder
        encoder: tuple[Tensor | None, ...] = (None, None, None, None)
        if x is not None:
            r = enc.weight_ih.shape[1] - model.config.hidden_size
            W_r, W_h_dec = enc.weight_ih[:, :r], enc.weight_ih[:, r:]
            b_enc = enc.bias_ih + enc.bias_hh
            if model.config.read_size is None:
                W_x, W_r = W_r.chunk(2, dim=1)
                b_enc = torch.addmm(b_enc, x.flatten(1), W_x.t())
            W_enc = torch.cat([W_h_dec, W_r, enc.weight_hh], 1)
            encoder = (W_enc, b_enc, model.posterior.weight, model.posterior.bias)
        out = [m for m in (model.patch, model.write_window, model.read_window) if m is not None]
        weights = (
            *encoder,
            torch.cat([dec.weight_ih, dec.weight_hh], 1),
            dec.bias_ih + dec.bias_hh,
            torch.cat([linear.weight for linear in out]),
            torch.cat([linear.bias for linear in out]),
            *(getattr(model, name) for name in INITIAL_STATE),
        )
        return cls._make(w if w is None else w.contiguous() for w in weights)


@functools.lru_cache(maxsize=64)
def parameter_shapes(config: Any) -> dict[str, tuple[int, ...]]:
    """Return the shape of each parameter that the engines expect, by name."""
    hidden, n_read = config.hidden_size, config.read_size
    lstms, linears = {}, {} if n_read is None else {"read_window": 5}
    shapes: dict[str, tuple[int, ...]] = {}
    if config.network == "GlimpseClassifier":
        shapes |= dict.fromkeys(("h_0", "c_0"), (hidden,))
        lstms["cell"] = config.channels * n_read**2
        linears["head"] = config.classes
    else:
        (K, H, W), Z, n_write = config.canvas_shape, config.latent_size, config.write_size
        shapes |= dict.fromkeys(INITIAL_STATE, (hidden,)) | {"canvas_0": (K, H, W)}
        r = 2 * config.channels * (H * W if n_read is None else n_read**2)
        lstms |= {"encoder": r + hidden, "decoder": Z}
        linears |= {"posterior": 2 * Z, "patch": K * (H * W if n_write is None else n_write**2)}
        linears |= {} if n_write is None else {"write_window": 5}
    for name, inputs in lstms.items():
        shapes |= {f"{name}.weight_ih": (4 * hidden, inputs), f"{name}.bias_ih": (4 * hidden,)}
        shapes |= {f"{name}.weight_hh": (4 * hidden, hidden), f"{name}.bias_hh": (4 * hidden,)}
    for name, outputs in linears.items():
        shapes |= {f"{name}.weight": (outputs, hidden), f"{name}.bias": (outputs,)}
    return shapes


@dataclass(frozen=True)
class Shape:
    """The sizes of one call. A patch size of 0 means no attention."""

    T: int
    B: int
    C: int
    K: int  # channels of the canvas; the first C define the mean image
    H: int
    W: int
    hidden: int
    Z: int
    n_read: int
    n_write: int
    likelihood: str

    @property
    def clamped(self) -> bool:
        """Whether the mean is linear in the canvas, clamped to [0, 1], rather than a sigmoid."""
        return LIKELIHOODS[self.likelihood].clamped

    @property
    def error_scale(self) -> int:
        """The factor of the error image x_hat, a power of two."""
        return LIKELIHOODS[self.likelihood].error_scale

    @classmethod
    def of(cls, config: Any, noise: Tensor) -> "Shape":
        T, B, _ = noise.shape
        C, H, W = config.image_shape
        sizes = (T, B, C, config.canvas_shape[0], H, W, config.hidden_size, config.latent_size)
        return cls(*sizes, config.read_size or 0, config.write_size or 0, config.likelihood)


class Results(NamedTuple):
    """The results of a call; mu, log_sigma and kl are None without an encoder."""

    canvas: Tensor  # [B, K, H, W], c_T
    z: Tensor  # [T, B, Z]
    mu: Tensor | None
    log_sigma: Tensor | None
    kl: Tensor | None  # [T, B]


class RecordedGlimpses(NamedTuple):
    """The canvas and the window parameters of every glimpse."""

    canvases: Tensor  # [T, B, K, H, W]
    read_params: Tensor | None  # [T, B, 5]
    write_params: Tensor | None


def windows(params: Tensor | None, config: Any, n: int | None) -> Window | None:
    """Convert recorded window parameters to a `Window` with fields [T, B]."""
    if params is None or n is None:
        return None
    return Window.from_params(params, config.height, config.width, n)
