"""Pictures of a Trace: grids, films and curves.

They draw what they are given and run no model.
"""

from draw.figures.curves import save_curves
from draw.figures.film import Film, check_film, save_film
from draw.figures.grid import grid, nearest, panels, save_picture

__all__ = [
    "Film",
    "check_film",
    "grid",
    "nearest",
    "panels",
    "save_curves",
    "save_film",
    "save_picture",
]
