"""Measure the speed of the plain engine, torch.compile, the fused engine and the products alone.

    make bench                                  everything; about four minutes on two cores
    python benchmarks/bench.py --quick          only the main table
    python benchmarks/bench.py --device cuda    training on a GPU; see gpu.py

The variants alternate within each round, so that other load on the machine affects all of them
equally. Compare the ratios of the medians. Writes results.json and results.png.
"""

import argparse
import json
import os
import platform
import re
import subprocess
import sys
from dataclasses import asdict, replace
from datetime import date
from pathlib import Path

import gpu
import torch
from floor import floor, gflop
from tasks import Run, classify_task, measure, task

from draw.classifier import ClassifierConfig
from draw.model import DRAW, DRAWConfig
from draw.training.step import matmul_precision

HERE = Path(__file__).parent
PAPER = DRAWConfig()  # table 3, MNIST
TASKS = ("train", "evaluate", "iwae", "generate")
SWEEP_ROUNDS = 3
SWEEPS = {
    "batch": [(PAPER, batch) for batch in (32, 64, 128, 256, 512)],
    "glimpses": [(replace(PAPER, glimpses=T), 128) for T in (16, 32, 64, 128)],
    "image size": [(replace(PAPER, height=s, width=s, glimpses=16), 32) for s in (28, 56, 112)],
    "patch size": [
        (replace(PAPER, glimpses=16, read_size=n, write_size=n), 64) for n in (2, 5, 12)
    ],
}


def variants(name: str, config: DRAWConfig, batch: int, *, compiled: bool) -> dict[str, Run]:
    """Return the same task for each engine, and its floor."""
    torch.manual_seed(0)
    runs: dict[str, Run] = {}
    if name != "iwae":
        backward, encoder = name == "train", name != "generate"
        runs["floor"] = floor(config, batch, backward=backward, encoder=encoder)
    for engine in ("plain", "fused"):
        model = DRAW(config)
        model.engine = engine
        runs[engine] = task(name, model, batch)
    if name == "train":
        runs["bfloat16"] = reduced(runs["fused"])
    if compiled:
        model = DRAW(config)
        model.engine = "plain"
        model.encode_step = torch.compile(model.encode_step)
        model.decode_step = torch.compile(model.decode_step)
        runs["compile"] = task(name, model, batch)
    return runs


def reduced(run: Run) -> Run:
    """Let a task round the factors of its large products, as `--matmul-precision medium` does."""

    def reduced_run() -> None:
        with matmul_precision("medium"):
            run()

    return reduced_run


def peak_megabytes(engine: str, batch: int) -> float:
    """Measure the peak memory that three training steps add to a new process."""
    command = [sys.executable, __file__, "--memory-of", engine, "--batch", str(batch)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def print_peak(engine: str, batch: int) -> None:
    """Run the measurement of `peak_megabytes` in this process."""
    model = DRAW(PAPER)
    model.engine = engine
    run = task("train", model, batch)
    before = _high_water_mark()
    for _ in range(3):
        run()
    print(_high_water_mark() - before)


def _high_water_mark() -> float:
    """Return the peak memory of this process in MB (Linux only)."""
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s*(\d+) kB", status)[1]) / 1024


def row(name: str, config: DRAWConfig, batch: int, rounds: int, *, compiled: bool) -> dict:
    """Measure one task at one setting and print a row of the table."""
    seconds = measure(variants(name, config, batch, compiled=compiled), rounds)
    result = {
        "task": name,
        "batch": batch,
        "config": asdict(config),
        "seconds": {key: round(value, 4) for key, value in seconds.items()},
        "speed_up_over_plain": round(seconds["plain"] / seconds["fused"], 2),
    }
    if "floor" in seconds:
        backward, encoder = name == "train", name != "generate"
        work = gflop(config, batch, backward=backward, encoder=encoder)
        result["share_of_floor"] = round(seconds["floor"] / seconds["fused"], 3)
        result["floor_gflop_per_second"] = round(work / seconds["floor"])
    if "bfloat16" in seconds:
        result["speed_up_of_bfloat16"] = round(seconds["fused"] / seconds["bfloat16"], 2)
    if "compile" in seconds:
        result["speed_up_over_compile"] = round(seconds["compile"] / seconds["fused"], 2)
    cells = [f"{seconds[k]:9.3f}" if k in seconds else " " * 9 for k in ENGINES]
    share = f"{result['share_of_floor']:>10.0%}" if "share_of_floor" in result else " " * 10
    size = f"{config.height}x{config.width}"
    print(
        f"{name:>9}{batch:6}{config.glimpses:5}{size:>9}{config.read_size!s:>5}",
        *cells,
        f"{result['speed_up_over_plain']:>10.2f}x{share}",
        flush=True,
    )
    return result


def classifier_row(rounds: int) -> dict:
    """Measure training of the classifier on cluttered digits, without and with the optimizer."""
    config, batch = ClassifierConfig(), 100
    runs = {engine: classify_task(engine, batch) for engine in ("plain", "fused")}
    runs["floor"] = floor(config, batch, backward=True)
    runs["bfloat16"] = reduced(runs["fused"])
    runs["muon"] = classify_task("fused", batch, optimizer="muon")
    seconds = measure(runs, rounds)
    result = {
        "batch": batch,
        "config": asdict(config),
        "seconds": {key: round(value, 4) for key, value in seconds.items()},
        "speed_up_over_plain": round(seconds["plain"] / seconds["fused"], 2),
        "share_of_floor": round(seconds["floor"] / seconds["fused"], 3),
        "speed_up_of_bfloat16": round(seconds["fused"] / seconds["bfloat16"], 2),
        "floor_gflop_per_second": round(
            gflop(config, batch, backward=True, encoder=True) / seconds["floor"]
        ),
        "muon_share_of_step": round(seconds["muon"] / (seconds["fused"] + seconds["muon"]), 3),
    }
    print(
        f"classifier, forward and backward of {batch} images of 100x100, 8 glimpses: "
        f"floor {seconds['floor']:.3f}, plain {seconds['plain']:.3f}, fused {seconds['fused']:.3f},"
        f" bfloat16 {seconds['bfloat16']:.3f};"
        f" plain/fused {result['speed_up_over_plain']:.2f}, floor/fused "
        f"{result['share_of_floor']:.0%}; Muon takes {result['muon_share_of_step']:.0%} of a step",
        flush=True,
    )
    return result


ENGINES = ("floor", "plain", "compile", "fused", "bfloat16")


COLOURS = {"floor": "#999999", "plain": "#2c6fbb", "fused": "#c0392b", "bfloat16": "#e59866"}


def plot(results: dict) -> None:
    """Plot the seconds per training step of each sweep."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 3), layout="constrained")
    xs = {
        "batch": lambda r: r["batch"],
        "glimpses": lambda r: r["config"]["glimpses"],
        "image size": lambda r: r["config"]["height"],
        "patch size": lambda r: r["config"]["read_size"],
    }
    for axes, (sweep, rows) in zip(figure.subplots(1, 4), results["sweeps"].items(), strict=True):
        for engine, colour in COLOURS.items():
            points = [(xs[sweep](r), r["seconds"][engine]) for r in rows]
            axes.plot(*zip(*points, strict=True), "o-", ms=3, color=colour, label=engine)
        axes.set(xlabel=sweep, xscale="log", yscale="log", xticks=[x for x, _ in points])
        axes.set_xticklabels([str(x) for x, _ in points])
        axes.minorticks_off()
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    figure.axes[0].set_ylabel("seconds per training step")
    figure.axes[0].legend(frameon=False)
    figure.savefig(HERE / "results.png", dpi=130)


def processor() -> str:
    """Return the name of the processor."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="only the main table")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--memory-of", choices=("plain", "fused"), help=argparse.SUPPRESS)
    parser.add_argument("--batch", type=int, default=128, help=argparse.SUPPRESS)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    options = parser.parse_args()
    torch.set_flush_denormal(True)  # like the command line
    if options.device == "cuda" and not torch.cuda.is_available():
        parser.error("PyTorch finds no GPU; use --device cpu")
    if options.device == "cuda":
        batches = (128,) if options.quick else gpu.BATCHES
        results = gpu.table(PAPER, batches=batches, rounds=options.rounds)
        (HERE / "results-cuda.json").write_text(json.dumps(results, indent=2) + "\n")
        return
    if options.memory_of:
        print_peak(options.memory_of, options.batch)
        return

    print(f"{processor()}, {torch.get_num_threads()} threads, torch {torch.__version__}; seconds")
    print(f"{'task':>9}{'batch':>6}{'T':>5}{'image':>9}{'N':>5}", end="")
    print("".join(f"{name:>10}" for name in ENGINES), "plain/fused  floor/fused")
    results: dict = {
        "date": date.today().isoformat(),
        "processor": processor(),
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count(),
        "torch": torch.__version__,
        "seed": 0,
        "rounds": {"main": options.rounds, "sweeps": SWEEP_ROUNDS},
        "main": [
            row(name, PAPER, 128, options.rounds, compiled=name in ("train", "evaluate"))
            for name in TASKS
        ],
        "classifier": classifier_row(3 * options.rounds),  # the steps are short
        "peak_megabytes_of_training_at_128": {
            engine: round(peak_megabytes(engine, 128)) for engine in ("plain", "fused")
        },
    }
    print("peak memory of training at batch 128, MB:", results["peak_megabytes_of_training_at_128"])
    if not options.quick:
        results["sweeps"] = {
            sweep: [row("train", *setting, SWEEP_ROUNDS, compiled=False) for setting in settings]
            for sweep, settings in SWEEPS.items()
        }
        plot(results)
        (HERE / "results.json").write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
