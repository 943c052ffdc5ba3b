"""Draw traces: grids, films, the paper's figures and learning curves.

Nothing here runs a model. Functions that need Matplotlib are imported on first use, because
importing it takes longer than drawing a film.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from draw.figures.film import Film, check_film, looking, save_film
from draw.figures.grid import grid, nearest, panels, save_picture

if TYPE_CHECKING:
    from draw.figures.paper import (
        beside_nearest,
        curves,
        glimpses,
        patches,
        save_plot,
        stages,
        zoom,
    )

__all__ = [
    "Film",
    "beside_nearest",
    "check_film",
    "curves",
    "glimpses",
    "grid",
    "looking",
    "nearest",
    "panels",
    "patches",
    "save_film",
    "save_picture",
    "save_plot",
    "stages",
    "zoom",
]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(import_module("draw.figures.paper"), name)
    raise AttributeError(f"module 'draw.figures' has no attribute {name!r}")
