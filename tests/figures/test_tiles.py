"""Tiles, window borders, panels and nearest neighbours, compared pixel by pixel."""

import math

import numpy as np
import pytest
import torch
from PIL import Image

from draw.attention import Window, box
from draw.figures import grid, nearest, panels, save_picture
from draw.figures.sheet import INK
from draw.figures.tiles import COLOURS, GAP, MARGIN, READ, WRITE, Kind, tinted, window_at, windowed

from .conftest import is_colour, pixels, window

# ---------------------------------------------------------------------- grid and panels


def test_grid_is_filled_row_by_row_on_white():
    images = torch.tensor([0.0, 0.2, 0.4, 0.6, 0.8]).view(5, 1, 1, 1).expand(5, 1, 3, 2)
    sheet = pixels(grid(images, columns=3, scale=2))
    expected = np.full((6 + GAP + 6, 4 + GAP + 4 + GAP + 4), 255)
    expected[:6, :4], expected[:6, 6:10], expected[:6, 12:] = 0, 51, 102
    expected[8:, :4], expected[8:, 6:10] = 153, 204
    assert (sheet == expected[..., None]).all()


def test_pixels_become_sharp_squares():
    image = torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]], [[0.2, 0.6]]])  # [C, H, W]
    sheet = pixels(grid(image[None], columns=1, scale=3))
    assert sheet.shape == (3, 6, 3)
    assert (sheet[:, :3] == (255, 0, 51)).all()
    assert (sheet[:, 3:] == (0, 255, 153)).all()


def test_values_are_clipped_and_a_short_row_is_narrow():
    sheet = pixels(grid(torch.tensor([-3.0, 7.0]).view(2, 1, 1, 1), columns=8, scale=1))
    assert sheet.tolist() == [[[0] * 3, [255] * 3, [255] * 3, [255] * 3]]


def test_panels_are_side_by_side_below_their_titles():
    left, right = Image.new("RGB", (40, 30), WRITE), Image.new("RGB", (60, 20), READ)
    sheet = panels({"left": left, "right": right}).image
    reds, greens = np.argwhere(is_colour(sheet, WRITE)), np.argwhere(is_colour(sheet, READ))
    assert len(reds) == 40 * 30
    assert len(greens) == 60 * 20
    assert reds[:, 1].min() == MARGIN
    assert greens[:, 1].min() == reds[:, 1].max() + 1 + MARGIN
    assert greens[:, 0].min() == reds[:, 0].min()
    assert sheet.width == greens[:, 1].max() + 1 + MARGIN
    ink = np.argwhere(is_colour(sheet, INK))
    assert ink[:, 0].max() < reds[:, 0].min()
    assert (ink[:, 1] < 40).any()
    assert (ink[:, 1] >= greens[:, 1].min()).any()


def test_panel_is_at_least_as_wide_as_its_title():
    narrow = panels(
        {
            "a title of some length": Image.new("RGB", (10, 10), WRITE),
            "b": Image.new("RGB", (9, 9), READ),
        }
    ).image
    reds, greens = np.argwhere(is_colour(narrow, WRITE)), np.argwhere(is_colour(narrow, READ))
    ink = np.argwhere(is_colour(narrow, INK))
    title_end = ink[ink[:, 1] < greens[:, 1].min()][:, 1].max()
    assert reds[:, 1].min() == MARGIN
    assert reds[:, 1].max() < title_end < greens[:, 1].min()
    assert narrow.width == greens[:, 1].max() + 1 + MARGIN


def test_save_picture_is_lossless_and_creates_folders(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8)
    save_picture(tmp_path / "new" / "picture.png", Image.fromarray(noise))
    with Image.open(tmp_path / "new" / "picture.png") as opened:
        assert opened.format == "PNG"
        assert (pixels(opened) == noise).all()
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["picture.png"]


# ---------------------------------------------------------------------- windows


def border(size: int, left: float, right: float, line: float) -> np.ndarray:
    """Return the pixels whose centres are within half a line width of the square left..right."""
    centre = np.arange(size) + 0.5
    outside = (left - line / 2 <= centre) & (centre < right + line / 2)
    inside = (left + line / 2 <= centre) & (centre < right - line / 2)
    return np.outer(outside, outside) & ~np.outer(inside, inside)


def outlined(
    where: Window,
    size: int = 2,
    scale: int = 4,
    shape: tuple[int, int] = (8, 8),
    kind: Kind = "read",
) -> tuple[np.ndarray, np.ndarray]:
    """Return where the line of a window is drawn into a black tile, and the line or the band."""
    height, width = shape
    black = torch.zeros(1, 1, height, width)
    [tile] = windowed(black, scale, Window(*(field[None] for field in where)), size, kind)
    line = is_colour(tile, COLOURS[kind])
    band = is_colour(tile, tuple(tinted(np.zeros((1, 3)), COLOURS[kind])[0]))
    assert (tile[~line & ~band] == 0).all()
    return line, line | band


@pytest.mark.parametrize(
    ("scale", "sigma", "line"), [(4, 0.5, 2), (4, 1.0, 2), (6, 1.0, 3), (2, 1.0, 1), (8, 0.25, 4)]
)
def test_a_line_is_at_the_extent_of_the_patch_in_a_band_sigma_wide(scale, sigma, line):
    # n = 2 filters 2 pixels apart around 4.5: pixels 3 to 6, that is from 2 to 6 counted from 0
    thin, painted = outlined(window(sigma=sigma), scale=scale)
    place = 8 * scale, 2 * scale, 6 * scale
    assert (thin == border(*place, line)).all()
    assert (painted == border(*place, max(line, sigma * scale))).all()


@pytest.mark.parametrize("sigma", [0.3, 0.7, 1.1, 1.9])
def test_border_between_pixels(sigma):
    where = window(g_x=4.37, g_y=4.37, delta=1.73, sigma=sigma)
    left, _, right, _ = (float(edge) for edge in box(where, 3))
    line, painted = outlined(where, size=3, scale=10)
    place = 80, (left - 0.5) * 10, (right - 0.5) * 10
    assert (line == border(*place, 5)).all()
    assert (painted == border(*place, max(5, sigma * 10))).all()


def test_the_picture_is_visible_through_the_band():
    white = torch.ones(1, 1, 8, 8)
    [tile] = windowed(white, 4, Window(*(field[None] for field in window())), 2, "read")
    assert tile[16, 6].tolist() == (0.7 * 255 + 0.3 * np.array(READ)).round().tolist()


def test_border_in_an_oblong_image():
    where = window(g_x=4.5, g_y=7.5, delta=1.0, sigma=0.5)
    rows, columns = np.nonzero(outlined(where, shape=(15, 10))[1])
    # columns 3 to 5, rows 6 to 8; the border extends 1 of 4 screen pixels to either side
    assert (columns.min(), columns.max()) == (3 * 4 - 1, 5 * 4)
    assert (rows.min(), rows.max()) == (6 * 4 - 1, 8 * 4)


def test_a_line_is_at_least_one_pixel_wide():
    line, painted = outlined(window(sigma=1e-6), scale=1)
    assert (line == painted).all()
    assert line[4].sum() == 2
    assert line[:, 4].sum() == 2


def test_border_is_clipped_at_the_edge():
    line, painted = outlined(window(g_x=8.5))  # from 6 to 10, of 8
    assert line[16].nonzero()[0].tolist() == [23, 24]  # only its left side
    assert painted[16].nonzero()[0].tolist() == [22, 23, 24, 25]
    assert painted[8, 22:].all()


def test_borders_of_write_windows_have_three_dashes_per_side():
    where = window(g_x=4.5, g_y=4.5, delta=2.5, sigma=0.5)
    solid, dashed = (outlined(where, kind=kind)[0] for kind in ("read", "write"))
    assert (dashed <= solid).all()
    for middle in (dashed[:, 6], dashed[6]):  # along the left and the upper side
        assert (np.diff(middle.astype(int)) == 1).sum() == 3
        assert 0.5 < middle[solid[6]].mean() < 0.75


@pytest.mark.parametrize("far", [20.0, -20.0, 1e30, math.inf, -math.inf])
def test_window_outside_the_image(far):
    for where in (window(g_x=far), window(g_y=far), window(g_x=far, g_y=far)):
        assert not outlined(where)[1].any()


@pytest.mark.parametrize("huge", [100.0, 1e30, math.inf])
def test_a_huge_window_is_outside_and_a_huge_sigma_covers_the_image(huge):
    assert not outlined(window(delta=huge))[1].any()
    assert outlined(window(sigma=huge))[1].all()


def test_each_tile_has_its_window_of_glimpse_t():
    g_x = torch.tensor([[2.5, 6.5], [4.5, 3.5]], dtype=torch.float64)  # [T, n]
    moving = window(delta=1.0, sigma=0.5, shape=(2, 2))._replace(g_x=g_x)
    for t, centres in enumerate(g_x.tolist()):
        tiles = windowed(torch.zeros(2, 1, 8, 8), 4, window_at(moving, t), 2, "read")
        for tile, centre in zip(tiles, centres, strict=True):
            columns = np.nonzero(is_colour(tile, READ))[1]
            assert (columns.min() + columns.max() + 1) / 2 == (centre - 0.5) * 4


@pytest.mark.parametrize("absent", ["window", "size"])
def test_no_border_without_a_window_or_size(absent):
    where = None if absent == "window" else window(shape=(3,))
    size = None if absent == "size" else 2
    assert not windowed(torch.zeros(3, 1, 8, 8), 4, where, size, "read").any()


# ---------------------------------------------------------------------- nearest


def test_nearest_finds_candidates_in_every_chunk():
    stream = torch.Generator().manual_seed(0)
    candidates = torch.randint(0, 256, (9000, 3, 5, 4), generator=stream).to(torch.uint8)
    chosen = torch.tensor([7, 0, 8999, 4096, 7])
    images = candidates[chosen] / 255 + 0.05 * torch.randn(5, 3, 5, 4, generator=stream)
    assert torch.equal(nearest(images, candidates), candidates[chosen] / 255)


def test_nearest_uses_the_l2_distance():
    image = torch.zeros(1, 1, 1, 4)
    spread = torch.full((1, 1, 1, 4), 76, dtype=torch.uint8)  # L1 1.2, L2 0.6
    peak = torch.tensor([0, 0, 0, 255], dtype=torch.uint8).view(1, 1, 1, 4)  # L1 1.0, L2 1.0
    assert torch.equal(nearest(image, torch.cat([peak, spread])), spread / 255)
