"""Films: play, pause, step and save."""

import base64
import io

import numpy as np
import pytest
import torch
from PIL import Image, ImageSequence

from .chromium import Page
from .conftest import T
from .seeing import (
    HOLDING,
    outlined,
    pixels,
    prepare,
    says,
    settings,
    slide,
    step,
    steps,
    tile,
    to_grey,
)


def test_a_film_plays_from_the_start_and_again(go):
    tab = go("view=paint")
    assert steps(tab, "paint") == set(range(T + 1))
    assert says(tab, "#paint .play") == "Pause"


def test_play_pause_and_the_slider(go):
    tab = go("view=paint")
    tab.click("#paint .play")
    assert says(tab, "#paint .play") == "Play"
    at = step(tab, "paint")
    assert settings(tab)["t"] == str(at)
    assert step(tab, "paint") == at
    slide(tab, "#paint .slider", 2)
    assert says(tab, "#paint .step").replace("\u2007", "") == f"2 / {T}"
    assert settings(tab)["t"] == "2"
    tab.click("#paint .play")
    tab.wait("document.querySelector('#paint .slider').value != 2")
    assert "t" not in settings(tab)


def test_the_keys_play_pause_and_step(go):
    tab = go("view=paint&t=3")
    for key, expected in (("ArrowRight", 4), ("ArrowLeft", 3), ("ArrowLeft", 2)):
        tab.press(key)
        assert step(tab, "paint") == expected
    tab.press(" ")
    tab.wait("document.querySelector('#paint .play').textContent === 'Pause'")
    tab.press(" ")
    tab.wait("document.querySelector('#paint .play').textContent === 'Play'")
    tab.run("document.querySelector('#paint .slider').focus()")
    slide(tab, "#paint .slider", 1)
    tab.press("ArrowRight")  # the slider's own, once
    assert step(tab, "paint") == 2
    tab.run("document.querySelector('#paint .play').focus()")
    tab.press(" ")  # the button's own, once
    tab.wait("document.querySelector('#paint .play').textContent === 'Pause'")


def test_who_prefers_no_motion_sees_the_finished_pictures(go):
    tab = go("view=paint", motion="reduce")
    assert (step(tab, "paint"), says(tab, "#paint .play")) == (T, "Play")
    tab.click("#paint .play")
    tab.wait("document.querySelector('#paint .slider').value == 1")


def test_the_write_window_is_where_torch_puts_it_and_can_be_hidden(go, models):
    tab = go("view=paint&t=4")
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        trace = models["attentive"].generate(24, generator=generator, record=True)
    tab.click("#paint .windows")
    for index in (0, 23):
        shown = to_grey(pixels(tab, tile("paint", index)))
        expected = 255 * trace.mean[3, index, 0].numpy()
        assert np.abs(shown - expected).max() < 2
    tab.click("#paint .windows")
    shown = pixels(tab, tile("paint", 0))
    outlined(shown[..., 0] - shown[..., 1], trace.write, 3, 4)


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


def saved(tab: Page, view: str) -> tuple[str, Image.Image]:
    """Presses the button; the file's name and the film."""
    tab.run(
        """(() => {
            const create = URL.createObjectURL;
            URL.createObjectURL = (blob) => create((window.saved = blob));
            HTMLAnchorElement.prototype.click = function () { window.called = this.download; };
        })()"""
    )
    tab.click(f"#{view} .gif")
    tab.wait("window.called")
    data = tab.run(
        """window.saved.arrayBuffer().then((buffer) => {
            let text = "";
            for (const byte of new Uint8Array(buffer)) text += String.fromCharCode(byte);
            return btoa(text);
        })"""
    )
    return tab.run("window.called"), Image.open(io.BytesIO(base64.b64decode(data)))


def middles(picture: np.ndarray) -> np.ndarray:
    """The middle of each of the image's pixels."""
    each = picture.shape[0] // 14
    return picture[each // 2 :: each, each // 2 :: each]


@pytest.mark.parametrize("view", SHEETS)
def test_a_film_is_saved_as_gif(go, view):
    """Its frames hold what the screen shows, to the six bits that a GIF keeps."""
    columns, sheet = SHEETS[view]
    t = 0 if view == "look" else 4  # Look's windows cannot be hidden
    tab = go(f"view={view}&t={t}&windows=0" + ("" if view in ("paint", "compare") else "&seed=3"))
    tab.wait(f"!document.querySelector('#{view} .gif').disabled")
    name, film = saved(tab, view)
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
            assert np.abs(middles(cell) - middles(pixels(tab, selector))).max() <= 3


@pytest.mark.parametrize("view", ["paint", "fork", "compare"])
def test_a_saved_film_shows_the_windows_but_at_its_ends(go, view):
    tab = go(f"view={view}" + ("&seed=3" if view == "fork" else ""))
    tab.wait(f"!document.querySelector('#{view} .gif').disabled")
    frames = ImageSequence.Iterator(saved(tab, view)[1])
    red = [np.array(frame.convert("RGB")).astype(int) for frame in frames]
    marked = [(frame[..., 0] - frame[..., 1] > 60).sum() for frame in red]
    assert marked[0] == marked[-1] == 0
    assert min(marked[1:-1]) > 0


def test_films_are_saved_one_at_a_time_off_the_pages_thread(page, site):
    prepare(page, HOLDING)
    page.open(f"{site}#view=fork&seed=3")
    page.wait("!document.querySelector('#fork .gif').disabled")
    page.run(
        """(() => {
            window.saved = 0;
            HTMLAnchorElement.prototype.click = () => (window.saved += 1);
            hold();
        })()"""
    )
    for _ in range(2):
        page.click("#fork .gif")
        assert says(page, "#fork .gif") == "Save as GIF"
    assert page.run("held.length") == 1
    page.run("release()")
    page.wait("window.saved && !document.querySelector('#fork .gif').ariaBusy")
    page.run("hold()")
    page.click("#fork .gif")
    page.run("held.pop()[0].onerror({ message: 'out of memory' })")
    page.wait("!document.querySelector('#notice').hidden")
    assert "out of memory" in says(page, "#notice")
    page.run("release()")
    page.click("#fork .gif")
    page.wait("window.saved === 2")
    page.problems.clear()  # what was told


@pytest.mark.parametrize("view", ["paint", "look", "finish", "fork", "compare"])
def test_what_is_not_there_yet_is_not_saved(page, site, view):
    prepare(page, HOLDING + "hold();")
    page.open(f"{site}#view={view}&seed=3")
    page.wait(f"document.querySelector('#{view} .status').textContent === 'Loading the model'")
    assert page.run(f"document.querySelector('#{view} .gif').disabled")
    page.run("release()")
    page.wait(f"!document.querySelector('#{view} .gif').disabled")
    page.run("hold()")
    page.click(f"#{view} .again")
    assert page.run(f"document.querySelector('#{view} .gif').disabled")
