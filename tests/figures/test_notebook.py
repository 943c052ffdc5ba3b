"""What a notebook shows for a trace or a film."""

import base64
import io
import re
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from PIL import Image

from draw.figures import Film, notebook
from draw.figures.tiles import WRITE

from .conftest import is_colour


def shown(html: str) -> Image.Image:
    """Return the only picture of a piece of HTML."""
    [(kind, data)] = re.findall(r'<img [^>]*src="data:image/(\w+);base64,([^"]+)"', html)
    picture = Image.open(io.BytesIO(base64.b64decode(data)))
    assert picture.format == kind.upper()
    return picture


def test_a_recorded_trace_is_a_film_with_write_windows(trace):
    film = shown(notebook.trace_html(trace))
    assert (film.format, film.n_frames) == ("WEBP", 3 + 1)
    assert film.size == (2 * 80 + 2, 80)
    assert is_colour(film.convert("RGB"), WRITE).any()
    film.seek(3)
    assert (film.convert("RGB").getpixel((0, 0))) == (255, 255, 255)


def test_an_unrecorded_trace_is_a_grid(unrecorded):
    html = notebook.trace_html(unrecorded)
    assert shown(html).format == "PNG"
    assert "2 images after 3 glimpses" in html


def test_only_some_of_many_images_are_shown(trace):
    many = replace(
        trace,
        z=torch.zeros(3, 100, 5),
        canvas=torch.zeros(100, 1, 8, 8),
        canvases=torch.zeros(3, 100, 1, 8, 8),
        write_window=type(trace.write_window)(*torch.ones(5, 3, 100)),
    )
    for each in (many, replace(many, canvases=None)):
        assert shown(notebook.trace_html(each)).size == (8 * 82 - 2, 8 * 82 - 2)


def test_a_trace_with_gradients_is_shown(trace):
    canvases = trace.canvases.clone().requires_grad_()
    notebook.trace_html(replace(trace, canvases=canvases, canvas=canvases[-1]))


def test_a_film_is_shown_as_it_is(trace):
    film = Film(trace=trace, columns=1, scale=3, windows=False)
    picture = shown(notebook.film_html(film))
    assert (picture.size, picture.n_frames) == (film[0].size, 3)  # equal frames are one
    assert not is_colour(picture.convert("RGB"), WRITE).any()


@pytest.mark.parametrize("is_shell", [True, False])
def test_importing_draw_in_a_notebook_registers_the_formatters(is_shell):
    code = f"""
import sys
from types import ModuleType, SimpleNamespace

names = []
html = SimpleNamespace(for_type_by_name=lambda module, name, function: names.append(name))
formatter = SimpleNamespace(formatters={{"text/html": html}})
sys.modules["IPython"] = ModuleType("IPython")
shell = SimpleNamespace(display_formatter=formatter) if {is_shell} else None
sys.modules["IPython"].get_ipython = lambda: shell
import draw
print(*names, "torch" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == (["Trace", "Film"] if is_shell else []) + ["False"]
