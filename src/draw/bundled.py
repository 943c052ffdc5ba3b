"""The trained models that come with the package.

NAME/run.json       how it was trained, and on what: a run folder without its checkpoints
NAME/model/         the weights, and a card; what `save_pretrained` would write
NAME/results.json   what was measured on these weights, and nowhere else
"""

import json
from pathlib import Path
from typing import Any

from draw.errors import ModelError

HOME = Path(__file__).parent / "assets" / "models"


def names(kind: str | None = None) -> list[str]:
    """Which there are, or which of one kind of network: DRAW or GlimpseClassifier.

    >>> "quick" in names("DRAW")
    True
    """
    found = sorted(path.parent.name for path in HOME.glob("*/results.json"))
    return [name for name in found if kind in (None, results(name)["kind"])]


def find(name: str | Path) -> Path:
    """The run folder of a bundled model; any other name, and a path that exists, as it is.

    A folder of yours thus wins over a bundled model of the same name.

    Raises:
        ModelError: a name without a slash is neither a path here nor a bundled model.

    >>> find("quick").name, find("someone/digits").name
    ('quick', 'digits')
    """
    path = Path(name)
    if path.exists() or len(path.parts) > 1:
        return path
    if path.name in names():
        return HOME / path.name
    raise ModelError(
        f"{name} is not a run folder or a saved model's folder, nor one of the trained models: "
        f"{', '.join(names())}"
    )


def results(name: str) -> dict[str, Any]:
    """The content of a bundled model's results.json."""
    return dict(json.loads((HOME / name / "results.json").read_text()))
