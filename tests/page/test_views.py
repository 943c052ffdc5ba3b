"""The page in a browser: it loads without a complaint, paints, and every control works."""

import base64
import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import numpy as np
import pytest
import torch
from PIL import Image, ImageSequence

from draw import bundled, elbo
from draw.attention import Window, read, write
from draw.likelihoods import mean
from draw.page import assemble

from .chromium import Page
from .conftest import TINY

VIEWS = ("paint", "look", "finish", "fork", "compare", "window")
T, Z = TINY["glimpses"], TINY["latent_size"]


def settings(page: Page) -> dict[str, str]:
    """The address, after the moment that it takes to be written."""
    page.run("new Promise((resolve) => setTimeout(resolve, 400))")
    return {key: value[0] for key, value in parse_qs(page.run("location.hash.slice(1)")).items()}


def pixels(page: Page, selector: str) -> np.ndarray:
    """A canvas element's pixels [height, width, RGB]."""
    url = page.run(f"document.querySelector({json.dumps(selector)}).toDataURL()")
    picture = Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2])))
    return np.array(picture.convert("RGB")).astype(int)


def tile(view: str, index: int) -> str:
    """The canvas of one tile."""
    child = f":nth-child({index + 1})"
    return (
        f"#{view} .tiles > button{child} canvas" if view == "paint" else f"#{view} .tiles > {child}"
    )


def step(page: Page, view: str) -> int:
    return int(page.run(f"document.querySelector('#{view} .slider').value"))


def steps(page: Page, view: str) -> set[int]:
    """All that are shown in the time that a film and its rest take."""
    return set(
        page.run(
            f"""new Promise((resolve) => {{
                const slider = document.querySelector("#{view} .slider");
                const seen = [];
                const timer = setInterval(() => seen.push(Number(slider.value)), 20);
                setTimeout(() => {{ clearInterval(timer); resolve(seen); }}, {250 * T + 2500});
            }})"""
        )
    )


def slide(page: Page, selector: str, value: float) -> None:
    """Moves a slider, as the browser tells of it."""
    page.run(
        f"""(() => {{
            const slider = document.querySelector({json.dumps(selector)});
            slider.value = {value};
            slider.dispatchEvent(new Event("input", {{ bubbles: true }}));
        }})()"""
    )


def says(page: Page, selector: str) -> str:
    return str(page.run(f"document.querySelector({json.dumps(selector)}).textContent"))


def to_grey(picture: np.ndarray, cells: int = 14) -> np.ndarray:
    """The middle of each of the image's pixels, ink from 0 to 255, in the light theme."""
    each = picture.shape[1] // cells
    ink, paper = 0x16, 0xFF
    return (paper - picture[each // 2 :: each, each // 2 :: each, 1]) * 255 / (paper - ink)


@pytest.fixture
def go(page: Page, site: str) -> Callable[..., Page]:
    """Opens a view, in the light theme unless told otherwise, and waits until it can run."""

    def open_(address: str, theme: str = "light", motion: str = "no-preference") -> Page:
        page.prefer(prefers_color_scheme=theme, prefers_reduced_motion=motion)
        page.open(f"{site}#{address}")
        page.wait("document.querySelector('main section:not([hidden]) h1')")
        view = re.search(r"view=(\w+)", address)
        if view and view[1] in VIEWS[:5]:
            page.wait(f"!document.querySelector('#{view[1]} .again').disabled")
        return page

    return open_


@pytest.fixture
def noise(browser: Any, site: str) -> Callable[..., torch.Tensor]:
    """The page's own noise, [T, Z], for a key."""

    def draw(*key: int) -> torch.Tensor:
        with browser.page() as tab:
            tab.open(site + "blank.html")
            values = tab.run(
                f"""import("{site}random.js").then(({{ normals }}) =>
                    Array.from(normals({T * Z}, ...{[*key]})))"""
            )
            return torch.tensor(values).view(T, Z)

    return draw


@pytest.fixture(scope="module")
def weightless(models, serve, tmp_path_factory) -> str:
    """The page's address, where the models' weights are missing."""
    folder = tmp_path_factory.mktemp("weightless") / "site"
    assemble(folder, models)
    for file in folder.rglob("*.safetensors"):
        file.unlink()
    url: str = serve(folder)
    return url


# ------------------------------------------------------------------ all views


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("view", VIEWS)
def test_every_view_opens_and_paints_at_any_width(go, view, theme):
    """The page fixture sees to it that nothing is complained of, and nothing fetched elsewhere."""
    tab = go(f"view={view}&seed=3", theme)
    for width in (1280, 768, 390, 320):
        tab.resize(width, 800)
        tab.run("new Promise((resolve) => requestAnimationFrame(() => setTimeout(resolve, 50)))")
        assert tab.run("document.scrollingElement.scrollWidth - innerWidth") <= 0, width
    assert tab.run("document.querySelectorAll('main section:not([hidden])').length") == 1
    seen = pixels(tab, f"#{view} canvas.square")
    assert len(np.unique(seen.reshape(-1, 3), axis=0)) > 1
    assert tab.run("document.documentElement.dataset.theme") == theme
    assert tab.run("document.querySelector('#notice').hidden")


@pytest.mark.parametrize(
    "address",
    [
        "view=nothing&model=nobody&seed=-1&t=many",
        "view=paint&seed=1e999&t=99999999999",
        "view=__proto__",
        "view=look&ink=%00%ff<script>&seed=<b>",
        "view=finish&ink=abcd&seed=7&seed=8",
        "view=fork&index=99&at=-3&branch=x&seed=2",
        "view=window&g_x=NaN&delta=Infinity&sigma=-1&n=2.5&gamma=",
        "&&&===%E0%A4%A",
    ],
)
def test_an_address_of_nonsense_still_opens(go, address):
    tab = go(address)
    tab.wait("document.querySelectorAll('main section:not([hidden])').length === 1")
    tab.run("new Promise((resolve) => setTimeout(resolve, 300))")
    assert tab.run("document.querySelector('#notice').hidden")


def test_every_control_has_a_name_and_can_be_reached(go):
    tab = go("view=paint")
    for view in VIEWS:
        tab.click(f"nav [data-view={view}]")
        tab.wait(f"!document.querySelector('#{view}').hidden")
        unnamed = tab.run(
            f"""[...document.querySelectorAll("#{view} button, #{view} input, #{view} canvas,"
                + " header select, header button")].filter((element) => !(
                element.ariaLabel || element.textContent.trim() || element.labels?.length ||
                element.closest("[role=img]") || element.querySelector("[aria-label]")
            )).map((element) => element.outerHTML)"""
        )
        assert unnamed == []
        assert tab.run("document.querySelector('nav [aria-current]').dataset.view") == view


def test_the_skip_link_leads_to_the_picture_and_leaves_the_view(go):
    tab = go("view=window")
    tab.press("Tab")
    assert tab.run("document.activeElement.className") == "skip"
    tab.press("Enter")
    assert tab.run("document.activeElement.id") == "main"
    assert not tab.run("document.querySelector('#window').hidden")


def test_opened_as_a_file_it_says_what_to_do(browser, folder):
    with browser.page() as tab:
        tab.open(folder.as_uri() + "/index.html")
        tab.wait("getComputedStyle(document.querySelector('#notice')).visibility === 'visible'", 10)
        assert "Serve its folder" in " ".join(says(tab, "#notice").split())


def test_back_returns_to_the_view_before(go):
    tab = go("view=paint&seed=5")
    tab.click("nav [data-view=window]")
    tab.wait("!document.querySelector('#window').hidden")
    tab.run("history.back()")
    tab.wait("!document.querySelector('#paint').hidden")
    assert settings(tab)["seed"] == "5"


def test_the_theme_follows_the_system_until_it_is_chosen(go):
    tab = go("view=paint&t=6", "dark")
    dark = pixels(tab, tile("paint", 0))
    assert says(tab, "#theme") == "Light"
    tab.click("#theme")
    assert tab.run("document.documentElement.dataset.theme") == "light"
    light = pixels(tab, tile("paint", 0))
    assert np.abs(dark - light).max() > 100
    tab.run("window.old = true")
    tab.send("Page.reload")
    tab.wait("!window.old && document.documentElement.dataset.theme")
    assert tab.run("document.documentElement.dataset.theme") == "light"  # it is kept


def test_a_change_of_the_system_is_followed(go):
    tab = go("view=window", "dark")
    tab.prefer(prefers_color_scheme="light")
    tab.wait("document.documentElement.dataset.theme === 'light'")


def test_another_model_can_be_chosen_and_is_remembered(go):
    tab = go("view=paint&t=6")
    assert "model" not in settings(tab)
    before = tab.run(f"document.querySelector('{tile('paint', 0)}').toDataURL()")
    tab.run("(m => { m.value = 'colour'; m.dispatchEvent(new Event('change')) })(model)")
    tab.wait(f"document.querySelector('{tile('paint', 0)}').toDataURL() !== {json.dumps(before)}")
    assert settings(tab)["model"] == "colour"
    tab.click("nav [data-view=look]")
    assert settings(tab)["model"] == "colour"


def test_what_cannot_be_loaded_is_told_and_the_bundled_film_plays_on(browser, weightless):
    with browser.page() as tab:
        tab.open(f"{weightless}#view=paint")
        tab.wait("!document.querySelector('#notice').hidden")
        assert "models/attentive/model.safetensors cannot be loaded (404)" in says(tab, "#notice")
        assert steps(tab, "paint") == set(range(T + 1))
        assert tab.run("document.querySelector('#paint .again').disabled")


# ------------------------------------------------------------------ the film


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
    red = pixels(tab, tile("paint", 0))
    red = red[..., 0] - red[..., 1] > 60
    each = red.shape[0] / 14
    half = 4 * float(trace.write.delta[3, 0]) / 2
    line = max(1.0, float(trace.write.sigma2[3, 0].sqrt()) * each)
    y, x = np.mgrid[: red.shape[0], : red.shape[1]] + 0.5
    away_x = np.abs(x - (float(trace.write.g_x[3, 0]) - 0.5) * each)
    away_y = np.abs(y - (float(trace.write.g_y[3, 0]) - 0.5) * each)
    distance = np.maximum(away_x, away_y) - half * each  # from the window's extent
    assert red[np.abs(distance) < line / 2 - 1.5].all()
    assert not red[np.abs(distance) > line / 2 + 1.5].any()


# ------------------------------------------------------------------ paint


def test_it_paints_before_the_model_is_there(browser, weightless, models):
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        expected = models["attentive"].generate(24, generator=generator).mean[-1, 5, 0]
    with browser.page() as tab:
        tab.prefer(prefers_color_scheme="light", prefers_reduced_motion="reduce")
        tab.open(f"{weightless}#view=paint")
        tab.wait(f"document.querySelector('#paint .slider').value == {T}")
        tab.click("#paint .windows")
        assert np.abs(to_grey(pixels(tab, tile("paint", 5))) - 255 * expected.numpy()).max() < 2


def test_new_samples_are_torchs_of_the_same_noise(go, models, noise):
    tab = go("view=paint", motion="reduce")
    tab.click("#paint .again")
    tab.wait("document.querySelector('#paint .status').textContent.startsWith('Seed')")
    tab.click("#paint .windows")
    seed = int(settings(tab)["seed"])
    assert says(tab, "#paint .status") == f"Seed {seed}"
    for index in (0, 7, 23):
        with torch.no_grad():
            z = noise(0, seed, index)[:, None]
            expected = models["attentive"].generate(1, eps=z).mean[-1, 0, 0]
        shown = to_grey(pixels(tab, tile("paint", index)))
        assert np.abs(shown - 255 * expected.numpy()).max() < 2


def test_the_address_brings_the_same_samples_back(go):
    pictures = []
    for seed in (11, 11, 12):
        tab = go(f"view=paint&seed={seed}&t=6")
        tab.wait(f"document.querySelector('#paint .status').textContent === 'Seed {seed}'")
        pictures.append(pixels(tab, tile("paint", 9)))
        tab.open("about:blank")
    assert (pictures[0] == pictures[1]).all()
    assert (pictures[0] != pictures[2]).any()


def test_a_sample_of_a_seed_can_be_forked(go):
    tab = go("view=paint")
    assert tab.run("document.querySelector('#paint .tiles button').disabled")
    tab.click("#paint .again")
    tab.wait("!document.querySelector('#paint .tiles button').disabled")
    seed = settings(tab)["seed"]
    tab.click("#paint .tiles button:nth-child(8)")
    tab.wait("!document.querySelector('#fork').hidden")
    tab.wait("!document.querySelector('#fork .gif').disabled")
    assert settings(tab).items() >= {"seed": seed, "index": "7", "view": "fork"}.items()
    assert f"Painting 8 of seed {seed}" in says(tab, "#fork .progress")


# ------------------------------------------------------------------ look

DIGIT = [(0.7, 0.2), (0.4, 0.2), (0.35, 0.45), (0.6, 0.5), (0.6, 0.7), (0.3, 0.75)]


def looked(tab: Page) -> None:
    tab.wait("!document.querySelector('#look .gif').disabled")


def test_a_drawn_digit_is_repainted_and_its_bound_is_torchs(go, models, noise, browser, site):
    tab = go("view=look", motion="reduce")
    looked(tab)
    tab.stroke("#look .pad", DIGIT)
    looked(tab)
    at = settings(tab)
    with browser.page() as other:
        other.open(site + "blank.html")
        grey = other.run(
            f"""import("{site}ink.js").then((ink) => Array.from(
                ink.rasterise(ink.centred(ink.fromText("{at["ink"]}"), 14, 14), 14, 14)))"""
        )
    x = torch.tensor(grey, dtype=torch.float32).view(1, 1, 14, 14) / 255
    assert (to_grey(pixels(tab, "#look .input")) > 128).astype(int).sum() == int(x.sum())
    with torch.no_grad():
        eps = noise(1, int(at["seed"]))[:, None]
        trace = models["attentive"](x, eps=eps, record=True)
    latent, total = float(trace.kl.sum()), -float(elbo(trace))
    shown = [float(says(tab, f"#look .{part}")) for part in ("latent", "pixels", "bound")]
    expected = [latent, total - latent, total]
    assert np.isfinite(shown).all()
    assert shown == pytest.approx(expected, abs=0.051)
    assert says(tab, "#look .says") == "nats, a sample of the bound"
    assert says(tab, "#look .peak") == (
        f"highest {float(trace.kl.max()):.1f} at step {int(trace.kl.argmax()) + 1}"
    )
    slide(tab, "#look .slider", 2)
    assert float(says(tab, "#look .latent")) == pytest.approx(float(trace.kl[:2].sum()), abs=0.051)
    so_far = torch.nn.functional.binary_cross_entropy_with_logits(
        trace.canvas[1], x, reduction="sum"
    )
    assert float(says(tab, "#look .pixels")) == pytest.approx(float(so_far), abs=0.051)


def test_the_three_pictures_show_input_error_and_canvas_with_their_windows(go, models, noise):
    tab = go("view=look&seed=4&t=3")
    looked(tab)
    shown = {part: pixels(tab, f"#look .{part}") for part in ("input", "error", "canvas")}
    green = {part: (p[..., 1] - p[..., 0] > 60) for part, p in shown.items()}
    red = {part: (p[..., 0] - p[..., 2] > 100) for part, p in shown.items()}
    assert green["input"].any()
    assert (green["input"] | ~green["error"]).all()  # the same window reads both
    assert not green["canvas"].any()
    assert red["canvas"].any()
    assert not red["input"].any()
    slide(tab, "#look .slider", 0)
    canvas = to_grey(pixels(tab, "#look .canvas"))
    start = 255 * mean(models["attentive"].canvas_0).detach().numpy()[0]
    assert np.abs(canvas - start).max() < 2


def test_ink_that_is_missing_and_ink_too_many_differ_in_colour(go):
    tab = go("view=look&seed=4&t=0")
    looked(tab)
    x = to_grey(pixels(tab, "#look .input"))
    error = pixels(tab, "#look .error")
    each = error.shape[0] // 14
    middle = error[each // 2 :: each, each // 2 :: each]
    reddish = middle[..., 0] - middle[..., 2]
    assert (reddish[x < 10] > 0).all()  # paint on an empty place, as c_0 has everywhere
    assert (reddish[x > 245] == 0).all()


def test_the_error_of_a_step_is_of_the_canvas_before_it(go, models, noise):
    tab = go("view=look&seed=4&t=3")
    looked(tab)
    shown = pixels(tab, "#look .error")
    slide(tab, "#look .slider", 0)
    x = to_grey(pixels(tab, "#look .input")).round() / 255
    with torch.no_grad():
        image = torch.tensor(x, dtype=torch.float32).view(1, 1, 14, 14)
        canvases = models["attentive"](image, eps=noise(1, 4)[:, None], record=True).mean
    each = shown.shape[0] // 14
    middle = shown[each // 2 :: each, each // 2 :: each]
    clear = middle[..., 1] <= middle[..., 0]  # of the green border
    error = np.where(
        middle[..., 0] - middle[..., 2] > 1,
        -(255 - middle[..., 1]) / (255 - 0x35),  # towards the red of too much paint
        to_grey(shown) / 255,
    )
    assert clear.sum() > 20
    assert np.abs(error - (x - canvases[1, 0, 0].numpy()))[clear].max() < 0.02
    assert np.abs(error - (x - canvases[2, 0, 0].numpy()))[clear].max() > 0.02


def test_the_bars_are_the_kl_and_seek(go, models, noise):
    tab = go("view=look&seed=4&t=2")
    looked(tab)
    bars = pixels(tab, "#look .bars")
    heights = []
    for t in range(T):
        column = bars[:, int((t + 0.4) * bars.shape[1] / T)]
        heights.append(int((np.abs(column - column[0]).sum(-1) > 0).sum()) or len(column))
    assert max(heights) >= bars.shape[0] - 2
    assert len(set(heights)) > 1
    tab.click("#look .bars", (4 + 0.5) / T, 0.5)
    assert step(tab, "look") == 5
    assert settings(tab)["t"] == "5"


def test_examples_clear_and_looking_again(go):
    tab = go("view=look", motion="reduce")
    looked(tab)
    seen = []
    for index in range(1, 5):
        tab.click(f"#look .examples button:nth-child({index})")
        looked(tab)
        seen.append(pixels(tab, "#look .input").tobytes())
    assert len(set(seen)) == 4
    first = settings(tab)
    tab.click("#look .again")
    looked(tab)
    again = settings(tab)
    assert again["ink"] == first["ink"]
    assert again["seed"] != first["seed"]
    tab.click("#look .clear")
    assert says(tab, "#look .status") == "Draw a digit on the pad"
    assert says(tab, "#look .bound") == "\u2013"
    assert tab.run("document.querySelector('#look .again').disabled")
    assert "ink" not in settings(tab)


def test_the_first_stroke_replaces_the_example_and_later_ones_add(go):
    tab = go("view=look", motion="reduce")
    looked(tab)
    tab.stroke("#look .pad", [(0.3, 0.3), (0.7, 0.3)])
    looked(tab)
    one = settings(tab)["ink"]
    assert "." not in one
    tab.stroke("#look .pad", [(0.5, 0.3), (0.5, 0.8)])
    looked(tab)
    assert settings(tab)["ink"].startswith(one + ".")


def test_a_finger_draws(go):
    tab = go("view=look", motion="reduce")
    looked(tab)
    tab.resize(390, 844, 2)
    tab.touch("#look .pad", DIGIT)
    looked(tab)
    assert len(settings(tab)["ink"]) == 4 * len(DIGIT)


@pytest.mark.parametrize("view", ["look", "finish"])
def test_the_keys_draw_too(go, view):
    tab = go(f"view={view}", motion="reduce")
    tab.run(f"document.querySelector('#{view} .pad').focus()")
    for key in ["ArrowUp"] * 3 + ["Enter"] + ["ArrowDown"] * 6 + ["ArrowRight"] * 2 + ["Enter"]:
        tab.press(key)
    ink = settings(tab)["ink"]
    assert len(ink) == 4 * 9
    tab.press("Delete")
    assert "ink" not in settings(tab)


# ------------------------------------------------------------------ finish


def finished(tab: Page) -> None:
    tab.wait("!document.querySelector('#finish .gif').disabled")


def test_a_part_is_finished_in_nine_ways(go):
    tab = go("view=finish", motion="reduce")
    finished(tab)
    tab.click("#finish .clear")
    assert says(tab, "#finish .status") == "Draw part of a digit on the pad"
    tab.stroke("#finish .pad", DIGIT[:3])
    finished(tab)
    ways = {pixels(tab, tile("finish", index)).tobytes() for index in range(9)}
    assert len(ways) == 9
    at = settings(tab)
    assert at.items() >= {"view": "finish", "t": str(T)}.items()
    tab.click("#finish .again")
    finished(tab)
    assert settings(tab)["seed"] != at["seed"]
    assert pixels(tab, tile("finish", 0)).tobytes() not in ways
    tab.open("about:blank")
    tab = go("&".join(f"{key}={value}" for key, value in at.items()))
    finished(tab)
    assert {pixels(tab, tile("finish", index)).tobytes() for index in range(9)} == ways


def test_the_pad_shows_the_pixels_that_are_fixed(go):
    tab = go("view=finish", motion="reduce")
    finished(tab)
    tab.stroke("#finish .pad", [(0.25, 0.5), (0.75, 0.5)])
    shown = to_grey(pixels(tab, "#finish .pad")) > 128
    assert shown.sum() in range(7, 25)
    assert not shown[:4].any()


def test_clamped_iterations_are_what_the_page_says(module, models, noise):
    """Against a twin of ours on the page's own random numbers."""
    count, rounds, seed = 3, 4, 5
    ink = (torch.arange(196) % 9 == 0).view(1, 14, 14)
    found = module(
        f"""
        const config = await (await fetch("models/attentive/config.json")).json();
        const bytes = await (await fetch("models/attentive/model.safetensors")).arrayBuffer();
        const network = new model.DRAW(config, safetensors.parseSafetensors(bytes));
        const known = {json.dumps((255 * ink).flatten().int().tolist())};
        const args = {{ ink: known, seed: {seed}, count: {count}, rounds: {rounds} }};
        const parts = [...runs.complete(network, args)];
        const uniforms = [];
        for (let round = 1; round <= {rounds}; round++) {{
            const next = random.uniforms(3, {seed}, round);
            uniforms.push(Array.from({{ length: {count * 196} }}, () => next()));
        }}
        return {{
            rounds: parts.map(({{ round }}) => round),
            last: parts.map(({{ films }}) => films.map((film) => [...film.means.slice(-196)])),
            uniforms,
        }};
        """
    )
    assert found["rounds"] == [1, 2, 3, 4]
    chance = torch.full((count, 1, 14, 14), 0.1)
    for round_ in range(rounds):
        drawn = torch.tensor(found["uniforms"][round_]).view(chance.shape)
        x = ((drawn < chance) | ink).float()
        eps = torch.stack([noise(3, seed, round_ + 1, b) for b in range(count)], 1)
        with torch.no_grad():
            chance = models["attentive"](x, eps=eps).mean[-1]
        shown = torch.tensor(found["last"][round_]).view(chance.shape) / 255
        torch.testing.assert_close(shown, chance, rtol=0, atol=1 / 255)


# ------------------------------------------------------------------ fork


def grown(tab: Page) -> None:
    tab.wait("!document.querySelector('#fork .gif').disabled")


def test_the_futures_share_their_past_and_nothing_more(go, models, noise):
    tab = go("view=fork&seed=3&index=2&at=3&branch=1&t=3")
    grown(tab)
    tab.click("#fork .windows")
    with torch.no_grad():
        past = noise(0, 3, 2)
        expected = models["attentive"].generate(1, eps=past[:, None], record=True).mean[:, 0, 0]
    for index in range(9):
        shown = to_grey(pixels(tab, tile("fork", index)))
        assert np.abs(shown - 255 * expected[2].numpy()).max() < 2
    slide(tab, "#fork .slider", T)
    ends = {pixels(tab, tile("fork", index)).tobytes() for index in range(9)}
    assert len(ends) == 9
    with torch.no_grad():
        z = torch.cat([past[:3], noise(2, 3, 2, 1, 4)[3:]])
        expected = models["attentive"].generate(1, eps=z[:, None]).mean[-1, 0, 0]
    assert np.abs(to_grey(pixels(tab, tile("fork", 4))) - 255 * expected.numpy()).max() < 2


def test_the_parent_stays_frozen_and_the_slider_thaws_it(go):
    tab = go("view=fork&seed=3&at=2&t=6")
    grown(tab)
    frozen = pixels(tab, "#fork .parent")
    slide(tab, "#fork .slider", 4)
    assert (pixels(tab, "#fork .parent") == frozen).all()
    slide(tab, "#fork .freeze", 4)
    tab.wait("document.querySelector('#fork .play').textContent === 'Pause'")
    assert (pixels(tab, "#fork .parent") != frozen).any()
    assert settings(tab)["at"] == "4"
    assert steps(tab, "fork") == {4, 5, 6}  # it starts again where it was frozen


def test_other_futures_and_another_painting(go):
    tab = go("view=fork&seed=3&index=23&at=1", motion="reduce")
    grown(tab)
    end, parent = pixels(tab, tile("fork", 0)), pixels(tab, "#fork .parent")
    before = settings(tab)
    tab.click("#fork .again")
    tab.wait(f"!location.hash.includes('branch={before['branch']}&')")
    assert (pixels(tab, tile("fork", 0)) != end).any()
    assert (pixels(tab, "#fork .parent") == parent).all()
    tab.click("#fork .next")  # the last of this seed: the first of another
    tab.wait("location.hash.includes('index=0&')")
    assert settings(tab)["seed"] != "3"
    assert (pixels(tab, "#fork .parent") != parent).any()


# ------------------------------------------------------------------ compare


def test_both_models_paint_from_the_same_seed(go):
    tab = go("view=compare&t=6")
    assert says(tab, "#compare .with") == "attentive"
    assert says(tab, "#compare .without") == "plain"
    left, right = "#compare .left :nth-child(16)", "#compare .right :nth-child(16)"
    bundled = [pixels(tab, side) for side in (left, right)]
    assert (bundled[0] != bundled[1]).any()
    tab.click("#compare .again")
    tab.wait("document.querySelector('#compare .status').textContent.startsWith('Seed')")
    for side, before in zip((left, right), bundled, strict=True):
        assert (pixels(tab, side) != before).any()
    assert "seed" in settings(tab)


def test_without_a_pair_there_is_nothing_to_compare(browser, models, tmp_path, serve):
    assemble(tmp_path / "site", {"attentive": models["attentive"]})
    pairs = {c["write_size"] is None for c in index(tmp_path / "site") if c["width"] == 14}
    with browser.page() as tab:
        tab.open(serve(tmp_path / "site") + "#view=compare")
        tab.wait("!document.querySelector('#paint').hidden")
        assert tab.run("document.querySelector('nav [data-view=compare]').hidden") == (
            pairs == {False}
        )
        assert tab.run("document.querySelector('.model').hidden") == (not bundled.names())


def index(folder: Path) -> list[dict[str, Any]]:
    return [entry["config"] for entry in json.loads((folder / "models.json").read_text())]


# ------------------------------------------------------------------ window


def value(tab: Page, name: str) -> float:
    return float(tab.run(f"document.querySelector('#window [name={name}]').value"))


def test_the_window_is_dragged_and_its_corner_stretches_it(go):
    tab = go("view=window")
    tab.stroke("#window .overlay", [(0.5, 0.5), (0.6, 0.55), (0.75, 0.6)])
    assert value(tab, "g_x") == pytest.approx(14.5 + 0.25 * 28, abs=0.11)
    assert value(tab, "g_y") == pytest.approx(14.5 + 0.10 * 28, abs=0.11)
    at = settings(tab)
    assert at.items() >= {"g_x": "21.5", "g_y": "17.3"}.items()
    tab.click("#window .reset")
    assert settings(tab) == {"view": "window"}
    edge = (14.5 + 4 * 5 / 2 - 0.5) / 28
    tab.stroke(
        "#window .overlay", [(edge, edge), (edge - 0.1, edge - 0.05), (edge - 0.1, edge - 0.1)]
    )
    assert value(tab, "delta") == pytest.approx(4 - 0.1 * 28 * 2 / 5, abs=0.11)


def test_pressing_beside_the_window_brings_it_there(go):
    tab = go("view=window&delta=1&sigma=0.5")
    tab.click("#window .overlay", 0.9, 0.1)
    assert value(tab, "g_x") == pytest.approx(0.5 + 0.9 * 28, abs=0.11)
    assert value(tab, "g_y") == pytest.approx(0.5 + 0.1 * 28, abs=0.11)


@pytest.mark.parametrize("name", ["g_x", "g_y", "delta", "sigma", "gamma", "n"])
def test_each_slider_changes_the_patch(go, name):
    tab = go("view=window")
    before = [pixels(tab, f"#window .{part}").tobytes() for part in ("patch", "back")]
    slide(tab, f"#window [name={name}]", 2 if name != "g_x" else 9)
    after = [pixels(tab, f"#window .{part}").tobytes() for part in ("patch", "back")]
    assert after[0] != before[0]
    assert (after[1] == before[1]) == (name == "gamma")  # read's cancels write's
    assert name in settings(tab)


def test_the_patch_is_torchs(go):
    tab = go("view=window&g_x=13&g_y=15.5&delta=2.5&sigma=1.2&gamma=0.8&n=4")
    image = torch.tensor(to_grey(pixels(tab, "#window .image"), 28) / 255).float()
    here = Window(*map(torch.tensor, (13.0, 15.5, 2.5, 1.44, 0.8)))
    patch = read(image[None], here, 4)
    back = write(patch, here, 28, 28)
    shown = to_grey(pixels(tab, "#window .patch"), 4)
    assert np.abs(shown - 255 * patch[0].numpy()).max() < 2
    assert float(says(tab, "#window .brightest")) == pytest.approx(float(back.max()), abs=0.006)
    shown = to_grey(pixels(tab, "#window .back"), 28)
    assert np.abs(shown - 255 * (back / back.max())[0].numpy()).max() < 2


def test_the_equations_hold_the_numbers_of_the_window(go):
    tab = go("view=window&g_x=7.2&delta=3&sigma=2&gamma=0.5&n=3")
    told = {name: says(tab, f"#window .{name}") for name in ("g_x_raw", "mu_x", "mu_y")}
    assert told == {"g_x_raw": "\u22120.50", "mu_x": "4.2, 7.2, 10.2", "mu_y": "11.5, 14.5, 17.5"}
    for name, number in (("delta_raw", 3 * 2 / 27), ("sigma_raw", 4.0), ("gamma_raw", 0.5)):
        shown = float(says(tab, f"#window .{name}").replace("\u2212", "-"))
        assert shown == pytest.approx(np.log(number), abs=0.0051)


def test_pointing_at_the_patch_shows_the_two_filters(go):
    tab = go("view=window")
    plain = pixels(tab, "#window .image")
    tab.hover("#window .patch", 0.3, 0.9)  # i = 2, j = 5
    for axis, place in (("x", 1), ("y", 4)):
        classes = tab.run(
            f"""[...document.querySelectorAll("#window .filters.{axis} path")]
                .map((path) => path.className.baseVal)"""
        )
        assert classes == ["picked" if i == place else "faint" for i in range(5)]
    assert (pixels(tab, "#window .image") != plain).any()
    tab.hover("#window h1")
    assert (pixels(tab, "#window .image") == plain).all()
    tab.run("document.querySelector('#window .patch').focus()")
    for key, place in (("ArrowRight", 0), ("ArrowRight", 1), ("ArrowLeft", 0), ("ArrowLeft", 0)):
        tab.press(key)
        assert (
            tab.run(
                f"document.querySelectorAll('#window .filters.x path')[{place}].className.baseVal"
            )
            == "picked"
        )


def test_the_border_is_sigma_wide_and_each_filter_a_curve(go):
    tab = go("view=window&sigma=1.7&n=6")
    assert tab.run("document.querySelector('#window .frame').getAttribute('stroke-width')") == "1.7"
    for axis in "xy":
        assert tab.run(f"document.querySelectorAll('#window .filters.{axis} path').length") == 6
    assert tab.run("document.querySelectorAll('#window .dots circle').length") == 36


def test_another_picture_in_the_sandbox(go):
    tab = go("view=window")
    seen = []
    for place in range(1, 5):
        tab.click(f"#window .examples button:nth-child({place})")
        seen.append(pixels(tab, "#window .image").tobytes())
    assert len(set(seen)) == 4


# ------------------------------------------------------------------ save as GIF


@pytest.mark.parametrize(
    ("view", "columns", "rows"),
    [("paint", 6, 4), ("look", 3, 1), ("fork", 3, 3), ("finish", 3, 3), ("compare", 9, 4)],
)
def test_a_film_is_saved_as_gif(go, view, columns, rows):
    tab = go(f"view={view}&t=4" + ("&seed=3" if view in ("look", "fork", "finish") else ""))
    tab.wait(f"!document.querySelector('#{view} .gif').disabled")
    tab.run(
        """(() => {
            const create = URL.createObjectURL;
            URL.createObjectURL = (blob) => create((window.saved = blob));
            HTMLAnchorElement.prototype.click = function () { window.called = this.download; };
        })()"""
    )
    tab.click(f"#{view} .gif")
    tab.wait("window.called")
    assert tab.run("window.called") == f"draw-{view}-attentive.gif"
    data = tab.run(
        """window.saved.arrayBuffer().then((buffer) => {
            let text = "";
            for (const byte of new Uint8Array(buffer)) text += String.fromCharCode(byte);
            return btoa(text);
        })"""
    )
    film = Image.open(io.BytesIO(base64.b64decode(data)))
    assert film.n_frames == T + 2
    width, height = film.size
    assert (width + 4) % columns == (height + 4) % rows == 0
    assert width <= 720
    frames = [np.array(f.convert("RGB")).astype(int) for f in ImageSequence.Iterator(film)]
    film.seek(film.n_frames - 1)
    assert film.info["duration"] == 1800
    red = [(f[..., 0] - f[..., 1] > 60).sum() for f in frames]
    if view in ("paint", "fork", "compare"):
        assert red[0] == red[-1] == 0  # no windows at the start and on the finished pictures
        assert min(red[1:-1]) > 0
    assert tab.run(f"document.querySelector('#{view} .gif').textContent") == "Save as GIF"
