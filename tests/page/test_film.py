"""Films: play, pause, seek and save."""

import io

import numpy as np
import pytest
import torch
from PIL import Image, ImageSequence
from playwright.sync_api import Page

from .conftest import T
from .helpers import (
    HOLDING,
    assert_outlined,
    choose_format,
    finished,
    glimpse,
    pixels,
    played,
    sample_noise,
    saved,
    settings,
    slide,
    text,
    tile,
    to_grey,
)


def test_a_film_plays_from_the_start_and_repeats(go):
    page = go("view=paint")
    assert played(page, "paint") == set(range(T + 1))
    assert text(page, "#paint .play") == "Pause"


def test_play_pause_and_the_slider(go):
    page = go("view=paint")
    page.click("#paint .play")
    assert text(page, "#paint .play") == "Play"
    t = glimpse(page, "paint")
    assert settings(page)["t"] == str(t)
    assert glimpse(page, "paint") == t
    slide(page, "#paint .slider", 2)
    assert text(page, "#paint .position").replace("\u2007", "") == f"2 / {T}"
    assert settings(page)["t"] == "2"
    page.click("#paint .play")
    page.clock.run_for(400)
    assert glimpse(page, "paint") > 2
    assert "t" not in settings(page)


def test_the_keys_play_pause_and_step(go):
    page = go("view=paint&t=3")
    for key, expected in (("ArrowRight", 4), ("ArrowLeft", 3), ("ArrowLeft", 2)):
        page.keyboard.press(key)
        assert glimpse(page, "paint") == expected
    page.keyboard.press("Space")
    assert text(page, "#paint .play") == "Pause"
    page.keyboard.press("Space")
    assert text(page, "#paint .play") == "Play"
    page.focus("#paint .slider")
    slide(page, "#paint .slider", 1)
    page.keyboard.press("ArrowRight")  # moves the slider once
    assert glimpse(page, "paint") == 2
    page.keyboard.press("Space")
    assert text(page, "#paint .play") == "Pause"
    page.focus("#paint .play")
    page.keyboard.press("Space")  # presses the button once
    assert text(page, "#paint .play") == "Play"


def test_the_speed_applies_to_all_films(own_page, site):
    page = own_page
    page.goto(f"{site}#view=paint&t=0")
    finished(page, "paint")
    page.locator("#paint .speed").select_option("0.25")
    page.clock.pause_at(page.evaluate("Date.now()") / 1000 + 1)
    page.click("#paint .play")
    page.clock.run_for(900)  # more than three glimpses at full speed
    assert glimpse(page, "paint") == 0
    page.clock.run_for(200)
    assert glimpse(page, "paint") == 1
    page.clock.resume()
    page.click("nav [data-view=look]")
    page.locator("#look").wait_for()
    assert page.locator("#look .speed").input_value() == "0.25"


def test_with_reduced_motion_the_finished_pictures_are_shown(go):
    page = go("view=paint", motion="reduce")
    assert (glimpse(page, "paint"), text(page, "#paint .play")) == (T, "Play")
    page.click("#paint .play")
    page.clock.run_for(400)
    assert glimpse(page, "paint") > 0


def test_the_write_window_equals_that_in_pytorch_and_can_be_hidden(go, models):
    page = go("view=paint&t=4")
    with torch.no_grad():
        trace = models["attentive"].generate(24, z=sample_noise(0, *range(24)), record=True)
    page.click("#paint .windows")
    for index in (0, 23):
        shown = to_grey(pixels(page, tile("paint", index)))
        expected = 255 * trace.means[3, index, 0].numpy()
        assert np.abs(shown - expected).max() < 2
    page.click("#paint .windows")
    shown = pixels(page, tile("paint", 0))
    assert_outlined(shown[..., 0] - shown[..., 2], trace.write_window, 3, 4)


def tiles(view: str, count: int) -> list[str | None]:
    return [tile(view, index) for index in range(count)]


SHEETS = {  # columns of a saved film, and its pictures row by row; None is a gap
    "paint": (6, tiles("paint", 24)),
    "look": (3, ["#look .input", "#look .error", "#look .canvas"]),
    "fork": (3, tiles("fork", 9)),
    "finish": (3, tiles("finish", 9)),
    "compare": (
        9,
        [
            f"#compare .{side} :nth-child({4 * row + column + 1})" if column < 4 else None
            for row in range(4)
            for side in ("left", "right")
            for column in range(5 if side == "left" else 4)
        ],
    ),
}


def save(page: Page, view: str) -> tuple[str, Image.Image]:
    """Save a film; return the file's name and the film."""
    finished(page, view)
    name, data = saved(page, view, "gif")
    return name, Image.open(io.BytesIO(data))


def centres(picture: np.ndarray) -> np.ndarray:
    """The centre of each of the image's pixels."""
    each = picture.shape[0] // 14
    return picture[each // 2 :: each, each // 2 :: each]


@pytest.mark.parametrize("view", SHEETS)
def test_a_saved_gif_shows_the_pictures_of_the_page(go, view):
    """Colours agree to the six bits per channel that a GIF stores."""
    columns, sheet = SHEETS[view]
    t = 0 if view == "look" else 4  # the windows in Look cannot be hidden
    page = go(f"view={view}&t={t}&windows=0" + ("" if view in ("paint", "compare") else "&seed=3"))
    name, film = save(page, view)
    assert name == f"draw-{view}-attentive.gif"
    assert film.n_frames == T + 2
    width, height = film.size
    rows = len(sheet) // columns
    assert (width + 4) % columns == (height + 4) % rows == 0
    assert width <= 720
    across, down = (width + 4) // columns, (height + 4) // rows
    frames = [np.array(f.convert("RGB")).astype(int) for f in ImageSequence.Iterator(film)]
    film.seek(film.n_frames - 1)
    assert film.info["duration"] == 1800
    for place, selector in enumerate(sheet):
        row, column = divmod(place, columns)
        cell = frames[t][row * down :, column * across :][: down - 4, : across - 4]
        if selector is None:
            assert np.abs(cell - [0xF5, 0xF4, 0xF1]).max() <= 3
        else:
            assert np.abs(centres(cell) - centres(pixels(page, selector))).max() <= 3


def test_a_saved_film_shows_the_windows_except_in_its_first_and_last_frame(go):
    frames = ImageSequence.Iterator(save(go("view=compare"), "compare")[1])
    colours = [np.array(frame.convert("RGB")).astype(int) for frame in frames]
    marked = [(frame[..., 0] - frame[..., 2] > 60).sum() for frame in colours]
    assert marked[0] == marked[-1] == 0
    assert min(marked[1:-1]) > 0


def test_only_one_film_is_saved_at_a_time_and_errors_are_reported(own_page, site):
    page = own_page
    page.add_init_script(HOLDING)
    page.goto(f"{site}#view=fork&seed=3")
    finished(page, "fork")
    page.evaluate("hold()")
    for _ in range(2):
        choose_format(page, "fork", "gif")
    assert page.evaluate("held.length") == 1
    with page.expect_download():
        page.evaluate("release()")
    page.locator("#fork .save:not([aria-busy])").wait_for()
    page.evaluate("hold()")
    choose_format(page, "fork", "gif")
    page.evaluate("held.pop()[0].onerror({ message: 'out of memory' })")
    page.locator("#notice").wait_for()
    assert "out of memory" in text(page, "#notice")
    page.evaluate("release()")
    page.locator("#fork .save:not([aria-busy])").wait_for()
    save(page, "fork")
    page.problems.clear()  # the error above


@pytest.mark.parametrize("view", ["look", "compare"])
def test_an_unfinished_film_cannot_be_saved(own_page, site, view):
    page = own_page
    page.add_init_script(HOLDING + "hold();")
    page.goto(f"{site}#view={view}&seed=3")
    page.locator(f"#{view} .status", has_text="Loading the model").wait_for()
    assert page.locator(f"#{view} .save").is_disabled()
    page.evaluate("release()")
    finished(page, view)
    page.evaluate("hold()")
    page.click(f"#{view} .again")
    assert page.locator(f"#{view} .save").is_disabled()
