"""One glimpse on the GPU: five kernels forward and five backward, without synchronisation.

Each function launches the kernels of one part of a glimpse, and its gradient follows it.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from draw.kernels.gpu import canvas, products
from draw.kernels.gpu.layout import (
    BLOCK_GATES,
    Layout,
    canvas_options,
    grid,
    product_options,
)
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
        self.enc, self.dec = empty(2, shape.T if keep else 1, shape.B, 4 * shape.hidden)
        self.mu, self.log_sigma, self.z = (torch.empty_like(noise) for _ in range(3))
        if x is None:
            self.z = noise

    def activations(self) -> Activations:
        return Activations(*(getattr(self, name) for name in Activations._fields))


class Backward:
    """The tensors of a backward pass, from the gradients of c_T, z, mu and log sigma."""

    def __init__(
        self,
        shape: Shape,
        weights: Weights,
        activations: Activations,
        *,
        d_canvas: Tensor,
        d_z: Tensor,
        d_mu: Tensor,
        d_log_sigma: Tensor,
    ) -> None:
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
        torch.sub(f.x, mean, out=f.x_hat[0])  # eq. 3
        f.X[0, :, at.h_enc : at.h_enc + f.shape.hidden] = w.h_enc_0
        f.c_enc[0] = w.c_enc_0


def weight_gradients(g: Backward) -> Weights:
    """Compute the gradients of all weights after the last glimpse, one product per weight."""
    X, at = g.activations.X, g.at
    h_enc, h_dec = slice(at.h_enc, at.h_enc + g.shape.hidden), slice(at.h_dec, at.r)
    d_h_dec = g.dX[:, h_dec] + g.d_out[0] @ g.weights.W_out
    return Weights(
        W_enc=_outer(g.d_enc, X[:-1, :, at.enc_inputs]),
        b_enc=g.d_enc.sum((0, 1) if g.shape.n_read else 0),
        W_post=_outer(g.d_post, X[1:, :, h_enc]),
        b_post=g.d_post.sum((0, 1)),
        W_dec=_outer(g.d_dec, X[:-1, :, at.dec_inputs]),
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
    s, last, at = t % f.slots, (t - 1) % f.slots, f.at
    if t == 0 and f.x is None:
        return
    canvas.write_and_read[(f.shape.B,)](
        image=f.canvas[s] if f.x is None else f.x,  # not read in generation
        image_hat=f.x_hat[s],
        last=f.canvas[last],
        canvas=f.canvas[s],
        out=f.out[s],
        r=f.X[s, :, at.r :],
        WRITE=t > 0,
        READ=f.x is not None and t < f.shape.T,
        **canvas_options(f.shape, at),
    )


def write_and_read_backward(g: Backward, t: int) -> None:
    """Compute the gradients of the outputs of h_dec_t, and of c_{t-1}."""
    a, at = g.activations, g.at
    canvas.write_and_read_backward[(g.shape.B,)](
        image=a.x,
        image_hat=a.x_hat[t],
        out=a.out[t],
        dr=g.dX[:, at.r :],
        d_canvas=g.d_canvas,
        d_out=g.d_out[t],
        WRITE=t > 0,
        READ=t < g.shape.T,
        **canvas_options(g.shape, at),
    )


# ---------------------------------------------------------------- encode_step


def encode_step(f: Forward, t: int) -> None:
    """Run the encoder and sample z_t."""
    s, after, at, shape, w = t % f.slots, (t + 1) % f.slots, f.at, f.shape, f.weights
    h_enc = f.X[after, :, at.h_enc :]
    products.lstm_forward[grid(shape.B, 4 * shape.hidden, BLOCK_GATES)](
        inputs=f.X[s, :, at.h_dec :],
        weight=w.W_enc,
        bias=w.b_enc,
        c_last=f.c_enc[s],
        c=f.c_enc[after],
        h=h_enc,
        gates=f.enc[t if f.keep else 0],
        KEEP=f.keep,
        BIAS_PER_IMAGE=not shape.n_read,
        K=_length(at.enc_inputs),
        **product_options(shape, at, BLOCK_GATES),
    )  # eq. 5
    products.sample[grid(shape.B, 2 * shape.Z)](
        h=h_enc,
        weight=w.W_post,
        bias=w.b_post,
        eps=f.noise[t],
        mu=f.mu[t],
        log_sigma=f.log_sigma[t],
        z=f.z[t],
        z_row=f.X[s, :, at.z :],
        Z=shape.Z,
        **product_options(shape, at),
    )  # eqs. 1, 2, 6


def encode_step_backward(g: Backward, t: int) -> None:
    """Compute the gradients of the encoder's gates and inputs."""
    a, at, shape = g.activations, g.at, g.shape
    products.lstm_backward[grid(shape.B, shape.hidden)](
        dy=g.d_post[t],
        weight=g.weights.W_post,
        dh=g.dX[:, at.h_enc :],
        c_last=a.c_enc[t],
        c=a.c_enc[t + 1],
        gates=a.enc[t],
        dc=g.d_c_enc,
        d_gates=g.d_enc[t],
        K=2 * shape.Z,
        **product_options(shape, at),
    )
    products.encoder_inputs_backward[grid(shape.B, _length(at.enc_inputs))](
        d_gates=g.d_enc[t],
        weight=g.weights.W_enc,
        dX=g.dX[:, at.h_dec :],
        N=_length(at.enc_inputs),
        **product_options(shape, at),
    )


# ---------------------------------------------------------------- decode_step


def decode_step(f: Forward, t: int) -> None:
    """Run the decoder."""
    s, after, at, shape, w = t % f.slots, (t + 1) % f.slots, f.at, f.shape, f.weights
    products.lstm_forward[grid(shape.B, 4 * shape.hidden, BLOCK_GATES)](
        inputs=f.X[s, :, at.z :],
        weight=w.W_dec,
        bias=w.b_dec,
        c_last=f.c_dec[s],
        c=f.c_dec[after],
        h=f.X[after, :, at.h_dec :],
        gates=f.dec[t if f.keep else 0],
        KEEP=f.keep,
        BIAS_PER_IMAGE=False,
        K=_length(at.dec_inputs),
        **product_options(shape, at, BLOCK_GATES),
    )  # eq. 7


def emit(f: Forward, t: int) -> None:
    """Compute the patch and the windows from h_dec_t."""
    s, at, shape, w = t % f.slots, f.at, f.shape, f.weights
    products.emit[grid(shape.B, at.out)](
        h=f.X[s, :, at.h_dec :],
        weight=w.W_out,
        bias=w.b_out,
        out=f.out[s],
        OUT=at.out,
        **product_options(shape, at),
    )


def decode_step_backward(g: Backward, t: int) -> None:
    """Compute the gradients of the decoder's gates and inputs, including those through `emit`."""
    a, at, shape = g.activations, g.at, g.shape
    dh = g.dX[:, at.h_dec :]
    products.lstm_backward[grid(shape.B, shape.hidden)](
        dy=g.d_out[t + 1],
        weight=g.weights.W_out,
        dh=dh,
        c_last=a.c_dec[t],
        c=a.c_dec[t + 1],
        gates=a.dec[t],
        dc=g.d_c_dec,
        d_gates=g.d_dec[t],
        K=at.out,
        **product_options(shape, at),
    )
    products.decoder_inputs_backward[grid(shape.B, _length(at.dec_inputs))](
        d_gates=g.d_dec[t],
        weight=g.weights.W_dec,
        mu=a.mu[t],
        z=a.z[t],
        d_post=g.d_post[t],
        dh=dh,
        Z=shape.Z,
        **product_options(shape, at),
    )


def _length(columns: slice) -> int:
    length: int = columns.stop - columns.start
    return length
