"""Trained models by name: those in the box, your runs, saved folders and the hub."""

import shlex
from pathlib import Path
from typing import Any, TypeVar, overload

from draw import bundled
from draw.checkpoint import RunFolder
from draw.classifier import GlimpseClassifier
from draw.errors import ModelError, RunError
from draw.hub import load_fitting
from draw.model import DRAW
from draw.tasks import TASKS, Network

DEEDS = {DRAW: "paints pictures", GlimpseClassifier: "classifies pictures"}
N = TypeVar("N", bound=Network)


@overload
def load(name: str | Path) -> Any: ...
@overload
def load(name: str | Path, kind: type[N] | None) -> N: ...
def load(name: str | Path, kind: type[N] | None = None) -> Any:
    """A trained model, ready for use.

    Args:
        name: a run folder, a folder written by `save_pretrained`, the name of a model that comes
            with the package (`draw models` lists them; a folder of that name goes before it), or
            a Hugging Face hub id.
        kind: what it must be; otherwise it is what the saved configuration describes.

    Raises:
        ModelError, RunError: there is no such model, it is damaged or of another kind.

    >>> load("quick").generate(4).mean.shape
    torch.Size([1, 4, 1, 28, 28])
    """
    run = RunFolder(bundled.find(name))
    is_run = run.config_file.is_file()
    if is_run and not (run.model / "model.safetensors").is_file():
        raise RunError(
            f"{name} holds no model yet, as it was never validated; "
            f"continue it with draw train --resume --out {shlex.quote(str(name))}"
        )
    if str(name) in bundled.names() and not (is_run or (run.path / "config.json").is_file()):
        raise ModelError(
            f"the folder {name} here holds no config.json, yet goes before the trained model of "
            f"that name; call draw from another folder"
        )
    networks = [task.network for task in TASKS.values()]
    model = load_fitting(networks, run.model if is_run else name)
    if kind is not None and not isinstance(model, kind):
        raise ModelError(f"{name} {DEEDS[type(model)]}; this asks for a model that {DEEDS[kind]}")
    return model
