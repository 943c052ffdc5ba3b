"""DRAW: a recurrent neural network for image generation (Gregor et al. 2015).

The public names are imported when first used, so that `import draw` is quick.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from draw import data, figures
    from draw.attention import Window, box, covering_params, filterbank, read, window, write
    from draw.checkpoint import RunFolder
    from draw.classifier import ClassifierConfig, GlimpseClassifier
    from draw.config import TrainConfig
    from draw.errors import DrawError
    from draw.evaluation import Classification, Evaluation, classify, evaluate
    from draw.loading import load
    from draw.model import DRAW, DRAWConfig, Posterior, State, Trace
    from draw.objectives import bits_per_dim, elbo, iwae, log_weight
    from draw.presets import PRESETS
    from draw.training import train

__version__ = "0.1.0"

__all__ = [
    "DRAW",
    "PRESETS",
    "Classification",
    "ClassifierConfig",
    "DRAWConfig",
    "DrawError",
    "Evaluation",
    "GlimpseClassifier",
    "Posterior",
    "RunFolder",
    "State",
    "Trace",
    "TrainConfig",
    "Window",
    "bits_per_dim",
    "box",
    "classify",
    "covering_params",
    "data",
    "elbo",
    "evaluate",
    "figures",
    "filterbank",
    "iwae",
    "load",
    "log_weight",
    "read",
    "train",
    "window",
    "write",
]

_HOMES = {
    "attention": ("Window", "box", "covering_params", "filterbank", "read", "window", "write"),
    "checkpoint": ("RunFolder",),
    "classifier": ("ClassifierConfig", "GlimpseClassifier"),
    "config": ("TrainConfig",),
    "errors": ("DrawError",),
    "evaluation": ("Classification", "Evaluation", "classify", "evaluate"),
    "loading": ("load",),
    "model": ("DRAW", "DRAWConfig", "Posterior", "State", "Trace"),
    "objectives": ("bits_per_dim", "elbo", "iwae", "log_weight"),
    "presets": ("PRESETS",),
    "training": ("train",),
}


def __getattr__(name: str) -> Any:
    if name in ("data", "figures"):
        return import_module(f"draw.{name}")
    for module, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"draw.{module}"), name)
    raise AttributeError(f"module 'draw' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
