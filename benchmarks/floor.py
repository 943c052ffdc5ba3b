"""The floor: only the matrix products of a run, in the same library and shapes."""

import threading
from collections.abc import Callable

import torch
from torch import Tensor

from draw.classifier import ClassifierConfig
from draw.model import DRAWConfig

Config = DRAWConfig | ClassifierConfig


def products(config: Config, *, encoder: bool) -> list[tuple[int, int]]:
    """Return (inputs, outputs) of the products of one glimpse, merging those of the same input.

    Without read attention x is the same at every glimpse, and its product is not counted.
    """
    hidden, C, n_read = config.hidden_size, config.channels, config.read_size
    if isinstance(config, ClassifierConfig):
        return [(C * n_read**2 + hidden, 4 * hidden), (hidden, 5 + config.classes)]
    latent, n_write = config.latent_size, config.write_size
    r = C * (config.height * config.width if n_read is None else 2 * n_read**2)
    w = config.canvas_shape[0] * (config.height * config.width if n_write is None else n_write**2)
    out = w + 5 * (n_read is not None) + 5 * (n_write is not None)
    decoder = [(latent + hidden, 4 * hidden), (hidden, out)]
    return [(r + 2 * hidden, 4 * hidden), (hidden, 2 * latent), *decoder] if encoder else decoder


def gflop(config: Config, batch: int, *, backward: bool, encoder: bool) -> float:
    """Return the floating-point operations of these products for T glimpses, in 10^9."""
    per_glimpse = sum(2 * n_in * n_out for n_in, n_out in products(config, encoder=encoder))
    return config.glimpses * batch * per_glimpse * (3 if backward else 1) / 1e9


def floor(
    config: Config, batch: int, *, backward: bool, encoder: bool = True
) -> Callable[[], None]:
    """Return a function that runs only the products of T glimpses and of their gradients.

    Each thread runs its part of the batch through all glimpses with serial products. Each product
    for a weight's gradient has about a thousand rows.
    """
    threads = torch.get_num_threads()
    parts = [batch * (k + 1) // threads - batch * k // threads for k in range(threads)]
    shapes = products(config, encoder=encoder)
    glimpses = config.glimpses
    jobs = [
        (rows, [_operands(rows, glimpses, *shape) for shape in shapes]) for rows in parts if rows
    ]

    def part(rows: int, operands: list[dict[str, Tensor]]) -> None:
        torch.set_num_threads(1)
        for _ in range(glimpses):
            for v in operands:
                torch.mm(v["x"][:rows], v["w"], out=v["y"][:rows])
        if not backward:
            return
        for _ in range(glimpses):
            for v in operands:
                torch.mm(v["y"][:rows], v["w_t"], out=v["x"][:rows])
        for _ in range(-(-glimpses * rows // len(operands[0]["x"]))):
            for v in operands:
                torch.mm(v["y"].t(), v["x"], out=v["dw"])

    def run() -> None:
        workers = [threading.Thread(target=part, args=job) for job in jobs]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()

    return run


def _operands(rows: int, glimpses: int, n_in: int, n_out: int) -> dict[str, Tensor]:
    gathered = max(1, min(glimpses, 1024 // rows)) * rows
    return {
        "x": torch.randn(gathered, n_in),
        "y": torch.randn(gathered, n_out),
        "w": torch.randn(n_in, n_out),
        "w_t": torch.randn(n_out, n_in),
        "dw": torch.zeros(n_out, n_in),
    }
