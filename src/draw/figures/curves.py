"""Learning curves."""

import math
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from draw.files import atomic_path


def save_curves(path: Path, records: list[dict[str, Any]]) -> None:
    """The learning curve of a run from the records of its metrics.jsonl, as PNG."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot()
    train = [(r["step"], r["train_elbo_nats"]) for r in records if "train_elbo_nats" in r]
    valid = [(r["step"], r["valid_elbo_nats"]) for r in records if "valid_elbo_nats" in r]
    valid = [point for point in valid if math.isfinite(point[1])]
    if train:
        axes.plot(*zip(*train, strict=True), color="#b0b0b0", linewidth=1, label="training")
    if valid:
        axes.plot(*zip(*valid, strict=True), color="#c0392b", marker="o", ms=3, label="validation")
        best = max(nats for _, nats in valid)
        axes.set_title(f"best validation ELBO {best:.2f} nats", fontsize=10)
        low = min(nats for _, nats in valid)
        axes.set_ylim(low - 0.1 * (best - low) - 5, best + 0.1 * (best - low) + 5)
    axes.set_xlabel("minibatches")
    axes.set_ylabel("ELBO, nats an image")
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    if train or valid:
        axes.legend(frameon=False)
    with atomic_path(path) as partial:
        figure.savefig(partial, format="png", dpi=150)
