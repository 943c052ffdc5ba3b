"""How fast the engine is: the products alone, the plain path and the fused one, side by side.

    python benchmarks/engine.py            the paper's MNIST network, about four minutes
    python benchmarks/engine.py --batches 128 --rounds 3

Every round runs each variant once, so that a slow minute of the machine meets all of them; the
table shows medians in seconds. The floor is the time of the matrix products of a step alone, at
the same shapes, through the same library, each thread for its part of the batch.
"""

import argparse
import platform
import statistics
import threading
import time
from collections.abc import Callable

import torch

from draw.model import DRAW, DRAWConfig
from draw.objectives import elbo

Run = Callable[[], object]


def products(config: DRAWConfig, *, encoder: bool = True) -> list[tuple[int, int]]:
    """(inputs, outputs) of the products of one step."""
    hidden, latent, C = config.hidden_size, config.latent_size, config.channels
    n_read, n_write = config.read_size, config.write_size
    r = 2 * C * (config.height * config.width if n_read is None else n_read**2)
    w = C * (config.height * config.width if n_write is None else n_write**2)
    out = w + 5 * (n_read is not None) + 5 * (n_write is not None)
    decoder = [(latent + hidden, 4 * hidden), (hidden, out)]
    return [(r + 2 * hidden, 4 * hidden), (hidden, 2 * latent), *decoder] if encoder else decoder


def floor(config: DRAWConfig, batch: int, *, backward: bool, encoder: bool = True) -> Run:
    """The products of a step, and nothing else."""
    threads = torch.get_num_threads()
    parts = [batch * (k + 1) // threads - batch * k // threads for k in range(threads)]
    T, shapes = config.glimpses, products(config, encoder=encoder)
    jobs = []
    for rows in parts:
        tensors = []
        for n_in, n_out in shapes:
            steps = max(1, 1024 // rows)
            tensors.append(
                {
                    "x": torch.randn(steps * rows, n_in),
                    "y": torch.randn(steps * rows, n_out),
                    "w": torch.randn(n_in, n_out + 16)[:, :n_out],  # as the engine lays it
                    "w_t": torch.randn(n_out, n_in),
                    "dw": torch.zeros(n_out, n_in),
                }
            )
        jobs.append((rows, tensors))

    def part(rows: int, tensors: list[dict[str, torch.Tensor]]) -> None:
        torch.set_num_threads(1)
        for _ in range(T):
            for v in tensors:
                torch.mm(v["x"][:rows], v["w"], out=v["y"][:rows])
        for _ in range(T if backward else 0):
            for v in tensors:
                torch.mm(v["y"][:rows], v["w_t"], out=v["x"][:rows])
        for _ in range(T * rows // len(tensors[0]["x"]) if backward else 0):
            for v in tensors:
                v["dw"].addmm_(v["y"].t(), v["x"], beta=0)

    def run() -> None:
        workers = [threading.Thread(target=part, args=job) for job in jobs]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()

    return run


def variants(config: DRAWConfig, batch: int) -> dict[str, dict[str, Run]]:
    """What is measured: task -> engine -> run."""
    torch.manual_seed(0)
    model = DRAW(config)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4)
    x = torch.bernoulli(torch.full((batch, *config.image_shape), 0.2))

    def train() -> None:
        optimizer.zero_grad()
        (-elbo(model(x)).mean()).backward()
        optimizer.step()

    def evaluate() -> None:
        with torch.no_grad():
            elbo(model(x))

    def generate() -> None:
        with torch.no_grad():
            model.generate(batch)

    def by(engine: str, task: Run) -> Run:
        def run() -> None:
            model.engine = engine
            task()

        return run

    floors = {
        "train": floor(config, batch, backward=True),
        "evaluate": floor(config, batch, backward=False),
        "generate": floor(config, batch, backward=False, encoder=False),
    }
    return {
        task.__name__: {
            "floor": floors[task.__name__],
            "plain": by("plain", task),
            "fused": by("fused", task),
        }
        for task in (train, evaluate, generate)
    }


def measure(runs: dict[str, Run], rounds: int) -> dict[str, float]:
    """Median seconds of each, in turn, after one turn to warm up."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(rounds + 1):
        for name, run in runs.items():
            started = time.perf_counter()
            run()
            if turn:
                times[name].append(time.perf_counter() - started)
    return {name: statistics.median(values) for name, values in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batches", type=int, nargs="+", default=[64, 128, 512])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--tasks", nargs="+", default=["train", "evaluate", "generate"])
    options = parser.parse_args()
    print(f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads")
    print(f"{'':18}{'floor':>9}{'plain':>9}{'fused':>9}{'plain/fused':>13}{'floor/fused':>13}")
    for batch in options.batches:
        for task, runs in variants(DRAWConfig(), batch).items():
            if task not in options.tasks:
                continue
            s = measure(runs, options.rounds)
            print(
                f"{task:>10} {batch:>6} {s['floor']:>9.3f}{s['plain']:>9.3f}{s['fused']:>9.3f}"
                f"{s['plain'] / s['fused']:>12.2f}x{s['floor'] / s['fused']:>13.0%}",
                flush=True,
            )


if __name__ == "__main__":
    main()
