"""Where a training step of the engine spends its time, by Linux's `perf`.

    python benchmarks/breakdown.py                a minute; prints a table, writes breakdown.json

The processor is sampled while one thread trains the paper's MNIST network, and each sample is
counted for the part of the step whose function it fell into.
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

# The first pattern that is found in "library symbol" names the part.
PARTS = {
    "matrix products": r"mkl_\w*gemm|mkl_blas",
    "LSTM cells": r"\.so lstm",
    "attention: read, write, error image": r"\.so .*(read|write|look|paint|Filters|filter)",
    "sampling and KL": r"\.so .*sample",
    "copies, sums of biases, the rest of the engine": r"^[0-9a-f]{32}\.so ",
    "Adam, noise and weight layout in PyTorch": r"^libtorch|^libc10",
    "memory and scheduling in the kernel": r"^\[kernel|^\[k\]",
}


def record(recording: str) -> None:
    """Train, and let perf watch all but the first steps."""
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    torch.manual_seed(0)
    model = DRAW(PAPER)
    model.engine = "fused"
    step = task("train", model, BATCH)
    for _ in range(WARM_UP):
        step()
    watch = f"perf record --quiet -F 499 -p {os.getpid()} -o {recording}"
    with subprocess.Popen(watch.split()) as perf:
        for _ in range(STEPS):
            step()
        perf.send_signal(signal.SIGINT)


def samples(recording: str) -> Counter[str]:
    """Samples by part."""
    command = f"perf report -i {recording} --sort dso,symbol --stdio -F sample,dso,symbol -w 0,0,0"
    report = subprocess.run(command.split(), check=True, capture_output=True, text=True).stdout
    parts: Counter[str] = Counter()
    for line in report.splitlines():
        if found := re.match(r"\s*(\d+)\s+(\S+)\s+\[.\] (.*?)\s*$", line):
            count, library, symbol = found.groups()
            place = f"{library} {symbol}"
            named = (part for part, pattern in PARTS.items() if re.search(pattern, place))
            parts[next(named, "Python and the rest")] += int(count)
    return parts


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        recording = f"{folder}/perf.data"
        record(recording)
        parts = samples(recording)
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
