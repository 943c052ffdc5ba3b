"""One glimpse on the GPU: five kernels forward and five backward, without synchronisation.

Each function launches the kernels of one part of a glimpse, and its gradient follows it. A launch
passes its arguments in the order of the kernel's signature.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from draw.kernels.gpu import canvas, products
from draw.kernels.gpu.layout import BLOCK_GATES, CANVAS_OPTIONS, PRODUCT_OPTIONS, Layout, grid
from draw.kernels.layout import Shape, Weights
from draw.likelihoods import LIKELIHOODS


class Activations(NamedTuple):
    """The activations that the gradients need, for T + 1 slots."""

    x: Tensor  # [B, C, H, W]
    X: Tensor  # [T + 1, B, row]
    out: Tensor  # [T + 1, B, out]
    x_hat: Tensor  # [T + 1, B, C, H, W], error images
    c_enc: Tensor  # [T + 1, B, hidden]
    c_dec: Tensor
    enc: Tensor  # [T, B, 4 hidden], gates after their activation
    dec: Tensor
    mu: Tensor  # [T, B, Z]
    z: Tensor


class Forward:
    """The tensors of a forward pass, with `slots` slots that are used in turn.

    Slot t holds X_t and the values of h_enc_t, h_dec_t and c_t; slot 0 is the initial state. With
    T + 1 slots, every glimpse is kept.

    Args:
        x: the images; None to generate, in which case `noise` is z.
        keep: keep the gates of every glimpse, for the gradients.
    """

    def __init__(
        self,
        shape: Shape,
        weights: Weights,
        *,
        x: Tensor | None,
        noise: Tensor,
        slots: int,
        keep: bool,
    ) -> None:
        self.shape, self.weights, self.x, self.noise = shape, weights, x, noise
        self.slots, self.keep, self.at = slots, keep, Layout.of(shape)
        empty, size = noise.new_empty, (shape.H, shape.W)
        self.X = empty(slots, shape.B, self.at.row)
        self.out = empty(slots, shape.B, self.at.out)
        self.canvas = empty(slots, shape.B, shape.K, *size)
        self.x_hat = self.canvas if x is None else empty(slots, shape.B, shape.C, *size)
        self.c_enc, self.c_dec = empty(2, slots, shape.B, shape.hidden)
        self.enc, self.dec = empty(2, shape.T if keep else 0, shape.B, 4 * shape.hidden)
        self.mu, self.log_sigma, self.z = (torch.empty_like(noise) for _ in range(3))
        if x is None:
            self.z = noise

    def activations(self) -> Activations:
        return Activations(*(getattr(self, name) for name in Activations._fields))


class Backward:
    """The tensors of a backward pass, from the gradients of c_T, z, mu and log sigma."""

    def __init__(
        self, shape: Shape, weights: Weights, activations: Activations, d_results: Sequence[Tensor]
    ) -> None:
        d_canvas, d_z, d_mu, d_log_sigma = d_results
        self.shape, self.weights, self.at = shape, weights, Layout.of(shape)
        self.activations = a = activations
        zeros = d_canvas.new_zeros
        self.d_canvas = d_canvas.clone(memory_format=torch.contiguous_format)
        by_sigma = d_log_sigma + d_z * (a.z - a.mu)  # as z = mu + sigma eps
        self.d_post = torch.cat([d_mu + d_z, by_sigma], dim=-1)
        self.dX = zeros(shape.B, self.at.row)
        self.d_c_enc, self.d_c_dec = zeros(2, shape.B, shape.hidden)
        self.d_out = zeros(shape.T + 1, shape.B, self.at.out)
        self.d_enc, self.d_dec = torch.empty_like(a.enc), torch.empty_like(a.dec)


# ---------------------------------------------------------------- initial state and weights


def start(f: Forward) -> None:
    """Fill slot 0 with the learned initial state."""
    w, at = f.weights, f.at
    f.canvas[0] = w.canvas_0
    f.X[0, :, at.h_dec : at.r] = w.h_dec_0
    f.c_dec[0] = w.c_dec_0
    if f.x is not None:
        mean = LIKELIHOODS[f.shape.likelihood].mean(w.canvas_0)
        torch.sub(f.x, mean, out=f.x_hat[0]).mul_(f.shape.error_scale)  # eq. 3
        f.X[0, :, at.h_enc : at.h_enc + f.shape.hidden] = w.h_enc_0
        f.c_enc[0] = w.c_enc_0


def weight_gradients(g: Backward) -> Weights:
    """Compute the gradients of all weights after the last glimpse, one product per weight."""
    X, at = g.activations.X, g.at
    h_enc, h_dec = slice(at.h_enc, at.h_enc + g.shape.hidden), slice(at.h_dec, at.r)
    d_h_dec = g.dX[:, h_dec] + g.d_out[0] @ g.weights.W_out
    return Weights(
        W_enc=_outer(g.d_enc, X[:-1, :, at.h_dec : at.h_dec + at.enc_inputs]),
        b_enc=g.d_enc.sum((0, 1) if g.shape.n_read else 0),
        W_post=_outer(g.d_post, X[1:, :, h_enc]),
        b_post=g.d_post.sum((0, 1)),
        W_dec=_outer(g.d_dec, X[:-1, :, at.z : at.r]),
        b_dec=g.d_dec.sum((0, 1)),
        W_out=_outer(g.d_out, X[:, :, h_dec]),
        b_out=g.d_out.sum((0, 1)),
        canvas_0=g.d_canvas.sum(0),
        h_enc_0=g.dX[:, h_enc].sum(0),
        c_enc_0=g.d_c_enc.sum(0),
        h_dec_0=d_h_dec.sum(0),
        c_dec_0=g.d_c_dec.sum(0),
    )


def _outer(d_out: Tensor, inputs: Tensor) -> Tensor:
    """Compute the gradient of a weight, summed over the rows of all glimpses."""
    return d_out.flatten(0, 1).t() @ inputs.flatten(0, 1)


# ---------------------------------------------------------------- write and read


def write_and_read(f: Forward, t: int) -> None:
    """Compute c_t from c_{t-1} (unless t is 0), and r_{t+1} (unless t is T or in generation)."""
    s, last = t % f.slots, (t - 1) % f.slots
    if t == 0 and f.x is None:
        return
    image = f.canvas[s] if f.x is None else f.x  # not read in generation
    canvas.write_and_read[(f.shape.B,)](
        *(image, f.x_hat[s], f.canvas[last], f.canvas[s], f.out[s], f.X[s, :, f.at.r :]),
        *(f.at, t > 0, f.x is not None and t < f.shape.T),
        **CANVAS_OPTIONS,
    )


def write_and_read_backward(g: Backward, t: int) -> None:
    """Compute the gradients of the outputs of h_dec_t, and of c_{t-1}."""
    a = g.activations
    canvas.write_and_read_backward[(g.shape.B,)](
        *(a.x, a.x_hat[t], a.out[t], g.dX[:, g.at.r :], g.d_canvas, g.d_out[t]),
        *(g.at, t > 0, t < g.shape.T),
        **CANVAS_OPTIONS,
    )


# ---------------------------------------------------------------- encode_step


def encode_step(f: Forward, t: int) -> None:
    """Run the encoder and sample z_t."""
    s, after, at, w, B = t % f.slots, (t + 1) % f.slots, f.at, f.weights, f.shape.B
    h_enc, gates = f.X[after, :, at.h_enc :], f.enc[t] if f.keep else None
    products.lstm_forward[grid(B, 4 * at.hidden, BLOCK_GATES)](
        *(f.X[s, :, at.h_dec :], w.W_enc, w.b_enc, f.c_enc[s], f.c_enc[after], h_enc, gates),
        *(B, at, True),
        **PRODUCT_OPTIONS,
    )  # eq. 5
    products.sample[grid(B, 2 * at.Z)](
        *(h_enc, w.W_post, w.b_post, f.noise[t], f.mu[t], f.log_sigma[t], f.z[t]),
        *(f.X[s, :, at.z :], B, at),
        **PRODUCT_OPTIONS,
    )  # eqs. 1, 2, 6


def encode_step_backward(g: Backward, t: int) -> None:
    """Compute the gradients of the encoder's gates and inputs."""
    a, at, w, B = g.activations, g.at, g.weights, g.shape.B
    products.lstm_backward[grid(B, at.hidden)](
        *(g.d_post[t], w.W_post, g.dX[:, at.h_enc :], a.c_enc[t], a.c_enc[t + 1], a.enc[t]),
        *(g.d_c_enc, g.d_enc[t], B, at, 2 * at.Z),
        **PRODUCT_OPTIONS,
    )
    products.encoder_inputs_backward[grid(B, at.enc_inputs)](
        *(g.d_enc[t], w.W_enc, g.dX[:, at.h_dec :], B, at, at.hidden), **PRODUCT_OPTIONS
    )


# ---------------------------------------------------------------- decode_step


def decode_step(f: Forward, t: int) -> None:
    """Run the decoder."""
    s, after, at, w, B = t % f.slots, (t + 1) % f.slots, f.at, f.weights, f.shape.B
    h_dec, gates = f.X[after, :, at.h_dec :], f.dec[t] if f.keep else None
    products.lstm_forward[grid(B, 4 * at.hidden, BLOCK_GATES)](
        *(f.X[s, :, at.z :], w.W_dec, w.b_dec, f.c_dec[s], f.c_dec[after], h_dec, gates),
        *(B, at, False),
        **PRODUCT_OPTIONS,
    )  # eq. 7


def emit(f: Forward, t: int) -> None:
    """Compute the patch and the windows from h_dec_t."""
    s, at, w, B = t % f.slots, f.at, f.weights, f.shape.B
    products.emit[grid(B, at.out)](
        *(f.X[s, :, at.h_dec :], w.W_out, w.b_out, f.out[s], B, at), **PRODUCT_OPTIONS
    )


def decode_step_backward(g: Backward, t: int) -> None:
    """Compute the gradients of the decoder's gates and inputs, including those through `emit`."""
    a, at, w, B, dh = g.activations, g.at, g.weights, g.shape.B, g.dX[:, g.at.h_dec :]
    products.lstm_backward[grid(B, at.hidden)](
        *(g.d_out[t + 1], w.W_out, dh, a.c_dec[t], a.c_dec[t + 1], a.dec[t]),
        *(g.d_c_dec, g.d_dec[t], B, at, at.out),
        **PRODUCT_OPTIONS,
    )
    products.decoder_inputs_backward[grid(B, at.dec_inputs)](
        *(g.d_dec[t], w.W_dec, a.mu[t], a.z[t], g.d_post[t], dh, B, at), **PRODUCT_OPTIONS
    )
