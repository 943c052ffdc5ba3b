"""Describe how the model of a run was trained."""

from dataclasses import replace
from datetime import date
from itertools import pairwise
from statistics import median
from typing import Any

from draw import zoo
from draw.errors import RunError
from draw.storage.run_folder import RunFolder, saved_validation
from draw.storage.tensors import weights_digest
from draw.training.config import TrainConfig
from draw.training.presets import PRESETS
from draw.training.state import read_config


def published_start(run: RunFolder, name: str) -> dict[str, Any] | None:
    """Return the results of the published model `name` if the run started from it, else None.

    Raises:
        RunError: if the run started from a model that is not published, because then it could
            not be reproduced.
    """
    start = read_config(run).start_from
    if start is None or (start != name and start in zoo.names()):
        return None
    if start != name or name not in zoo.names():
        raise RunError(
            f"{run.path} started from {start}, which is not published; publish that run as {name} "
            f"first and start from it by this name"
        )
    model = read_config(run).model.build()  # its number of glimpses may differ
    model.load_state_dict(zoo.load(zoo.BUNDLED / name).state_dict())
    if run.read()["data"].get("start") != weights_digest(model):
        raise RunError(
            f"{run.path} started from an earlier version of {name}; train again from the published "
            f"version"
        )
    return zoo.results(name)


def start_folder(name: str, before: dict[str, Any]) -> str:
    """Return the run folder that the commands of several runs use for the preceding model."""
    return f"runs/{name}-{before['command'].count(' && ') + 1}"


def describe(
    run: RunFolder, name: str, hardware: str, before: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Describe the training of a run, for results.json.

    Args:
        before: the description of the published model that the run started from, if any.
    """
    config, records = read_config(run), run.records()
    command, seconds, cpu = train_command(config), training_seconds(run), cpu_seconds(run)
    if before:
        start = start_folder(name, before)
        last = train_command(replace(config, start_from=start))
        command = f"{before['command']} --out {start} && {last}"
        hardware = f"{before['hardware']}; then {hardware}"
        seconds += before["training_seconds"]
        earlier = before.get("cpu_seconds")
        cpu = None if cpu is None or earlier is None else cpu + earlier
    saved = saved_validation(records, config.model.metric, held_out=config.has_validation)
    assert saved is not None
    return {
        "name": name,
        "kind": config.model.network,
        "parameters": sum(p.numel() for p in zoo.load(run.path).parameters()),
        "command": command,
        "hardware": hardware,
        "date": date.today().isoformat(),
        "training_seconds": round(seconds),
        "cpu_seconds": None if cpu is None else round(cpu),
        "images_per_second": round(
            median(r["images_per_second"] for r in records if "images_per_second" in r)
        ),
        "step": saved["step"],
        "steps": config.steps,
        "trained_on": config.data,
    }


def training_seconds(run: RunFolder) -> float:
    """Return the total time of the optimizer steps, from the logged images per second."""
    records = [r for r in run.records() if "images_per_second" in r]
    steps = [0] + [r["step"] for r in records]
    images = [read_config(run).batch_size * (b - a) for a, b in pairwise(steps)]
    return float(sum(n / r["images_per_second"] for n, r in zip(images, records, strict=True)))


def cpu_seconds(run: RunFolder) -> float | None:
    """Return the CPU time of the optimizer steps, or None for logs without it."""
    times = [r.get("cpu_seconds") for r in run.records() if "images_per_second" in r]
    present = [time for time in times if time is not None]
    return sum(present) if len(present) == len(times) else None


def train_command(config: TrainConfig) -> str:
    """Return the shortest command with this configuration: a preset and the options that differ."""

    def changes(preset: str) -> list[str]:
        given, default = config.to_dict(), PRESETS[preset]().to_dict()
        for values in (given, default):
            values |= {f"model.{key}": value for key, value in values.pop("model").items()}
            del values["data_dir"]
        given["start_from"] = config.start_from  # unresolved: it may not exist on this machine
        changed = [key for key in given if given[key] != default[key]]
        return [option(key.replace("_", "-"), given[key]) for key in changed]

    def option(name: str, value: Any) -> str:
        if isinstance(value, bool):
            return f"--{name}" if value else f"--no-{name}"
        return f"--{name} {value}"

    same_network = [name for name in PRESETS if type(PRESETS[name]().model) is type(config.model)]
    preset = min(same_network, key=lambda name: len(changes(name)))
    return " ".join(["draw train", preset, *changes(preset)])
