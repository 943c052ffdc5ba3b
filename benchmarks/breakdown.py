"""Measure where a training step of the fused engine spends its time, with Linux's `perf`.

    python benchmarks/breakdown.py    about a minute; prints a table and writes breakdown.json

perf samples the processor while one thread trains the paper's MNIST network. Each sample counts
for the part of the step to which its function belongs.
"""

import json
import os
import re
import signal
import subprocess
import tempfile
from collections import Counter
from datetime import date
from pathlib import Path

import torch
from bench import PAPER, processor, task

from draw.model import DRAW

HERE = Path(__file__).parent
BATCH, WARM_UP, STEPS = 128, 3, 60

# The first pattern that matches "library symbol" determines the part.
PARTS = {
    "matrix products": r"mkl_\w*gemm|mkl_blas",
    "LSTM cells": r"\.so lstm",
    "attention: read, write, error image": r"\.so .*(read|write|Filters|filter)",
    "sampling and KL": r"\.so .*sample",
    "copies, sums of biases, the rest of the engine": r"^[0-9a-f]{32}\.so ",
    "Adam, noise and weight layout in PyTorch": r"^libtorch|^libc10",
    "memory and scheduling in the kernel": r"^\[kernel|^\[k\]",
}


def record(file: str) -> None:
    """Train, and record all but the first steps with perf."""
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    torch.manual_seed(0)
    model = DRAW(PAPER)
    model.engine = "fused"
    step = task("train", model, BATCH)
    for _ in range(WARM_UP):
        step()
    command = f"perf record --quiet -F 499 -p {os.getpid()} -o {file}"
    with subprocess.Popen(command.split()) as perf:
        for _ in range(STEPS):
            step()
        perf.send_signal(signal.SIGINT)


def samples(file: str) -> Counter[str]:
    """Count the samples of each part."""
    command = f"perf report -i {file} --sort dso,symbol --stdio -F sample,dso,symbol -w 0,0,0"
    report = subprocess.run(command.split(), check=True, capture_output=True, text=True).stdout
    parts: Counter[str] = Counter()
    for line in report.splitlines():
        if found := re.match(r"\s*(\d+)\s+(\S+)\s+\[.\] (.*?)\s*$", line):
            count, library, symbol = found.groups()
            name = f"{library} {symbol}"
            matches = (part for part, pattern in PARTS.items() if re.search(pattern, name))
            parts[next(matches, "Python and the rest")] += int(count)
    return parts


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = f"{folder}/perf.data"
        record(file)
        parts = samples(file)
    total = sum(parts.values())
    shares = {part: round(count / total, 4) for part, count in parts.most_common()}
    print(f"{processor()}, 1 thread, torch {torch.__version__}, batch {BATCH}, {total} samples")
    for part, share in shares.items():
        print(f"{share:8.1%}  {part}")
    result = {
        "date": date.today().isoformat(),
        "processor": processor(),
        "threads": 1,
        "torch": torch.__version__,
        "batch": BATCH,
        "samples": total,
        "shares": shares,
    }
    (HERE / "breakdown.json").write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
