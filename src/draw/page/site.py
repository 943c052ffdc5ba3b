"""Build the page's folder.

index.html, *.js, style.css   the page, copied from static/
models.json                   names and configurations of the models; the page shows the first one
                              and loads the others on request.
                              Bundled models have a histogram of the cost of validation images.
models/NAME/                  config.json and model.safetensors, with which the page runs the model
models/NAME/results.json      what was measured on a bundled classifier
traces/NAME.json              sample trace of a DRAW, which the page plays while it loads weights
files.json                    all other files; for use without a network, the page keeps its own
                              files and those of the models that the visitor has chosen
"""

import hashlib
import json
import math
import shutil
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from draw import zoo
from draw.errors import ConfigError
from draw.model import DRAW
from draw.page.noise import normals
from draw.page.trace_file import write_trace_file
from draw.storage.files import (
    cache_dir,
    check_replaceable,
    expand_user,
    read_json,
    write_atomic,
)
from draw.storage.hub import CONFIG, WEIGHTS

STATIC = Path(__file__).parent / "static"
COSTS = Path(__file__).parent / "costs"
DEFAULT = "mnist"  # the bundled model that the page shows first
INDEX, FILES, RESULTS = "models.json", "files.json", "results.json"
MAX_SAMPLES = 24  # per sample trace; the page generates missing ones
MAX_TRACE_BYTES = 3 * 2**20  # pixels of a sample trace before compression
CLUTTERED = (1, 100, 100)  # image shape of the classifiers on the page
TRACE_VERSION = 2  # increase to discard cached traces when their content changes


def build_site(folder: Path, models: dict[str, DRAW]) -> None:
    """Write the page, the given models and the bundled models to a folder for any static host.

    The sample traces of models that were built before come from the user's cache.

    Args:
        folder: new or empty, or built by an earlier call, whose models are replaced.
        models: by name; the page shows the first one first.

    Raises:
        ConfigError: if the folder contains files that are not a page.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     build_site(Path(folder), {})
    ...     print(*sorted(path.name for path in Path(folder).glob("*.json")))
    files.json models.json
    """
    folder = expand_user(folder)
    check_replaceable(folder, "a page", _is_site)
    for part in ("models", "traces"):
        shutil.rmtree(folder / part, ignore_errors=True)
    shutil.copytree(STATIC, folder, dirs_exist_ok=True)
    for name, model in models.items():
        model.save(folder / "models" / name)
    names = [*models, *_copy_bundled(folder / "models", exclude=models)]
    for name in names:
        _add_trace(folder / "models" / name, folder / "traces" / f"{name}.json")
    names += _copy_classifiers(folder / "models", exclude=models)
    index = [
        {
            "name": name,
            "config": read_json(folder / "models" / name / CONFIG),
            "costs": None if name in models else _costs(name),
        }
        for name in names
    ]
    write_atomic(folder / INDEX, json.dumps(index).encode())
    files = [p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()]
    write_atomic(folder / FILES, json.dumps(sorted({*files} - {FILES})).encode())


def _is_site(folder: Path) -> bool:
    """Check whether `build_site` wrote the folder, from the structure of its list of models."""
    try:
        index = read_json(folder / INDEX)
        return bool(index) and all(entry.keys() >= {"name", "config"} for entry in index)
    except (ConfigError, AttributeError, TypeError):
        return False


def _costs(name: str) -> dict[str, Any] | None:
    """Return what validation images cost a bundled model; `experiments/costs.py` measures it."""
    path = COSTS / f"{name}.json"
    return read_json(path) if path.is_file() else None


def _copy_bundled(folder: Path, exclude: dict[str, DRAW]) -> list[str]:
    """Copy the bundled models; return their names, with the default model first."""
    bundled = sorted(zoo.names("DRAW"), key=lambda name: (name != DEFAULT, name))
    names = [name for name in bundled if name not in exclude]
    for name in names:
        _copy(name, folder)
    return names


def _copy_classifiers(folder: Path, exclude: dict[str, DRAW]) -> list[str]:
    """Copy the bundled classifiers of cluttered digits and their results; return their names."""
    copied = []
    for name in zoo.names("GlimpseClassifier"):
        config = read_json(zoo.BUNDLED / name / "model" / CONFIG)
        shape = tuple(config[size] for size in ("channels", "height", "width"))
        if name not in exclude and shape == CLUTTERED:
            _copy(name, folder)
            shutil.copyfile(zoo.BUNDLED / name / RESULTS, folder / name / RESULTS)
            copied.append(name)
    return copied


def _copy(name: str, folder: Path) -> None:
    """Copy the configuration and the weights of a bundled model."""
    source = zoo.BUNDLED / name / "model"
    shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("*.md"))


def _add_trace(saved: Path, path: Path) -> None:
    """Write the sample trace of a saved model to `path`, from the cache if it is there."""
    digest = hashlib.sha256()
    for part in (saved.name.encode(), *((saved / file).read_bytes() for file in (CONFIG, WEIGHTS))):
        digest.update(hashlib.sha256(part).digest())
    cached = cache_dir() / "traces" / f"{digest.hexdigest()[:32]}-{TRACE_VERSION}.json"
    path.parent.mkdir(exist_ok=True)
    if cached.is_file():
        shutil.copyfile(cached, path)
        return
    _draw_samples(saved, path)
    with suppress(OSError):  # a cache that cannot be written only costs time
        cached.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=cached.parent) as temporary:  # replaced in one step
            Path(shutil.copy(path, temporary)).replace(cached)


@torch.no_grad()
def _draw_samples(saved: Path, path: Path) -> None:
    """Generate the samples that the page generates for seed 0, and write their trace."""
    model = DRAW.from_pretrained(saved)
    model.engine = "plain"  # nothing to compile for one short run
    size = model.config.glimpses * math.prod(model.config.image_shape)
    count = max(1, min(MAX_SAMPLES, MAX_TRACE_BYTES // size))
    T, Z = model.config.glimpses, model.config.latent_size
    noise = [normals(T * Z, 0, 0, number).view(T, Z) for number in range(count)]  # as in runs.js
    trace = model.generate(count, z=torch.stack(noise, dim=1), record=True)
    labels = [f"seed 0, number {number}" for number in range(count)]
    write_trace_file(path, trace, model, name=saved.name, labels=labels)
