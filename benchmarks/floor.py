"""The floor: the matrix products of a run alone, through the same library, at the same shapes."""

import threading
from collections.abc import Callable

import torch
from torch import Tensor

from draw.model import DRAWConfig


def products(config: DRAWConfig, *, encoder: bool) -> list[tuple[int, int]]:
    """(inputs, outputs) of the products of one step; those that share an input are merged.

    Without read attention x is the same at every step, and its product is not counted.
    """
    hidden, latent, C = config.hidden_size, config.latent_size, config.channels
    n_read, n_write = config.read_size, config.write_size
    r = C * (config.height * config.width if n_read is None else 2 * n_read**2)
    w = config.canvas_shape[0] * (config.height * config.width if n_write is None else n_write**2)
    out = w + 5 * (n_read is not None) + 5 * (n_write is not None)
    decoder = [(latent + hidden, 4 * hidden), (hidden, out)]
    return [(r + 2 * hidden, 4 * hidden), (hidden, 2 * latent), *decoder] if encoder else decoder


def gflop(config: DRAWConfig, batch: int, *, backward: bool, encoder: bool) -> float:
    """Floating point operations of these products over T steps, in 10^9."""
    a_step = sum(2 * n_in * n_out for n_in, n_out in products(config, encoder=encoder))
    return config.glimpses * batch * a_step * (3 if backward else 1) / 1e9


def floor(
    config: DRAWConfig, batch: int, *, backward: bool, encoder: bool = True
) -> Callable[[], None]:
    """A run of the products of T steps, and of their gradients, and nothing else.

    Each thread takes its part of the batch through all steps with serial products; the products
    for the weights' gradients gather about a thousand rows each.
    """
    threads = torch.get_num_threads()
    parts = [batch * (k + 1) // threads - batch * k // threads for k in range(threads)]
    shapes = products(config, encoder=encoder)
    steps = config.glimpses
    jobs = [(rows, [_operands(rows, steps, *shape) for shape in shapes]) for rows in parts if rows]

    def part(rows: int, operands: list[dict[str, Tensor]]) -> None:
        torch.set_num_threads(1)
        for _ in range(config.glimpses):
            for v in operands:
                torch.mm(v["x"][:rows], v["w"], out=v["y"][:rows])
        if not backward:
            return
        for _ in range(config.glimpses):
            for v in operands:
                torch.mm(v["y"][:rows], v["w_t"], out=v["x"][:rows])
        for _ in range(-(-config.glimpses * rows // len(operands[0]["x"]))):
            for v in operands:
                torch.mm(v["y"].t(), v["x"], out=v["dw"])

    def run() -> None:
        workers = [threading.Thread(target=part, args=job) for job in jobs]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()

    return run


def _operands(rows: int, steps: int, n_in: int, n_out: int) -> dict[str, Tensor]:
    gathered = max(1, min(steps, 1024 // rows)) * rows
    return {
        "x": torch.randn(gathered, n_in),
        "y": torch.randn(gathered, n_out),
        "w": torch.randn(n_in, n_out),
        "w_t": torch.randn(n_out, n_in),
        "dw": torch.zeros(n_out, n_in),
    }
