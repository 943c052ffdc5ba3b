"""The recurrence on the GPU as a function of the weights, with and without gradients."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from draw.kernels.gpu import glimpse
from draw.kernels.gpu.glimpse import Activations, Backward, Forward
from draw.kernels.layout import RecordedGlimpses, Results, Shape, Weights


def run_forward(f: Forward) -> None:
    """Launch the kernels of T glimpses."""
    glimpse.start(f)
    for t in range(f.shape.T):
        glimpse.emit(f, t)
        glimpse.write_and_read(f, t)
        if f.x is None:
            f.X[t % f.slots, :, f.at.z : f.at.h_dec] = f.z[t]
        else:
            glimpse.encode_step(f, t)
        glimpse.decode_step(f, t)
    glimpse.emit(f, f.shape.T)
    glimpse.write_and_read(f, f.shape.T)


def run_backward(g: Backward) -> Weights:
    """Launch the kernels of T glimpses backward; return the gradients of the weights."""
    glimpse.write_and_read_backward(g, g.shape.T)
    for t in reversed(range(g.shape.T)):
        glimpse.decode_step_backward(g, t)
        glimpse.encode_step_backward(g, t)
        glimpse.write_and_read_backward(g, t)
    return glimpse.weight_gradients(g)


class Recurrence(torch.autograd.Function):
    """Return c_T, z, mu and log sigma, with gradients for all weights."""

    @staticmethod
    def forward(
        ctx: Any, shape: Shape, x: Tensor, eps: Tensor, *weights: Tensor
    ) -> tuple[Tensor, ...]:
        f = Forward(shape, Weights(*weights), x=x, noise=eps, slots=shape.T + 1, keep=True)
        run_forward(f)
        ctx.shape = shape
        ctx.save_for_backward(*weights, *f.activations())
        return f.canvas[-1].clone(), f.z, f.mu, f.log_sigma

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *d_results: Tensor) -> tuple[Tensor | None, ...]:
        saved, count = ctx.saved_tensors, len(Weights._fields)
        weights, activations = Weights(*saved[:count]), Activations(*saved[count:])
        g = Backward(ctx.shape, weights, activations, d_results)
        return None, None, None, *run_backward(g)


def run_with_gradients(shape: Shape, weights: Weights, x: Tensor, eps: Tensor) -> Results:
    """Run the recurrence, differentiable with respect to the weights."""
    with torch.cuda.device_of(eps):  # type: ignore[no-untyped-call]
        results = Recurrence.apply(shape, x, eps, *weights)  # type: ignore[no-untyped-call]
    canvas, z, mu, log_sigma = results
    return Results(canvas, z, mu, log_sigma, _kl(mu, log_sigma))


def run(
    *, shape: Shape, weights: Weights, x: Tensor | None, noise: Tensor, record: bool
) -> tuple[Results, RecordedGlimpses | None]:
    """Run the recurrence without gradients, keeping intermediate values only if recorded."""
    slots = shape.T + 1 if record else 2
    f = Forward(shape, weights, x=x, noise=noise, slots=slots, keep=False)
    with torch.cuda.device_of(noise):  # type: ignore[no-untyped-call]
        run_forward(f)
    canvas, at = f.canvas[shape.T % slots], f.at
    results = Results(canvas, noise, None, None, None)
    if x is not None:
        results = Results(canvas, f.z, f.mu, f.log_sigma, _kl(f.mu, f.log_sigma))
    if not record:
        return results, None
    read = f.out[:-1, :, at.read : at.read + 5] if x is not None and shape.n_read else None
    write = f.out[1:, :, at.write : at.write + 5] if shape.n_write else None
    return results, RecordedGlimpses(f.canvas[1:], read_params=read, write_params=write)


def _kl(mu: Tensor, log_sigma: Tensor) -> Tensor:
    """Compute KL(Q_t, P) in nats, [T, B] (a term of eq. 10)."""
    return (mu**2 + (2 * log_sigma).exp() - 2 * log_sigma - 1).sum(-1) / 2
