"""Learning curves."""

import math
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from draw.files import atomic_path

NAMES = {"elbo": "ELBO", "log_likelihood": "log likelihood of the labels"}


def save_curves(path: Path, records: list[dict[str, Any]], raises: str = "elbo") -> None:
    """The learning curve of a run from the records of its metrics.jsonl, as PNG.

    Args:
        raises: what was learned to be raised, by its name in the records.
    """
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot()
    train, valid = (
        [(r["step"], r[key]) for r in records if key in r]
        for key in (f"train_{raises}_nats", f"valid_{raises}_nats")
    )
    valid = [point for point in valid if math.isfinite(point[1])]
    if train:
        axes.plot(*zip(*train, strict=True), color="#b0b0b0", linewidth=1, label="training")
    if valid:
        axes.plot(*zip(*valid, strict=True), color="#c0392b", marker="o", ms=3, label="validation")
        best = max(nats for _, nats in valid)
        axes.set_title(f"best validation {NAMES[raises]} {best:.2f} nats", fontsize=10)
        low = min(nats for _, nats in valid)
        margin = 0.1 * (best - low) + min(5, abs(best) / 10)
        axes.set_ylim(low - margin, best + margin)
    axes.set_xlabel("minibatches")
    axes.set_ylabel(f"{NAMES[raises]}, nats an image")
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    if train or valid:
        axes.legend(frameon=False)
    with atomic_path(path) as partial:
        figure.savefig(partial, format="png", dpi=150)
