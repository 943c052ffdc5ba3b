"""The recurrence backward: five kernels a step, and at the end one product for each weight."""

import torch
from torch import Tensor

from draw.kernels.gpu.canvas_backward import paint_and_look_backward
from draw.kernels.gpu.forward import Activations
from draw.kernels.gpu.layout import Layout, canvas_options, grid, product_options
from draw.kernels.gpu.products import (
    cell_backward,
    decoder_inputs_backward,
    encoder_inputs_backward,
)
from draw.kernels.layout import Shape, Weights


class Backward:
    """T steps back, from the gradients of c_T, z, mu and log sigma."""

    def __init__(
        self,
        shape: Shape,
        weights: Weights,
        kept: Activations,
        d_canvas: Tensor,
        d_z: Tensor,
        d_mu: Tensor,
        d_log_sigma: Tensor,
    ) -> None:
        self.shape, self.weights, self.kept, self.at = shape, weights, kept, Layout.of(shape)
        zeros = d_canvas.new_zeros
        self.d_canvas = d_canvas.clone(memory_format=torch.contiguous_format)
        by_sigma = d_log_sigma + d_z * (kept.z - kept.mu)  # as z = mu + sigma eps
        self.d_post = torch.cat([d_mu + d_z, by_sigma], dim=-1)
        self.dX = zeros(shape.B, self.at.row)
        self.d_c_enc, self.d_c_dec = zeros(2, shape.B, shape.hidden)
        self.d_out = zeros(shape.T + 1, shape.B, self.at.out)
        self.d_enc, self.d_dec = torch.empty_like(kept.enc), torch.empty_like(kept.dec)

    def run(self) -> Weights:
        """The gradients of the weights."""
        self._paint_and_look(self.shape.T)
        for t in reversed(range(self.shape.T)):
            self._decode_step(t)
            self._encode_step(t)
            self._paint_and_look(t)
        return self._gradients()

    def _paint_and_look(self, t: int) -> None:
        """From c_t to what the decoder emitted from h_dec_t, and to c_{t-1}."""
        kept, at = self.kept, self.at
        paint_and_look_backward[(self.shape.B,)](
            *(kept.x, kept.x_hat[t], kept.out[t], self.dX[:, at.r :]),
            *(self.d_canvas, self.d_out[t]),
            PAINT=t > 0,
            LOOK=t < self.shape.T,
            **canvas_options(self.shape, at),
        )

    def _decode_step(self, t: int) -> None:
        kept, at, shape, hidden, Z = self.kept, self.at, self.shape, self.shape.hidden, self.shape.Z
        dh, d_gates = self.dX[:, at.h_dec :], self.d_dec[t]
        cell_backward[grid(shape.B, hidden)](
            *(self.d_out[t + 1], self.weights.W_out, dh, kept.c_dec[t], kept.c_dec[t + 1]),
            *(kept.dec[t], self.d_c_dec, d_gates, shape.B),
            K=at.out,
            ROW=at.row,
            HIDDEN=hidden,
            **product_options(),
        )
        decoder_inputs_backward[grid(shape.B, Z + hidden)](
            *(d_gates, self.weights.W_dec, kept.mu[t], kept.z[t], self.d_post[t], dh, shape.B),
            ROW=at.row,
            HIDDEN=hidden,
            Z=Z,
            **product_options(),
        )

    def _encode_step(self, t: int) -> None:
        kept, at, shape, hidden = self.kept, self.at, self.shape, self.shape.hidden
        d_gates, inputs = self.d_enc[t], at.h_enc + hidden - at.h_dec
        cell_backward[grid(shape.B, hidden)](
            *(self.d_post[t], self.weights.W_post, self.dX[:, at.h_enc :]),
            *(kept.c_enc[t], kept.c_enc[t + 1], kept.enc[t], self.d_c_enc, d_gates, shape.B),
            K=2 * shape.Z,
            ROW=at.row,
            HIDDEN=hidden,
            **product_options(),
        )
        encoder_inputs_backward[grid(shape.B, inputs)](
            *(d_gates, self.weights.W_enc, self.dX[:, at.h_dec :], shape.B),
            N=inputs,
            ROW=at.row,
            HIDDEN=hidden,
            **product_options(),
        )

    def _gradients(self) -> Weights:
        X, at, hidden = self.kept.X, self.at, self.shape.hidden
        h_enc = slice(at.h_enc, at.h_enc + hidden)
        h_dec = slice(at.h_dec, at.r)
        d_h_dec = self.dX[:, h_dec] + self.d_out[0] @ self.weights.W_out
        return Weights(
            W_enc=_outer(self.d_enc, X[:-1, :, at.h_dec : h_enc.stop]),
            b_enc=self.d_enc.sum((0, 1) if self.shape.n_read else 0),
            W_post=_outer(self.d_post, X[1:, :, h_enc]),
            b_post=self.d_post.sum((0, 1)),
            W_dec=_outer(self.d_dec, X[:-1, :, at.z : at.r]),
            b_dec=self.d_dec.sum((0, 1)),
            W_out=_outer(self.d_out, X[:, :, h_dec]),
            b_out=self.d_out.sum((0, 1)),
            canvas_0=self.d_canvas.sum(0),
            h_enc_0=self.dX[:, h_enc].sum(0),
            c_enc_0=self.d_c_enc.sum(0),
            h_dec_0=d_h_dec.sum(0),
            c_dec_0=self.d_c_dec.sum(0),
        )


def _outer(d_out: Tensor, inputs: Tensor) -> Tensor:
    """The gradient of a weight, over all rows of all steps."""
    return d_out.flatten(0, 1).t() @ inputs.flatten(0, 1)
