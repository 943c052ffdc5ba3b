"""How the model of a run was trained, in the words of its pages."""

from dataclasses import replace
from datetime import date
from itertools import pairwise
from statistics import median
from typing import Any

from draw import zoo
from draw.errors import RunError
from draw.storage.run_folder import RunFolder
from draw.storage.tensors import weights_digest
from draw.training.config import TrainConfig
from draw.training.state import read_config
from draw.training.presets import PRESETS
from draw.zoo import load


def published_start(run: RunFolder, name: str) -> dict[str, Any] | None:
    """What is known of the published model of this name, if that is what the run started from.

    A run that started from a model of another name, or from none, stands alone.

    Raises:
        RunError: it started from anything else, of which the package does not tell how it was made.
    """
    start = read_config(run).start_from
    if start is None or (start != name and start in zoo.names()):
        return None
    if start != name or name not in zoo.names():
        raise RunError(
            f"{run.path} started from {start}, which is not published, so nobody could train it "
            f"again; publish that as {name}, and start from it by this name"
        )
    if run.read()["data"].get("start") != weights_digest(load(zoo.BUNDLED / name)):
        raise RunError(
            f"{run.path} started from a {name} that is published no more; start it again from the "
            f"one that is"
        )
    return zoo.results(name)


def start_folder(name: str, before: dict[str, Any]) -> str:
    """Where the commands of several trainings put the model that the last one starts from."""
    return f"runs/{name}-{before['command'].count(' && ') + 1}"


def describe(
    run: RunFolder, name: str, hardware: str, before: dict[str, Any] | None = None
) -> dict[str, Any]:
    """How the model of the run was trained.

    Args:
        before: the same of the published model that it started from, if any.
    """
    config, records = read_config(run), run.records()
    command, seconds = train_command(config), training_seconds(run)
    if before:
        start = start_folder(name, before)
        last = train_command(replace(config, start_from=start))
        command = f"{before['command']} --out {start} && {last}"
        hardware = f"{before['hardware']}; then {hardware}"
        seconds += before["training_seconds"]
    key = f"valid_{config.model.metric}_nats"
    best = max((r for r in records if r.get(key) is not None), key=lambda r: r[key])
    speeds = [r["images_per_second"] for r in records if "images_per_second" in r]
    return {
        "name": name,
        "kind": config.model.network,
        "parameters": sum(p.numel() for p in load(run.path).parameters()),
        "command": command,
        "hardware": hardware,
        "date": date.today().isoformat(),
        "training_seconds": round(seconds),
        "images_per_second": round(median(speeds)),
        "step": best["step"],
        "steps": config.steps,
        "trained_on": config.data,
    }


def training_seconds(run: RunFolder) -> float:
    """How long its minibatches took."""
    records = [r for r in run.records() if "images_per_second" in r]
    steps = [0] + [r["step"] for r in records]
    images = [read_config(run).batch_size * (b - a) for a, b in pairwise(steps)]
    return float(sum(n / r["images_per_second"] for n, r in zip(images, records, strict=True)))


def train_command(config: TrainConfig) -> str:
    """The shortest command line that trains so: a preset, and what differs from it."""

    def changes(preset: str) -> list[str]:
        given, usual = config.to_dict(), PRESETS[preset]().to_dict()
        for values in (given, usual):
            values |= {f"model.{key}": value for key, value in values.pop("model").items()}
            del values["data_dir"]
        given["start_from"] = config.start_from  # as it is named there, here or not
        changed = [key for key in given if given[key] != usual[key]]
        return [option(key.replace("_", "-"), given[key]) for key in changed]

    def option(name: str, value: Any) -> str:
        if isinstance(value, bool):
            return f"--{name}" if value else f"--no-{name}"
        return f"--{name} {value}"

    alike = [name for name in PRESETS if type(PRESETS[name]().model) is type(config.model)]
    preset = min(alike, key=lambda name: len(changes(name)))
    return " ".join(["draw train", preset, *changes(preset)])
