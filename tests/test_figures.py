"""Pictures of a Trace, to the pixel."""

import math

import numpy as np
import pytest
import torch
from PIL import Image

from draw.attention import Window
from draw.errors import TraceError
from draw.figures import (
    GAP,
    GREEN,
    INK,
    MARGIN,
    RED,
    frames,
    grid,
    nearest,
    outline,
    panels,
    save_curves,
    save_film,
    save_picture,
)
from draw.model import Trace

BLACK, WHITE = (0, 0, 0), (255, 255, 255)


def pixels(picture: Image.Image) -> np.ndarray:
    return np.asarray(picture.convert("RGB")).astype(int)


def is_colour(picture: Image.Image, colour: tuple[int, int, int]) -> np.ndarray:
    return (pixels(picture) == colour).all(-1)


def window(g_x=4.5, g_y=4.5, delta=2.0, sigma=1.0, shape=()) -> Window:
    fields = (g_x, g_y, delta, sigma**2, 1.0)
    return Window(*(torch.full(shape, value, dtype=torch.float64) for value in fields))


# ---------------------------------------------------------------------- grid and panels


def test_a_grid_goes_row_by_row_with_white_between_and_where_no_image_is():
    images = torch.tensor([0.0, 0.2, 0.4, 0.6, 0.8]).view(5, 1, 1, 1).expand(5, 1, 3, 2)
    sheet = pixels(grid(images, columns=3, scale=2))
    expected = np.full((6 + GAP + 6, 4 + GAP + 4 + GAP + 4), 255)
    expected[:6, :4], expected[:6, 6:10], expected[:6, 12:] = 0, 51, 102
    expected[8:, :4], expected[8:, 6:10] = 153, 204
    assert (sheet == expected[..., None]).all()


def test_each_pixel_becomes_a_crisp_square_in_its_colour():
    image = torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]], [[0.2, 0.6]]])  # [C, H, W]
    sheet = pixels(grid(image[None], columns=1, scale=3))
    assert sheet.shape == (3, 6, 3)
    assert (sheet[:, :3] == (255, 0, 51)).all()
    assert (sheet[:, 3:] == (0, 255, 153)).all()


def test_values_outside_0_to_1_are_clipped_and_a_short_row_is_no_wider_than_its_images():
    sheet = pixels(grid(torch.tensor([-3.0, 7.0]).view(2, 1, 1, 1), columns=8, scale=1))
    assert sheet.tolist() == [[[0] * 3, [255] * 3, [255] * 3, [255] * 3]]


def test_panels_stand_side_by_side_each_whole_and_below_a_title():
    left, right = Image.new("RGB", (40, 30), RED), Image.new("RGB", (60, 20), GREEN)
    sheet = panels({"left": left, "right": right})
    reds, greens = np.argwhere(is_colour(sheet, RED)), np.argwhere(is_colour(sheet, GREEN))
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


def test_a_picture_is_saved_without_loss_in_a_folder_made_for_it(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8)
    save_picture(tmp_path / "new" / "picture.png", Image.fromarray(noise))
    with Image.open(tmp_path / "new" / "picture.png") as opened:
        assert opened.format == "PNG"
        assert (pixels(opened) == noise).all()
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["picture.png"]


# ---------------------------------------------------------------------- windows


def border(size: int, left: float, right: float, line: float) -> np.ndarray:
    """The pixels whose centres are within half a line of the square left..right, corners too."""
    centre = np.arange(size) + 0.5
    outside = (left - line / 2 < centre) & (centre < right + line / 2)
    inside = (left + line / 2 < centre) & (centre < right - line / 2)
    return np.outer(outside, outside) & ~np.outer(inside, inside)


@pytest.mark.parametrize(
    ("scale", "sigma", "line"), [(4, 0.5, 2), (4, 1.0, 4), (6, 1.0, 6), (2, 1.0, 2), (8, 0.25, 2)]
)
def test_the_border_lies_on_the_extent_of_the_patch_and_is_sigma_wide(scale, sigma, line):
    # n = 2 filters 2 pixels apart around 4.5: pixels 3 to 6, that is from 2 to 6 counted from 0
    picture = Image.new("RGB", (8 * scale, 8 * scale))
    outline(picture, window(sigma=sigma), 2, scale, RED)
    drawn = is_colour(picture, RED)
    assert (drawn == border(8 * scale, 2 * scale, 6 * scale, line)).all()
    assert (pixels(picture)[~drawn] == 0).all()


def test_a_window_that_is_not_square_to_the_picture_is_drawn_where_it_is():
    picture = Image.new("RGB", (40, 60))
    outline(picture, window(g_x=4.5, g_y=7.5, delta=1.0, sigma=0.5), 2, 4, GREEN)
    rows, columns = np.nonzero(is_colour(picture, GREEN))
    # from 3 to 5 across, from 6 to 8 down, the line reaching 1 pixel of 4 to either side
    assert (columns.min(), columns.max()) == (3 * 4 - 1, 5 * 4)
    assert (rows.min(), rows.max()) == (6 * 4 - 1, 8 * 4)


def test_the_sharpest_window_still_has_a_line():
    picture = Image.new("RGB", (32, 32))
    outline(picture, window(sigma=1e-6), 2, 4, RED)
    drawn = is_colour(picture, RED)
    assert drawn[16].sum() == 2
    assert drawn[:, 16].sum() == 2


def test_the_border_is_cut_off_at_the_edge_of_the_picture():
    picture = Image.new("RGB", (32, 32))
    outline(picture, window(g_x=8.5), 2, 4, RED)  # from 6 to 10, of 8
    drawn = is_colour(picture, RED)
    assert drawn[16].nonzero()[0].tolist() == [22, 23, 24, 25]  # its left side alone
    assert drawn[8, 22:].all()


@pytest.mark.parametrize("far", [20.0, -20.0, 1e6, -1e6, 1e30, -1e30, math.inf, -math.inf])
def test_a_window_far_outside_leaves_the_picture_as_it_is(far):
    for where in (window(g_x=far), window(g_y=far), window(g_x=far, g_y=far)):
        picture = Image.new("RGB", (32, 32))
        outline(picture, where, 2, 4, RED)
        assert not pixels(picture).any()


@pytest.mark.parametrize("huge", [100.0, 1e30, math.inf])
def test_a_huge_window_has_its_border_outside_the_picture(huge):
    picture = Image.new("RGB", (32, 32))
    outline(picture, window(delta=huge), 2, 4, RED)
    assert not pixels(picture).any()


@pytest.mark.parametrize("huge", [100.0, 1e30, math.inf])
def test_a_huge_sigma_covers_the_picture(huge):
    picture = Image.new("RGB", (32, 32))
    outline(picture, window(sigma=huge), 2, 4, RED)
    assert is_colour(picture, RED).all()


# ---------------------------------------------------------------------- frames


@pytest.fixture
def trace() -> Trace:
    """Three steps of two 8 x 8 images: black, then grey, then white."""
    logits = torch.tensor([-1000.0, 0.0, 1000.0]).view(3, 1, 1, 1, 1)
    return Trace(
        canvas=logits.expand(3, 2, 1, 8, 8),
        z=torch.zeros(3, 2, 5),
        read=window(g_x=2.5, g_y=2.5, delta=1.0, sigma=0.25, shape=(3, 2)),
        write=window(g_x=6.5, g_y=6.5, delta=1.0, sigma=0.25, shape=(3, 2)),
    )


def test_there_is_a_frame_for_each_step_with_the_canvas_of_that_step(trace):
    film = frames(trace, columns=2, scale=2)
    assert [frame.size for frame in film] == [(16 + GAP + 16, 16)] * 3
    for frame, value in zip(film, (0, 128, 255), strict=True):
        assert (pixels(frame)[:, :16] == value).all()
        assert (pixels(frame)[:, 18:] == value).all()


def test_windows_are_drawn_read_in_green_and_write_in_red_if_their_size_is_given(trace):
    def colours(**sizes: int | None) -> list[bool]:
        film = frames(trace, columns=2, scale=4, **sizes)
        assert len(film) == 3
        present = [[is_colour(frame, c).any() for c in (GREEN, RED)] for frame in film]
        assert present == [present[0]] * 3
        return present[0]

    assert colours() == [False, False]
    assert colours(read_size=2) == [True, False]
    assert colours(write_size=2) == [False, True]
    assert colours(read_size=2, write_size=2) == [True, True]
    assert colours(read_size=2, write_size=None) == [True, False]


def test_each_image_and_step_has_its_own_window(trace):
    g_x = torch.tensor([[2.5, 6.5], [6.5, 2.5], [4.5, 4.5]], dtype=torch.float64)
    moving = Trace(canvas=trace.canvas, z=trace.z, write=trace.write._replace(g_x=g_x))
    for frame, centres in zip(frames(moving, columns=2, scale=4, write_size=2), g_x, strict=True):
        for tile, centre in enumerate(centres.tolist()):
            red = is_colour(frame, RED)[:, tile * 34 :][:, :32]
            columns = np.nonzero(red)[1]
            middle = (columns.min() + columns.max() + 1) / 2
            assert middle == pytest.approx((centre - 0.5) * 4, abs=0.5)


def test_a_trace_without_windows_has_frames_all_the_same(trace):
    plain = Trace(canvas=trace.canvas, z=trace.z)
    assert len(frames(plain, columns=2, read_size=2, write_size=2)) == 3


def test_a_trace_that_was_not_recorded_is_refused_with_what_to_do(trace):
    with pytest.raises(TraceError, match="record=True"):
        frames(Trace(canvas=trace.canvas[-1:], z=trace.z), columns=2)


# ---------------------------------------------------------------------- films


def read_film(path) -> tuple[list[np.ndarray], list[int], int]:
    """The frames, how long each is shown in ms, and how often the film starts again."""
    with Image.open(path) as film:
        shown, times = [], []
        for number in range(film.n_frames):
            film.seek(number)
            shown.append(pixels(film))
            times.append(film.info["duration"])
        return shown, times, film.info["loop"]


def noisy(count: int, colour: bool) -> list[Image.Image]:
    """Frames of noise with a red and a green bar across each."""
    shape = (count, 40, 50, 3 if colour else 1)
    noise = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    noise = noise.repeat(1 if colour else 3, axis=-1)
    noise[:, 10:13], noise[:, 20:23] = RED, GREEN
    return [Image.fromarray(frame) for frame in noise]


def test_a_film_has_every_frame_lasts_as_asked_holds_the_last_and_loops_for_ever(tmp_path):
    save_film(tmp_path / "film.gif", noisy(8, colour=False), seconds=4.0)
    shown, times, loop = read_film(tmp_path / "film.gif")
    assert len(shown) == 8
    assert times == [500] * 7 + [1500]
    assert loop == 0
    assert [p.name for p in tmp_path.iterdir()] == ["film.gif"]


@pytest.mark.parametrize(("count", "each"), [(3, 1330), (64, 60), (1000, 20)])
def test_times_are_whole_hundredths_of_a_second_and_never_too_short_for_a_browser(
    tmp_path, count, each
):
    tiny = [Image.new("RGB", (2, 1), (number % 2 * 255,) * 3) for number in range(count)]
    save_film(tmp_path / "film.gif", tiny, seconds=4.0)
    assert read_film(tmp_path / "film.gif")[1] == [each] * (count - 1) + [1500]


def test_frames_that_are_the_same_lengthen_the_film_as_if_they_differed(tmp_path):
    same = [Image.new("RGB", (4, 4), BLACK)] * 2 + [Image.new("RGB", (4, 4), WHITE)] * 2
    save_film(tmp_path / "film.gif", same, seconds=4.0)
    shown, times, _ = read_film(tmp_path / "film.gif")
    assert sum(times) == 3 * 1000 + 1500
    assert shown[0].max() < 5
    assert shown[-1].min() > 250


@pytest.mark.parametrize("colour", [False, True], ids=["grey", "colour"])
def test_white_paper_and_black_stay_white_and_black(tmp_path, colour):
    pictures = noisy(3, colour)
    for picture in pictures:
        picture.paste(WHITE, (0, 30, 50, 35))
        picture.paste(BLACK, (0, 35, 50, 40))
    save_film(tmp_path / "film.gif", pictures)
    for frame in read_film(tmp_path / "film.gif")[0]:
        assert (frame[30:35] == 255).all()
        assert (frame[35:40] == 0).all()


def test_a_film_of_one_frame_is_that_frame(tmp_path):
    save_film(tmp_path / "film.gif", [Image.new("RGB", (4, 4), RED)])
    [shown], _, _ = read_film(tmp_path / "film.gif")
    assert (shown == RED).all()


@pytest.mark.parametrize("colour", [False, True], ids=["grey", "colour"])
def test_the_colours_of_the_windows_survive_the_palette(tmp_path, colour):
    save_film(tmp_path / "film.gif", noisy(4, colour))
    for frame in read_film(tmp_path / "film.gif")[0]:
        assert (frame[10:13] == RED).all()
        assert (frame[20:23] == GREEN).all()


def test_the_windows_of_early_frames_survive_though_the_last_has_none(tmp_path):
    *early, last = noisy(3, colour=True)
    last.paste((120, 90, 60), (0, 0, 50, 40))
    save_film(tmp_path / "film.gif", [*early, last])
    shown, _, _ = read_film(tmp_path / "film.gif")
    assert (shown[0][10:13] == RED).all()
    assert (shown[0][20:23] == GREEN).all()
    assert (abs(shown[-1] - (120, 90, 60)) <= 8).all()


def test_every_grey_stays_grey_and_is_at_most_five_of_256_off_in_every_frame(tmp_path):
    greys = [Image.fromarray(np.roll(np.arange(256, dtype=np.uint8), n)[None]) for n in range(3)]
    pictures = [grey.convert("RGB").resize((256, 4), Image.Resampling.NEAREST) for grey in greys]
    save_film(tmp_path / "film.gif", pictures)
    for shown, given in zip(read_film(tmp_path / "film.gif")[0], pictures, strict=True):
        assert abs(shown - pixels(given)).max() <= 5
        assert (np.ptp(shown, axis=-1) == 0).all()


# ---------------------------------------------------------------------- nearest


def test_nearest_is_the_candidate_at_the_least_distance():
    """Also where it stands beyond the first chunk of a large set."""
    stream = torch.Generator().manual_seed(0)
    candidates = torch.randint(0, 256, (9000, 3, 5, 4), generator=stream).to(torch.uint8)
    chosen = torch.tensor([7, 0, 8999, 4096, 7])
    images = candidates[chosen] / 255 + 0.05 * torch.randn(5, 3, 5, 4, generator=stream)
    assert torch.equal(nearest(images, candidates), candidates[chosen] / 255)


def test_nearest_measures_the_sum_of_squares_and_not_of_absolute_values():
    image = torch.zeros(1, 1, 1, 4)
    spread = torch.full((1, 1, 1, 4), 76, dtype=torch.uint8)  # L1 1.2, L2 0.6
    peak = torch.tensor([0, 0, 0, 255], dtype=torch.uint8).view(1, 1, 1, 4)  # L1 1.0, L2 1.0
    assert torch.equal(nearest(image, torch.cat([peak, spread])), spread / 255)


# ---------------------------------------------------------------------- curves

TRAIN, VALID = (0xB0, 0xB0, 0xB0), (0xC0, 0x39, 0x2B)


def curves(tmp_path, records) -> Image.Image:
    save_curves(tmp_path / "curves.png", records)
    assert [p.name for p in tmp_path.iterdir()] == ["curves.png"]
    with Image.open(tmp_path / "curves.png") as opened:
        assert opened.format == "PNG"
        return opened.convert("RGB")


def test_curves_of_no_records_are_empty_axes(tmp_path):
    picture = curves(tmp_path, [])
    assert picture.width > picture.height > 100
    assert not is_colour(picture, VALID).any()


@pytest.mark.parametrize("training", [0, 3])
@pytest.mark.parametrize("validations", [0, 1, 3])
def test_training_and_validation_each_have_their_line_whatever_the_other_has(
    tmp_path, training, validations
):
    steps = (50, 100, 150)
    records = [{"step": s, "train_elbo_nats": -300.0 + s, "skipped": 0} for s in steps[:training]]
    records += [{"step": s, "valid_elbo_nats": -290.0 + s} for s in steps[:validations]]
    picture = curves(tmp_path, records)
    assert (is_colour(picture, VALID).sum() > 20) == (validations > 0)
    assert (is_colour(picture, TRAIN).sum() > 100) == (training > 0)  # the grid has a few


@pytest.mark.parametrize("bad", [math.nan, -math.inf])
def test_a_validation_that_was_not_finite_does_not_spoil_the_picture(tmp_path, bad):
    records = [
        {"step": 50, "valid_elbo_nats": bad},
        {"step": 100, "valid_elbo_nats": -90.0},
        {"step": 150, "valid_elbo_nats": -80.0},
    ]
    assert is_colour(curves(tmp_path, records), VALID).any()
    assert curves(tmp_path, records[:1]).width > 100
