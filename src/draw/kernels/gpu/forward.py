"""The recurrence forward: five kernels a step, with no word to the host between them."""

from typing import NamedTuple

import torch
from torch import Tensor

from draw.kernels.gpu.canvas import paint_and_look
from draw.kernels.gpu.layout import GATES, Layout, canvas_options, grid, product_options
from draw.kernels.gpu.products import cell, emit, sample
from draw.kernels.layout import Shape, Weights
from draw.likelihoods import LIKELIHOODS


class Activations(NamedTuple):
    """What the gradients need of a run with T + 1 slots."""

    x: Tensor  # [B, C, H, W]
    X: Tensor  # [T + 1, B, row]
    out: Tensor  # [T + 1, B, out]
    x_hat: Tensor  # [T + 1, B, C, H, W], the error images
    c_enc: Tensor  # [T + 1, B, hidden]
    c_dec: Tensor
    enc: Tensor  # [T, B, 4 hidden], activated gates
    dec: Tensor
    mu: Tensor  # [T, B, Z]
    z: Tensor


class Forward:
    """T steps, and what they leave in `slots` places that are used in turn: with T + 1, all of it.

    Slot t holds X_t, and what belongs to h_enc_t, h_dec_t and c_t; number 0 is the learned start.

    Args:
        x: the images; None generates, and `noise` is z itself.
        keep: keep the activated gates as well, for the gradients.
    """

    def __init__(
        self,
        shape: Shape,
        weights: Weights,
        x: Tensor | None,
        noise: Tensor,
        *,
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

    def run(self) -> None:
        self._start()
        for t in range(self.shape.T):
            self._emit(t)
            self._paint_and_look(t)
            if self.x is None:
                self.X[t % self.slots, :, self.at.z : self.at.h_dec] = self.z[t]
            else:
                self._encode_step(t)
            self._decode_step(t)
        self._emit(self.shape.T)
        self._paint_and_look(self.shape.T)

    def kept(self) -> Activations:
        return Activations(*(getattr(self, name) for name in Activations._fields))

    def _start(self) -> None:
        w, at = self.weights, self.at
        self.canvas[0] = w.canvas_0
        self.X[0, :, at.h_dec : at.r] = w.h_dec_0
        self.c_dec[0] = w.c_dec_0
        if self.x is not None:
            mean = LIKELIHOODS[self.shape.likelihood].mean(w.canvas_0)
            torch.sub(self.x, mean, out=self.x_hat[0])  # eq. 3
            self.X[0, :, at.h_enc : at.h_enc + self.shape.hidden] = w.h_enc_0
            self.c_enc[0] = w.c_enc_0

    def _emit(self, t: int) -> None:
        """The patch and the windows from h_dec_t."""
        s, at, shape, w = t % self.slots, self.at, self.shape, self.weights
        emit[grid(shape.B, at.out)](
            *(self.X[s, :, at.h_dec :], w.W_out, w.b_out, self.out[s], shape.B),
            ROW=at.row,
            HIDDEN=shape.hidden,
            OUT=at.out,
            **product_options(),
        )

    def _paint_and_look(self, t: int) -> None:
        """From c_{t-1} and what was emitted to c_t, if there is a step t, and to r_{t+1}."""
        s, last, at = t % self.slots, (t - 1) % self.slots, self.at
        x = self.canvas[s] if self.x is None else self.x  # a place that is not looked at
        if t > 0 or self.x is not None:
            paint_and_look[(self.shape.B,)](
                *(x, self.x_hat[s], self.canvas[last], self.canvas[s]),
                *(self.out[s], self.X[s, :, at.r :]),
                PAINT=t > 0,
                LOOK=self.x is not None and t < self.shape.T,
                **canvas_options(self.shape, at),
            )

    def _encode_step(self, t: int) -> None:
        s, after, at, shape = t % self.slots, (t + 1) % self.slots, self.at, self.shape
        w, hidden, Z = self.weights, shape.hidden, shape.Z
        h_enc = self.X[after, :, at.h_enc :]
        gates = self.enc[t if self.keep else 0]
        cell[grid(shape.B, 4 * hidden, GATES)](
            *(self.X[s, :, at.h_dec :], w.W_enc, w.b_enc, self.c_enc[s], self.c_enc[after]),
            *(h_enc, gates, shape.B),
            KEEP=self.keep,
            BIASES=not shape.n_read,
            K=at.h_enc + hidden - at.h_dec,
            ROW=at.row,
            HIDDEN=hidden,
            **product_options(GATES),
        )  # eq. 5
        sample[grid(shape.B, 2 * Z)](
            *(h_enc, w.W_post, w.b_post, self.noise[t], self.mu[t], self.log_sigma[t]),
            *(self.z[t], self.X[s, :, at.z :], shape.B),
            ROW=at.row,
            HIDDEN=hidden,
            Z=Z,
            **product_options(),
        )  # eqs. 1, 2, 6

    def _decode_step(self, t: int) -> None:
        s, after, at, shape = t % self.slots, (t + 1) % self.slots, self.at, self.shape
        w, hidden = self.weights, shape.hidden
        gates = self.dec[t if self.keep else 0]
        cell[grid(shape.B, 4 * hidden, GATES)](
            *(self.X[s, :, at.z :], w.W_dec, w.b_dec, self.c_dec[s], self.c_dec[after]),
            *(self.X[after, :, at.h_dec :], gates, shape.B),
            KEEP=self.keep,
            BIASES=False,
            K=shape.Z + hidden,
            ROW=at.row,
            HIDDEN=hidden,
            **product_options(GATES),
        )  # eq. 7
