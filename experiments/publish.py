"""Add the model of a finished run to the bundled models, and measure it.

    python experiments/publish.py NAME --run RUN --hardware "an Intel Xeon core, torch 2.13.0"
    python experiments/publish.py NAME --test

The first command stores the weights in half precision, measures the stored weights on the training
and validation images, and generates the model card and every page and table that shows its results.
The second command completes the measurements of a published model; with --test it includes the test
images. An interrupted measurement resumes.

The test set is for published models only: weights with test results stay, unless --replace discards
them, and the results of discarded weights remain on the card. If the run started from the published
model of the same name, the card describes both runs.
"""

import argparse
import hashlib
import shutil
import sys
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pages
import provenance
import safetensors.torch
import torch
from torch import Tensor

from draw import figures, zoo
from draw.classifier import GlimpseClassifier
from draw.commands import console, evaluate, render
from draw.commands.output import Output
from draw.errors import DrawError, RunError
from draw.storage.files import dump_json, read_json, write_atomic
from draw.storage.run_folder import RunFolder
from draw.training.state import read_config

PARTIAL_RESULTS = pages.ROOT / "runs" / "bounds"  # outside out/, which `make clean` deletes
MAX_WEIGHTS_BYTES = 8_000_000
EVALUATIONS = {  # options of `draw evaluate`
    "DRAW": ("--split train", "--split valid --samples 10"),
    "GlimpseClassifier": ("--split train", "--split valid"),
}
TEST_EVALUATIONS = {  # by kind, or by name if a model has its own
    "DRAW": (
        "--split test --samples 10 --importance-samples 1 10 100",
        "--split test --importance-samples 1000",
        "--split test --importance-samples 5000 --images 500",
    ),
    "GlimpseClassifier": ("--split test",),
    "cifar10": (  # 1,000 samples of every image would take hours
        "--split test --samples 10",
        "--split test --importance-samples 100 --images 500",
    ),
    "omniglot": (
        "--split test --samples 10",
        "--split test --importance-samples 100 --images 2000",
    ),
}


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", help="a preset, which becomes the name of the model")
    parser.add_argument("--run", type=Path, help="the folder of a finished run")
    parser.add_argument("--hardware", help="the machine and torch version that trained it")
    parser.add_argument("--replace", action="store_true", help="discard weights with test results")
    parser.add_argument("--test", action="store_true", help="measure on the test images as well")
    parser.add_argument("--device", default="auto", help="where to measure: cpu, cuda, ...")
    options = parser.parse_args()
    if (options.run is None) != (options.hardware is None):
        parser.error("--run and --hardware require each other")
    if options.replace and options.run is None:
        parser.error("--replace requires --run")
    try:
        if options.run is not None:
            publish(options.run, options.name, options.hardware, replace=options.replace)
        measure(options.name, test=options.test, device=options.device)
    except DrawError as error:
        sys.exit(f"publish.py: {error}")


def publish(run: Path, name: str, hardware: str, *, replace: bool = False) -> None:
    """Store the model of a run, unless it is already published, and draw its pictures.

    Args:
        replace: discard other published weights even if they have test results.

    Raises:
        RunError: if there is no such experiment, if the run has not finished, or if other weights
            with test results are published.
    """
    if name not in [row.get("preset") for row in pages.EXPERIMENTS]:
        raise RunError(f"{name} is not an experiment; add it to experiments.toml")
    folder = RunFolder.open(run)
    last = folder.records()[-1:]
    if not last or last[0]["step"] != read_config(folder).steps:
        raise RunError(f"{run} has not finished; resume it with draw train --resume --out {run}")
    weights, stored_as = half_precision(zoo.load(run).state_dict())
    sha256 = hashlib.sha256(weights).hexdigest()
    before = zoo.results(name) if name in zoo.names() else None
    if before is None or before["weights_sha256"] != sha256:
        tested = [one for one in before["measured"] if one["split"] == "test"] if before else []
        if tested and not replace:
            raise RunError(
                f"{name} has test results, so its weights are final; --replace discards them"
            )
        start = provenance.published_start(folder, name)
        content = folder.read()
        content["config"]["data_dir"] = None  # a path of the training machine
        if start:
            content["config"]["start_from"] = provenance.start_folder(name, start)
        results = provenance.describe(folder, name, hardware, start) | {
            "stored_as": stored_as,
            "weights_sha256": sha256,
            "given_up": (before["given_up"] if before else []) + tested,
            "measured": [],
        }
        home = zoo.BUNDLED / name
        (home / "results.json").unlink(missing_ok=True)  # it describes the previous weights
        write_atomic(home / "model" / "model.safetensors", weights)
        write_atomic(home / "model" / "config.json", (folder.model / "config.json").read_bytes())
        write_json(home / "run.json", content)
        write_json(home / "results.json", results)
    draw_pictures(folder, name)


def half_precision(weights: dict[str, Tensor]) -> tuple[bytes, str]:
    """Return the weights as float16 and a description of the format; loading restores float32.

    If they are still too large, the largest matrix is stored in eight bits. Without attention, it
    is the encoder's view of the image, where rounding costs little of the bound and leaves samples
    unchanged.

    Raises:
        RunError: if the weights are too large even so, or exceed the range of the format.
    """
    stored, stored_as = {name: value.half() for name, value in weights.items()}, "float16"
    if sum(value.nbytes for value in stored.values()) > MAX_WEIGHTS_BYTES:
        largest = max(weights, key=lambda name: weights[name].numel())
        stored[largest] = weights[largest].to(torch.float8_e4m3fn)
        stored_as = f"float16, {largest} as float8_e4m3fn"
    data = safetensors.torch.save(stored, {"format": "pt"})
    if len(data) > MAX_WEIGHTS_BYTES:
        raise RunError(
            f"the weights take {len(data):,} bytes as {stored_as}; the limit is "
            f"{MAX_WEIGHTS_BYTES:,}"
        )
    if not all(value.float().isfinite().all() for value in stored.values()):
        raise RunError(f"a weight exceeds the range of {stored_as}")
    return data, stored_as


def measure(name: str, *, test: bool, device: str = "auto") -> None:
    """Run the missing evaluations of a published model; save each result and update the pages.

    Args:
        test: measure on the test images as well.

    Raises:
        RunError: if there is no published model of this name.
    """
    if name not in zoo.names():
        raise RunError(f"{name} is not published; pass the folder of its run with --run")
    file, results = zoo.BUNDLED / name / "results.json", zoo.results(name)
    on = torch.device(console.prepare_device(device))
    partial = PARTIAL_RESULTS / name / results["weights_sha256"][:12] / on.type
    done = [one["command"] for one in results["measured"]]
    kind = results["kind"]
    config = read_json(file.parent / "run.json")["config"]
    trained_on_valid = config.get("train_on", "train") != "train"
    on_test = TEST_EVALUATIONS.get(name, TEST_EVALUATIONS[kind]) if test else ()
    for options in EVALUATIONS[kind] + on_test:
        command = f"draw evaluate {name} {options}"
        if command in done or (trained_on_valid and "--split valid" in options):
            continue
        print(command, flush=True)
        arguments = [str(file.parent), *options.split(), "--device", device]
        if kind == "DRAW":
            arguments += ["--out", str(partial / options.replace("--", "").replace(" ", "-"))]
        measured = evaluate.measure(console.parse(evaluate.Options, "draw evaluate", arguments))
        results["measured"].append(
            measured
            | {
                "model": name,
                "command": command,
                "device": device_name(on),
                "date": date.today().isoformat(),
            }
        )
        write_json(file, results)
        pages.write()


def device_name(device: torch.device) -> str:
    """Return the name of a device for results.json."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type.upper()


def draw_pictures(run: RunFolder, name: str) -> None:
    """Save the log, the learning curve and pictures of the stored weights in experiments/NAME."""
    folder = pages.TABLE.parent / name
    folder.mkdir(exist_ok=True)
    shutil.copy(run.log_file, folder)
    config = read_config(run)
    figures.save_picture(
        folder / "curves.png",
        figures.curves(run.records(), config.model.metric, held_out=config.has_validation),
    )
    model = zoo.load(zoo.BUNDLED / name)
    if isinstance(model, GlimpseClassifier):
        images = config.load_images("valid").subset(8, config.seed)
        render.glimpses(model, folder / "glimpses.png", images.first(8), labels=images.labels)
        return
    training = config.load_images(config.train_on).reference_pixels()
    with TemporaryDirectory() as scratch:
        render.sample(model, Output(out=Path(scratch)), seed=config.seed, training=training)
        shutil.copy(Path(scratch) / "samples.png", folder)
    render.stages(model, folder / "stages.png", seed=config.seed)


def write_json(path: Path, values: dict[str, Any]) -> None:
    """Write an indented JSON file atomically."""
    write_atomic(path, dump_json(values).encode())


if __name__ == "__main__":
    main()
