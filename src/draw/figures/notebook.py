"""Show traces and films in notebooks.

`import draw` calls `register` in a notebook, so this module imports nothing slow at its top.
"""

import base64
import io
import math
from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from draw.figures.film import Film
    from draw.trace import Trace

MAX_IMAGES = 64  # a trace may have more
TILE_PIXELS = 84  # approximate size of an image on the screen
FILM_SECONDS, HOLD_MS = 4, 1_500
MAX_FPS = 50


def register() -> None:
    """Let IPython show a `Trace` as a film, or as a grid of images if it was not recorded."""
    from IPython import get_ipython

    shell = get_ipython()
    if shell is not None:
        html = shell.display_formatter.formatters["text/html"]
        html.for_type_by_name("draw.trace", "Trace", trace_html)
        html.for_type_by_name("draw.figures.film", "Film", film_html)


def trace_html(trace: "Trace") -> str:
    """Return a film of a recorded trace as HTML, otherwise a grid of its final images."""
    from draw.figures.film import Film
    from draw.figures.tiles import grid

    count, _, height, width = trace.mean[:MAX_IMAGES].shape
    columns = math.ceil(math.sqrt(count))
    scale = max(1, TILE_PIXELS // max(height, width))
    if trace.canvases is not None:
        return film_html(Film(trace=_first(trace, count), columns=columns, scale=scale))
    file = io.BytesIO()
    grid(trace.mean[:count], columns, scale).save(file, "PNG")
    return _image("png", file.getvalue(), f"{count} images after {len(trace.z)} glimpses")


def _first(trace: "Trace", count: int) -> "Trace":
    """Select what a film shows of the first images."""
    assert trace.canvases is not None
    windows = trace.write_window
    return replace(
        trace,
        z=trace.z[:, :count],
        canvas=trace.canvas[:count],
        canvases=trace.canvases[:, :count],
        write_window=windows and type(windows)(*(field[:, :count] for field in windows)),
        read_window=None,
    )


def film_html(film: "Film") -> str:
    """Return a film as HTML: one image, an animated WebP."""
    from draw.figures.film import webp_bytes

    glimpses = len(film) - 1
    data = webp_bytes(film, fps=min(MAX_FPS, glimpses / FILM_SECONDS), hold_ms=HOLD_MS)
    return _image("webp", data, f"{film.trace.z.shape[1]} images drawn in {glimpses} glimpses")


def _image(kind: str, data: bytes, description: str) -> str:
    source = f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
    return f'<img alt="{description}" title="{description}" src="{source}">'
