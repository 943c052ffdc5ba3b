"""Pictures of a Trace: grids, films, the paper's figures, curves, and what a web page reads.

They draw what they are given and run no model.
"""

from draw.figures.curves import save_curves
from draw.figures.film import Film, check_film, save_film
from draw.figures.grid import grid, nearest, panels, save_picture
from draw.figures.paper import beside_nearest, patches, save_plot, stages, zoom
from draw.figures.recording import Recording, load_recording, save_recording

__all__ = [
    "Film",
    "Recording",
    "beside_nearest",
    "check_film",
    "grid",
    "load_recording",
    "nearest",
    "panels",
    "patches",
    "save_curves",
    "save_film",
    "save_picture",
    "save_plot",
    "save_recording",
    "stages",
    "zoom",
]
