"""Measure what validation images cost the bundled models, for the page's histogram.

    python experiments/costs.py [NAME ...]

For the named models, or for all bundled models that the page shows, the command evaluates the
one-sample bound of 2,000 validation images that they were not trained on, and writes
src/draw/page/costs/NAME.json.
"""

import json
import sys

import torch
from pages import ROOT

from draw import zoo
from draw.evaluation.bounds import image_bounds
from draw.storage.files import read_json, write_atomic
from draw.training.config import TrainConfig

FOLDER = ROOT / "src/draw/page/costs"
IMAGES, SEED = 2000, 0
BINS = 5, 10, 25, 50, 100, 250, 500  # widths of the histogram's bars, nats
MAX_BINS = 110


def main() -> None:
    """Run the command."""
    for name in sys.argv[1:] or zoo.names("DRAW"):
        model = zoo.load(zoo.BUNDLED / name)
        config = TrainConfig.from_dict(read_json(zoo.BUNDLED / name / "run.json")["config"], name)
        images = config.load_images("valid")
        images = images.subset(min(IMAGES, len(images)), SEED)
        costs = -image_bounds(model, images, seed=SEED).elbo.double()
        width = next((size for size in BINS if costs.max() < MAX_BINS * size), BINS[-1])
        counts = torch.bincount((costs / width).long())
        content = {
            "command": "python experiments/costs.py",
            "model": name,
            "weights_sha256": zoo.results(name)["weights_sha256"],
            "data": config.data,
            "split": "valid",
            "images": len(costs),
            "samples": 1,
            "seed": SEED,
            "unit": "nats",
            "mean": round(float(costs.mean()), 2),
            "median": round(float(costs.median()), 2),
            "bin": width,
            "counts": counts.tolist(),  # of images from i * bin to (i + 1) * bin nats
        }
        write_atomic(FOLDER / f"{name}.json", (json.dumps(content) + "\n").encode())
        print(f"{name}: {costs.mean():.1f} nats on average over {len(costs):,} images")


if __name__ == "__main__":
    main()
