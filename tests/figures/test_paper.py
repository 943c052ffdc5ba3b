"""The figures of the paper: layout, windows, and patches compared with the equations."""

import math
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image

from draw import figures
from draw.errors import TraceError
from draw.figures.paper import PATCH
from draw.figures.sheet import FONT_SIZE
from draw.figures.tiles import GAP, MARGIN, READ, WRITE, WRONG, enlarge, title_height
from draw.likelihoods import LIKELIHOODS
from draw.trace import Trace

from .. import twin
from .conftest import is_colour, pixels, window


def counting(T: int, B: int = 2, **windows) -> Trace:
    """Create a recorded trace in which image b has the shade t + 100 b after glimpse t."""
    shade = torch.arange(T)[:, None] + 100 * torch.arange(B)  # [T, B]
    mean = (shade / 255).clamp(1e-6, 1 - 1e-6)
    canvases = mean.logit().view(T, B, 1, 1, 1).expand(T, B, 1, 8, 6)
    fields = {"canvas": canvases[-1], "canvases": canvases, "z": torch.zeros(T, B, 3)}
    return Trace(**fields, likelihood=LIKELIHOODS["bernoulli"], **windows)


def tile(sheet: np.ndarray, row: int, column: int, scale: int) -> np.ndarray:
    """Return one tile of a figure of 8 x 6 images with a line of titles."""
    top = MARGIN + title_height(FONT_SIZE) + row * (8 * scale + GAP)
    left = MARGIN + column * (6 * scale + GAP)
    return sheet[top : top + 8 * scale, left : left + 6 * scale]


# ---------------------------------------------------------------------- figures 1 and 7


@pytest.mark.parametrize(
    ("T", "shown"),
    [
        (64, [0, 6, 11, 17, 23, 29, 34, 40, 46, 52, 57, 63]),
        (12, range(12)),
        (5, range(5)),
        (1, [0]),
    ],
)
def test_stages_show_up_to_twelve_glimpses(T, shown):
    sheet = pixels(figures.stages(counting(T), scale=3))
    assert sheet.shape[1] == len(shown) * (6 * 3 + GAP) - GAP + 2 * MARGIN
    for row in (0, 1):
        for column, t in enumerate(shown):
            assert (tile(sheet, row, column, 3) == t + 100 * row).all()


def test_stages_show_write_windows():
    g_x = torch.tensor([[1.5, 4.5], [3.5, 2.5]], dtype=torch.float64)
    moving = window(g_y=4.5, delta=1.0, sigma=0.5, shape=(2, 2))._replace(g_x=g_x)
    sheet = pixels(figures.stages(counting(2, write_window=moving, write_size=2), scale=4))
    for t, centres in enumerate(g_x.tolist()):
        for b, centre in enumerate(centres):
            columns = np.nonzero(is_colour(tile(sheet, b, t, 4), WRITE))[1]
            assert (
                columns.max() == (centre - 0.5 + 1) * 4
            )  # right side of the border, 2 pixels wide
    unmarked = pixels(figures.stages(counting(2, write_window=moving), scale=4))
    assert not is_colour(unmarked, WRITE).any()


def test_stages_need_a_recorded_trace(unrecorded):
    with pytest.raises(TraceError, match="record=True"):
        figures.stages(unrecorded)


# ---------------------------------------------------------------------- figure 6


def test_beside_nearest_shows_rows_and_neighbours():
    shades = torch.arange(6).view(6, 1, 1, 1) / 255
    samples = shades.expand(6, 1, 8, 6)
    near = (torch.tensor([100, 200]) / 255).view(2, 1, 1, 1).expand(2, 1, 8, 6)
    sheet = pixels(figures.beside_nearest(samples, near, scale=3))
    for row in (0, 1):
        for column in range(3):
            assert (tile(sheet, row, column, 3) == 3 * row + column).all()
        apart = sheet[:, 3 * (6 * 3 + GAP) - GAP + MARGIN :]
        assert (tile(apart, row, 0, 3) == 100 * (row + 1)).all()


# ---------------------------------------------------------------------- figure 5


def test_wrong_predictions_are_red_with_the_label_in_brackets():
    images, windows = torch.zeros(3, 1, 8, 6), window(shape=(2, 3))
    sheet = figures.glimpses(images, windows, [7, 4, 7], [7, 9, 7], read_size=2, scale=12)
    cells = [tile(pixels(sheet), row, 2, 12) for row in range(3)]
    assert [bool(is_colour(cell, WRONG).any()) for cell in cells] == [False, True, False]
    assert (cells[0] == cells[2]).all()
    narrow, wide = ((cell < 200).any(axis=(0, 2)).sum() for cell in cells[:2])
    assert wide > 2 * narrow  # "4 (9)"


# ---------------------------------------------------------------------- figures 3 and 4


def drawn(figure) -> list[np.ndarray]:
    """Return the images of a plot in drawing order, as uint8."""
    panels = [axes for part in figure.subfigs for axes in part.axes]
    return [np.asarray(image.get_array()) for axes in panels for image in axes.images]


def border_of(shown: np.ndarray, image: torch.Tensor) -> tuple[int, int, int]:
    """Return the left end, right end and width of the border over an image in the middle row."""
    row = (shown != enlarge(image[None], 8)[0]).any(-1)[shown.shape[0] // 2].nonzero()[0]
    line = np.split(row, np.nonzero(np.diff(row) > 1)[0] + 1)[0]
    return row.min(), row.max() + 1, len(line)


@pytest.fixture
def image() -> torch.Tensor:
    return torch.rand(3, 30, 40, generator=torch.Generator().manual_seed(0))


def test_patches_equal_what_their_windows_read(image):
    _, *panels = drawn(figures.patches(image))
    assert len(panels) == 6
    found = []
    for shown, patch in zip(panels[::2], panels[1::2], strict=True):
        assert patch.shape == (PATCH * 8, PATCH * 8, 3)
        left, right, line = border_of(shown, image)  # in units of 1/8 pixel
        if right - left == 40 * 8:  # the outer half of the border is outside the image
            delta, line = 40 / PATCH, 2 * line
        else:
            delta = (right - left - line) / 8 / PATCH
        sigma = min(
            np.linspace(line - 2, line + 2, 41) / 8, key=partial(error, image, patch, delta)
        )
        assert error(image, patch, delta, sigma) < 0.01
        found.append((delta, sigma))
    (small, blurred), (large, sharp), (same, soft) = found
    assert small < large == same
    assert sharp < blurred < soft


def error(image: torch.Tensor, patch: np.ndarray, delta: float, sigma: float) -> float:
    """Return the difference between a patch of figure 3 and what a centred window reads."""
    params = np.array([0, 0, 2 * math.log(sigma), math.log(delta * (PATCH - 1) / 39), 0.0])
    read = twin.read(image.double().numpy(), params, PATCH).transpose(1, 2, 0)
    return float(abs(patch[4::8, 4::8] / 255 - read).max())


def test_zoom_shows_the_patch_written_back_and_two_filters(image):
    shown, patch, painted, first, last = drawn(figures.zoom(image))
    delta = 30 / 2 / PATCH
    params = (0.0, 10 / 15.5 - 1, 2 * math.log(delta / 2), math.log(delta * (PATCH - 1) / 39), 0.0)
    read = twin.read(image.double().numpy(), np.array(params), PATCH)
    assert abs(patch[4::8, 4::8] / 255 - read.transpose(1, 2, 0)).max() <= 0.5 / 255 + 1e-5
    back = twin.write(read, np.array(params), 30, 40).transpose(1, 2, 0)
    ones = twin.write(np.ones((3, PATCH, PATCH)), np.array(params), 30, 40)
    assert abs(painted[4::8, 4::8] / 255 - back / ones.max()).max() <= 0.5 / 255 + 1e-5
    left, right, _ = border_of(shown, image)
    assert (left + right) / 2 == pytest.approx(20 * 8, abs=1)
    brightest = [divmod(int(one[4::8, 4::8].sum(-1).argmax()), 40) for one in (first, last)]
    reach = delta * (PATCH - 1) / 2
    for (row, column), sign in zip(brightest, (-1, 1), strict=True):
        assert row + 1 == pytest.approx(10 + sign * reach, abs=0.51)
        assert column + 1 == pytest.approx(20.5 + sign * reach, abs=0.51)


@pytest.mark.parametrize("shape", [(3, 20, 60), (1, 60, 20)])
def test_plots_of_any_shape(shape, tmp_path):
    for plot in (figures.patches(torch.rand(shape)), figures.zoom(torch.rand(shape))):
        figures.save_picture(tmp_path / "plot.png", plot)
        with Image.open(tmp_path / "plot.png") as opened:
            assert is_colour(opened.convert("RGB"), READ).sum() > 100
