"""The recurrence as a function of the weights, with and without gradients."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from draw.kernels.gpu.backward import Backward
from draw.kernels.gpu.forward import Activations, Forward
from draw.kernels.layout import RecordedSteps, Results, Shape, Weights


class Recurrence(torch.autograd.Function):
    """c_T, z, mu and log sigma, with gradients for all weights."""

    @staticmethod
    def forward(
        ctx: Any, shape: Shape, x: Tensor, eps: Tensor, *weights: Tensor
    ) -> tuple[Tensor, ...]:
        run = Forward(shape, Weights(*weights), x, eps, slots=shape.T + 1, keep=True)
        run.run()
        ctx.shape = shape
        ctx.save_for_backward(*weights, *run.kept())
        return run.canvas[-1].clone(), run.z, run.mu, run.log_sigma

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *d_results: Tensor) -> tuple[Tensor | None, ...]:
        saved, count = ctx.saved_tensors, len(Weights._fields)
        weights, kept = Weights(*saved[:count]), Activations(*saved[count:])
        return None, None, None, *Backward(ctx.shape, weights, kept, *d_results).run()


def run_with_gradients(shape: Shape, weights: Weights, x: Tensor, eps: Tensor) -> Results:
    """The recurrence, differentiable with respect to the weights."""
    with torch.cuda.device_of(eps):  # type: ignore[no-untyped-call]
        results = Recurrence.apply(shape, x, eps, *weights)  # type: ignore[no-untyped-call]
    canvas, z, mu, log_sigma = results
    return Results(canvas, z, mu, log_sigma, _kl(mu, log_sigma))


def run(
    shape: Shape, weights: Weights, x: Tensor | None, noise: Tensor, *, record: bool
) -> tuple[Results, RecordedSteps | None]:
    """The recurrence without gradients: nothing is kept from step to step unless recorded."""
    slots = shape.T + 1 if record else 2
    run = Forward(shape, weights, x, noise, slots=slots, keep=False)
    with torch.cuda.device_of(noise):  # type: ignore[no-untyped-call]
        run.run()
    canvas, at = run.canvas[shape.T % slots], run.at
    results = Results(canvas, noise, None, None, None)
    if x is not None:
        results = Results(canvas, run.z, run.mu, run.log_sigma, _kl(run.mu, run.log_sigma))
    if not record:
        return results, None
    reads = run.out[:-1, :, at.read : at.read + 5] if x is not None and shape.n_read else None
    writes = run.out[1:, :, at.write : at.write + 5] if shape.n_write else None
    return results, RecordedSteps(run.canvas[1:], reads, writes)


def _kl(mu: Tensor, log_sigma: Tensor) -> Tensor:
    """KL(Q_t, P) in nats, [T, B] (a term of eq. 10)."""
    return (mu**2 + (2 * log_sigma).exp() - 2 * log_sigma - 1).sum(-1) / 2
