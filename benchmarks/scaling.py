"""Count how the work and memory of a training step grow, without timing.

    python benchmarks/scaling.py    prints the table of docs/multi-gpu.md

Work is the number of multiply-adds of the matrix products, reading and writing in the forward pass;
the backward pass takes twice as much. Memory is what the C++ engine keeps for the backward pass, on
one thread; weights, gradients and Adam's two moments take another four times the parameters.
"""

import ctypes
from dataclasses import replace

import torch

from draw.kernels.cpu import recurrence
from draw.kernels.layout import Shape
from draw.model import DRAWConfig

BATCH = 100
MNIST = DRAWConfig()


def variants() -> dict[str, tuple[DRAWConfig, int]]:
    """Return variations of the paper's MNIST network with a minibatch of 100 images."""
    return {
        "the paper's MNIST network, 100 images": (MNIST, BATCH),
        "128 glimpses": (replace(MNIST, glimpses=128), BATCH),
        "200 images": (MNIST, 2 * BATCH),
        "56 x 56 pixels": (replace(MNIST, height=56, width=56), BATCH),
        "patches of 12 x 12": (replace(MNIST, read_size=12, write_size=12), BATCH),
        "512 units": (replace(MNIST, hidden_size=512), BATCH),
        "without attention": (replace(MNIST, read_size=None, write_size=None), BATCH),
    }


def multiply_adds(config: DRAWConfig, batch: int) -> int:
    """Return the multiply-adds of the forward pass of one minibatch."""
    (C, H, W), K = config.image_shape, config.canvas_shape[0]
    hidden, latent, pixels = config.hidden_size, config.latent_size, C * H * W
    n_read, n_write = config.read_size, config.write_size
    r = pixels if n_read is None else 2 * C * n_read**2
    once = pixels * 4 * hidden if n_read is None else 0  # the product with x
    w = K * (H * W if n_write is None else n_write**2)
    products = 4 * hidden * (r + 2 * hidden)  # encoder: r, h_dec and h_enc
    products += 2 * latent * hidden  # posterior
    products += 4 * hidden * (latent + hidden)  # decoder
    products += hidden * (w + 5 * (n_read is not None) + 5 * (n_write is not None))
    windows = [n * (H + n) * W * channels for n, channels in ((n_read, 2 * C), (n_write, K)) if n]
    return batch * (config.glimpses * (products + sum(windows)) + once)


def workspace_bytes(config: DRAWConfig, batch: int) -> int:
    """Return the memory that the engine keeps for the backward pass."""
    noise = torch.empty(config.glimpses, batch, config.latent_size, device="meta")
    shape = Shape.of(config, noise)
    job = recurrence.DrawJob(shape, threads=1, keep=True)
    floats: int = job.call("workspace_floats", ctypes.c_int64)
    return 4 * floats


def main() -> None:
    """Print the table."""
    print("| one step of | multiply-adds forward, 10^9 | saved activations, MiB |\n|---|---|---|")
    for name, (config, batch) in variants().items():
        work, kept = multiply_adds(config, batch) / 1e9, workspace_bytes(config, batch) / 2**20
        print(f"| {name} | {work:.1f} | {kept:.0f} |")


if __name__ == "__main__":
    main()
