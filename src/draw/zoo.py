"""Trained models by name: bundled models, your runs, saved model folders and the Hugging Face Hub.

Each bundled model NAME is a run folder without checkpoints in assets/models:

    NAME/run.json       the training configuration
    NAME/model/         the weights and a model card, as written by `save_pretrained`
    NAME/results.json   everything that was measured on these weights
"""

import json
import shlex
from pathlib import Path
from typing import Any, TypeVar, overload

from draw.classifier import GlimpseClassifier
from draw.errors import ModelError, RunError
from draw.model import DRAW
from draw.storage.files import expand_user
from draw.storage.hub import saved_type
from draw.storage.run_folder import RunFolder

Network = DRAW | GlimpseClassifier
NETWORKS: dict[str, Any] = {"DRAW": DRAW, "GlimpseClassifier": GlimpseClassifier}
PURPOSES = {DRAW: "generates images", GlimpseClassifier: "classifies images"}
BUNDLED = Path(__file__).parent / "assets" / "models"
N = TypeVar("N", bound=Network)


@overload
def load(name: str | Path) -> Any: ...
@overload
def load(name: str | Path, kind: type[N] | None) -> N: ...
def load(name: str | Path, kind: type[N] | None = None) -> Any:
    """Load a trained model.

    Args:
        name: a run folder, a saved model folder (from `save_pretrained`), the name of a bundled
            model (`draw models` lists them; a local folder of that name takes precedence), or a
            Hugging Face Hub id.
        kind: the required class; by default the saved configuration decides.

    Raises:
        ModelError: if there is no such model, or if it is damaged or not of the class `kind`.
        RunError: if the run has no model yet.

    >>> load("quick").generate(4).mean.shape
    torch.Size([4, 1, 28, 28])
    """
    run = RunFolder(find(name))
    is_run = run.config_file.is_file()
    if is_run and not (run.model / "model.safetensors").is_file():
        raise RunError(
            f"{name} has no model yet, because no validation has run; "
            f"resume training with draw train --resume --out {shlex.quote(str(name))}"
        )
    folder = run.model if is_run else run.path
    if str(name) in names() and not is_run and not (folder / "config.json").is_file():
        raise ModelError(
            f"the local folder {name} holds no config.json, but takes precedence over the bundled "
            f"model of that name; run from another folder"
        )
    source = folder if folder.exists() else str(name)  # Path would change the / of a hub id
    network = NETWORKS.get(saved_type(source) or "", kind or DRAW)
    if kind is not None and not issubclass(network, kind):
        raise ModelError(f"{name} {PURPOSES[network]}; a model that {PURPOSES[kind]} is required")
    return network.from_pretrained(source)


def names(kind: str | None = None) -> list[str]:
    """List the bundled models, optionally only those of one class: DRAW or GlimpseClassifier.

    >>> "quick" in names("DRAW")
    True
    """
    folders = sorted(path.parent.parent for path in BUNDLED.glob("*/model/config.json"))
    return [path.name for path in folders if kind is None or saved_type(path / "model") == kind]


def find(name: str | Path) -> Path:
    """Return the run folder of a bundled model, or any other path unchanged.

    An existing local path takes precedence over a bundled model of the same name.

    Raises:
        ModelError: if a name without a slash is neither a local path nor a bundled model.

    >>> find("quick").name, find("someone/digits").name
    ('quick', 'digits')
    """
    path = expand_user(name)
    if path.exists() or len(path.parts) > 1:
        return path
    if path.name in names():
        return BUNDLED / path.name
    raise ModelError(
        f"{name} is neither a run folder, nor a saved model folder, nor a bundled model, nor a Hub "
        f"id (owner/name); the bundled models are {', '.join(names())}"
    )


def results(name: str) -> dict[str, Any]:
    """Read the results.json of a bundled model."""
    return dict(json.loads((BUNDLED / name / "results.json").read_text()))
