"""Makes a finished run one of the trained models that come with the package.

    python experiments/publish.py NAME --run RUN --hardware "a core of an Intel Xeon, torch 2.13.0"

stores its weights in half precision, measures the stored weights, and writes all that depends on
them: the model's folder in the package, its card, `experiments/NAME`, and every table. Without
--run, what is missing is measured of the published model of that name.

What was measured before it was interrupted is not measured again, nor a part of the images of a
bound that was being measured: --keep names the folder for those.

A run that started from the published model of its name tells that model's training as well.

The test set is for the published model alone. --test measures it, here and nowhere else, once:
weights that have test figures stay, unless --replace gives them up, and their figures are told.
"""

import argparse
import hashlib
import json
import shutil
import sys
from dataclasses import asdict
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
from draw.errors import DrawError, RunError
from draw.storage.files import write_atomic
from draw.storage.run_folder import RunFolder
from draw.training.state import read_config
from draw.zoo import load

KEEP = pages.ROOT / "runs" / "bounds"  # `make clean` leaves it: it may be the work of hours
LIMIT = 4_000_000  # bytes of a model's weights
MEASURED = {
    "DRAW": ("--split train", "--split valid --samples 10"),
    "GlimpseClassifier": ("--split train", "--split valid"),
}
TESTED = {
    "DRAW": (
        "--split test --samples 10 --importance-samples 1 10 100",
        "--split test --importance-samples 1000",
        "--split test --importance-samples 5000 --images {subset}",
    ),
    "GlimpseClassifier": ("--split test",),
}


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", help="a preset; what draw.load will take")
    parser.add_argument("--run", type=Path, help="the run folder of a finished training")
    parser.add_argument("--hardware", help="what it was trained on and with; it goes with --run")
    parser.add_argument("--replace", action="store_true", help="give up weights with test figures")
    parser.add_argument("--test", action="store_true", help="measure it on the test set, for good")
    parser.add_argument("--subset", type=int, default=500, help="images for k = 5,000")
    parser.add_argument("--keep", type=Path, default=KEEP, help="where unfinished bounds are kept")
    parser.add_argument("--device", default="auto", help="where to measure: cpu, cuda, ...")
    options = parser.parse_args()
    if (options.run is None) != (options.hardware is None):
        parser.error("--run and --hardware go together")
    if options.replace and options.run is None:
        parser.error("--replace wants a --run to replace the model by")
    try:
        if options.run is not None:
            publish(options.run, options.name, options.hardware, replacing=options.replace)
        measure(options.name, options.test, options.subset, options.keep, options.device)
    except DrawError as error:
        sys.exit(f"publish.py: {error}")


def publish(run: Path, name: str, hardware: str, *, replacing: bool = False) -> None:
    """Store it, if it is not there already, and draw its pictures.

    Args:
        replacing: give up other weights, though they have test figures.

    Raises:
        RunError: there is no such experiment, the run has not ended, or other weights stay.
    """
    if name not in [row.get("preset") for row in pages.ROWS]:
        raise RunError(f"{name} is no experiment; experiments.toml lists by preset what there is")
    folder = RunFolder.open(run)
    last = folder.records()[-1:]
    if not last or last[0]["step"] != read_config(folder).steps:
        raise RunError(
            f"the training in {run} has not ended; draw train --resume --out {run} goes on"
        )
    weights, stored_as = half_precision(load(run).state_dict())
    sha256 = hashlib.sha256(weights).hexdigest()
    before = zoo.results(name) if name in zoo.names() else None
    is_new = before is None or before["weights_sha256"] != sha256
    tested = before and any(one["split"] == "test" for one in before["measured"])
    if is_new and tested and not replacing:
        raise RunError(
            f"{name} has been measured on the test set, so its weights stay; --replace gives that "
            f"model up for this one"
        )
    if is_new:
        start = provenance.published_start(folder, name)
        content = folder.read()
        content["config"]["data_dir"] = None  # which is of the machine that trained it
        if start:
            content["config"]["start_from"] = provenance.start_folder(name, start)
        given_up = before["given_up"] + before["measured"] if before else []
        results = provenance.describe(folder, name, hardware, start) | {
            "stored_as": stored_as,
            "weights_sha256": sha256,
            "given_up": [one for one in given_up if one["split"] == "test"],
            "measured": [],
        }
        store(folder, name, weights, content, results)
    show(folder, name)


def store(
    run: RunFolder, name: str, weights: bytes, content: dict[str, Any], results: dict[str, Any]
) -> None:
    """The model's folder in the package."""
    home = zoo.BUNDLED / name
    (home / "results.json").unlink(missing_ok=True)  # they were of other weights
    write_atomic(home / "model" / "model.safetensors", weights)
    write_atomic(home / "model" / "config.json", as_json(asdict(load(run.path).config)))
    write_atomic(home / "run.json", as_json(content))
    write_atomic(home / "results.json", as_json(results))


def half_precision(weights: dict[str, Tensor]) -> tuple[bytes, str]:
    """The weights as float16, and what they are; loading makes them float32 again.

    What is too large even so has its largest matrix in eight bits. In a network without attention
    that is the encoder's view of the image, where rounding costs a little of the bound but leaves
    the samples as they are.

    Raises:
        RunError: they are too large nevertheless, or too large a number is among them.
    """
    stored, stored_as = {name: value.half() for name, value in weights.items()}, "float16"
    if sum(value.nbytes for value in stored.values()) > LIMIT:
        largest = max(weights, key=lambda name: weights[name].numel())
        stored[largest] = weights[largest].to(torch.float8_e4m3fn)
        stored_as = f"float16, {largest} as float8_e4m3fn"
    data = safetensors.torch.save(stored, {"format": "pt"})
    if len(data) > LIMIT:
        raise RunError(f"the weights take {len(data):,} bytes in {stored_as}; {LIMIT:,} may be")
    if not all(value.float().isfinite().all() for value in stored.values()):
        raise RunError(f"a weight is beyond the range of {stored_as}")
    return data, stored_as


def measure(name: str, test: bool, subset: int, keep: Path, device: str = "auto") -> None:
    """Call `draw evaluate` for what is missing, and keep each answer at once, on the pages too.

    Args:
        test: on the test set, too.
        subset: of how many images, for the largest k.
        keep: where a bound is kept image by image on its way.

    Raises:
        RunError: there is no published model of this name.
    """
    if name not in zoo.names():
        raise RunError(f"{name} is not published; name the run folder of its training with --run")
    file, results = zoo.BUNDLED / name / "results.json", zoo.results(name)
    on = torch.device(console.prepare_device(device))
    parts = keep / name / results["weights_sha256"][:12] / on.type  # its noise is its own
    done = [one["command"] for one in results["measured"]]
    kind = results["kind"]
    for words in MEASURED[kind] + (TESTED[kind] if test else ()):
        words = words.format(subset=subset)
        command = f"draw evaluate {name} {words}"
        if command in done:
            continue
        print(command, flush=True)
        arguments = [str(file.parent), *words.split(), "--device", device]
        if kind == "DRAW":
            place = words.replace("--", "").replace(" ", "-")  # as split-test-samples-10
            arguments += ["--out", str(parts / place)]
        options = console.parse(evaluate.Options, "draw evaluate", arguments)
        measured = evaluate.measure(options) | {
            "model": name,
            "command": command,
            "device": device_name(on),
            "date": date.today().isoformat(),
        }
        results["measured"].append(measured)
        write_atomic(file, as_json(results))
        write_pages()


def device_name(device: torch.device) -> str:
    """Where it is measured."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type.upper()


def write_pages() -> None:
    """All that shows a figure."""
    for path, text in pages.pages().items():
        write_atomic(path, text.encode())


def show(run: RunFolder, name: str) -> None:
    """The log, the learning curve and pictures of the stored weights, for experiments/NAME."""
    folder = pages.TABLE.parent / name
    folder.mkdir(exist_ok=True)
    shutil.copy(run.log_file, folder)
    config = read_config(run)
    goal = config.model.metric
    figures.save_plot(folder / "curves.png", figures.curves(run.records(), goal))
    model = load(zoo.BUNDLED / name)
    if isinstance(model, GlimpseClassifier):
        images = config.load_images("valid").subset(8, config.seed)
        render.glimpses(model, folder / "glimpses.png", images.first(8), labels=images.labels)
        return
    with TemporaryDirectory() as scratch:
        render.sample(
            model,
            Path(scratch),
            seed=config.seed,
            training=config.load_images("train").reference_pixels(),
        )
        shutil.copy(Path(scratch) / "samples.png", folder)
    render.stages(model, folder / "stages.png", seed=config.seed)


def as_json(values: dict[str, Any]) -> bytes:
    """As a file for people, too."""
    return (json.dumps(values, indent=2) + "\n").encode()


if __name__ == "__main__":
    main()
