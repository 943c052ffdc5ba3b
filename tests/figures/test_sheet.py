"""Sheets: PNG for the screen; PDF and SVG that are legible in a column of text."""

import re

import pytest
import torch
from PIL import Image

from draw import figures
from draw.attention import Window
from draw.errors import ConfigError
from draw.figures import Sheet, save_picture
from draw.figures.sheet import INK

from .conftest import is_colour, pixels

WINDOWS = Window(*torch.ones(5, 8, 2))
LOG = [{"step": step, "valid_elbo_nats": -90.0} for step in (1, 2)]
KINDS = {
    "stages": lambda trace: figures.stages(trace, scale=4),
    "glimpses": lambda _: figures.glimpses(
        torch.rand(2, 1, 20, 20), WINDOWS, [7, 4], [7, 9], read_size=5, scale=4
    ),
    "nearest": lambda _: figures.beside_nearest(torch.rand(20, 1, 8, 8), torch.rand(2, 1, 8, 8)),
    "patches": lambda _: figures.patches(torch.rand(1, 28, 28)),
    "zoom": lambda _: figures.zoom(torch.rand(3, 30, 40)),
    "curves": lambda _: figures.curves(LOG),
}


@pytest.mark.parametrize("kind", KINDS)
def test_print_is_a_column_wide_with_text_of_seven_points(trace, tmp_path, kind):
    save_picture(tmp_path / "sheet.svg", KINDS[kind](trace))
    text = (tmp_path / "sheet.svg").read_text()
    width, unit = re.search(r'width="([\d.]+)pt" .* viewBox="0 0 ([\d.]+) ', text).groups()
    assert float(width) == float(unit) == 3.25 * 72  # so that the font's pixels are points
    # Matplotlib 3.9 writes "font: 7px", and 3.11 writes "font-size: 7px".
    styles = re.findall(r'<text style="[^"]*font(?:-size)?: ([\d.]+)px', text)
    sizes = [float(size) for size in styles]
    assert len(sizes) == text.count("<text ")
    assert len(sizes) >= 2
    assert min(sizes) > 6.9


@pytest.mark.parametrize("kind", ["stages", "curves"])  # a sheet and a plot
def test_pdf_files_are_equal_for_equal_figures(trace, tmp_path, kind):
    for name in ("a.pdf", "b.PDF"):
        torch.manual_seed(0)
        save_picture(tmp_path / name, KINDS[kind](trace))
    first, second = ((tmp_path / name).read_bytes() for name in ("a.pdf", "b.PDF"))
    assert first.startswith(b"%PDF")
    assert first == second
    assert b"/MediaBox [ 0 0 234 " in first


def test_texts_do_not_overlap_pictures_in_print():
    tile = Image.new("RGB", (60, 60))
    sheet = figures.panels({"left": tile, "right": tile})
    for size in (8.0, 13.0, 40.0):
        layout = sheet.layout(size)
        bottom = max(text.y + text.size for text in layout.texts)
        assert all(y >= bottom for _, y, _ in layout.pictures)
        rights = [x + picture.width for x, _, picture in layout.pictures]
        assert max(rights) < layout.width


def test_headings_are_shortened_where_the_font_is_large(trace):
    sheet = figures.stages(trace, scale=10)
    assert [text.text for text in sheet.layout(13.0).texts] == ["glimpse 1", "2", "3"]
    assert [text.text for text in sheet.layout(24.0).texts] == ["t = 1", "2", "3"]
    assert [text.text for text in sheet.layout(60.0).texts] == ["1", "2", "3"]


def test_png_has_the_pixels_of_the_screen(trace, tmp_path):
    sheet = figures.stages(trace, scale=4)
    save_picture(tmp_path / "sheet.png", sheet)
    with Image.open(tmp_path / "sheet.png") as opened:
        assert (pixels(opened) == pixels(sheet)).all()
    assert is_colour(sheet.image, INK).any()


def test_plain_pictures_have_every_format(tmp_path):
    grid = figures.grid(torch.rand(4, 1, 8, 8), columns=2)
    for name, start in (("a.png", b"\x89PNG"), ("a.pdf", b"%PDF"), ("a.svg", b"<?xml")):
        save_picture(tmp_path / name, grid)
        assert (tmp_path / name).read_bytes().startswith(start)


def test_a_notebook_shows_a_sheet(trace):
    assert figures.stages(trace)._repr_png_().startswith(b"\x89PNG")


@pytest.mark.parametrize("name", ["a.gif", "a", "a.pdf.txt"])
def test_other_formats_are_errors(tmp_path, name):
    picture = Sheet(lambda size: pytest.fail("the format is checked first"))
    with pytest.raises(ConfigError, match=r"must end in \.png, \.pdf or \.svg"):
        save_picture(tmp_path / name, picture)
