"""Pictures of a Trace: grids, films, curves, and what a web page reads.

They draw what they are given and run no model.
"""

from draw.figures.curves import save_curves
from draw.figures.film import Film, check_film, save_film
from draw.figures.grid import grid, nearest, panels, save_picture
from draw.figures.recording import Recording, load_recording, save_recording

__all__ = [
    "Film",
    "Recording",
    "check_film",
    "grid",
    "load_recording",
    "nearest",
    "panels",
    "save_curves",
    "save_film",
    "save_picture",
    "save_recording",
]
