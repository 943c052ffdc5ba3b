"""The page as a whole: it opens without a complaint, in any width and theme, by any address."""

import json
import shutil
from collections.abc import Callable

import numpy as np
import pytest

from .conftest import VIEWS, T
from .seeing import pixels, prepare, says, settings, steps, tile

CANVASES = {  # which show what the address says
    "window": (".image", ".patch"),
    "look": (".input", ".canvas"),
    "finish": (".pad", ".tiles canvas"),
    "fork": (".parent", ".tiles canvas"),
}


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("view", VIEWS)
def test_every_view_opens_and_paints_at_any_width(go, view, theme):
    """The page fixture sees to it that nothing is complained of, and nothing fetched elsewhere."""
    tab = go(f"view={view}&seed=3", theme)
    for width in (1280, 768, 390, 375, 360, 320):
        tab.resize(width, 800)
        tab.run("new Promise((resolve) => requestAnimationFrame(() => setTimeout(resolve, 50)))")
        assert tab.run("document.scrollingElement.scrollWidth") <= width
        left, _, across, _ = tab.place("main section:not([hidden])")
        start, _, wide, _ = tab.place("main section:not([hidden]) .stage")
        assert left <= start + 0.1, width  # the margins stay free
        assert start + wide <= left + across + 0.1, width
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


@pytest.mark.parametrize("view", VIEWS)
def test_every_control_has_a_name_and_can_be_reached(go, view):
    tab = go(f"view={view}&seed=3")
    tab.wait(f"!document.querySelector('#{view} .gif')?.disabled")
    unnamed = tab.run(
        f"""[...document.querySelectorAll("#{view} button, #{view} input, #{view} canvas,"
            + " header select, header button")].filter((element) => !(
            element.ariaLabel || element.textContent.trim() || element.labels?.length ||
            element.closest("[role=img]") || element.querySelector("[aria-label]")
        )).map((element) => element.outerHTML)"""
    )
    assert unnamed == []
    assert tab.run("document.querySelector('nav [aria-current]').dataset.view") == view
    controls = """a[href], button:enabled, input:enabled, select, [tabindex="0"]"""
    count = tab.run(
        f"""(window.left = new Set([...document.querySelectorAll(`{controls}`)]
            .filter((element) => element.checkVisibility()))).size"""
    )
    assert count > 12
    for _ in range(count):
        tab.press("Tab")
        tab.run("left.delete(document.activeElement)")
    assert tab.run("[...left].map((element) => element.outerHTML)") == []


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
        for theme, colour in (("dark", "rgb(19, 19, 18)"), ("light", "rgb(245, 244, 241)")):
            tab.prefer(prefers_color_scheme=theme)  # without a script
            assert tab.run("getComputedStyle(document.body).backgroundColor") == colour


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
    assert tab.run("document.querySelector('#theme').ariaLabel") == "Switch to light theme"
    tab.click("#theme")
    assert tab.run("document.documentElement.dataset.theme") == "light"
    light = pixels(tab, tile("paint", 0))
    assert np.abs(dark - light).max() > 100
    tab.run("window.old = true")
    tab.send("Page.reload")
    tab.wait("!window.old && document.documentElement.dataset.theme")
    assert tab.run("document.documentElement.dataset.theme") == "light"  # it is kept


def test_the_theme_does_not_wait_for_the_models(browser, without):
    with browser.page() as tab:
        tab.prefer(prefers_color_scheme="light")
        prepare(tab, "localStorage.setItem('theme', 'dark')")
        tab.open(without("models.json"))
        tab.wait("!document.querySelector('#notice').hidden")
        assert "models.json cannot be loaded (404)" in says(tab, "#notice")
        assert tab.run("document.documentElement.dataset.theme") == "dark"


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
        assert says(tab, "#paint .status") == ""


@pytest.fixture
def without(folder, serve, tmp_path) -> Callable[[str], str]:
    """The address of the page without one of its files."""

    def serve_(name: str) -> str:
        shutil.copytree(folder, tmp_path / "site")
        (tmp_path / "site" / name).unlink()
        return serve(tmp_path / "site")

    return serve_


def test_without_its_worker_the_page_says_so_in_every_view(browser, without):
    with browser.page() as tab:
        tab.open(without("worker.js"))
        for view in ("paint", "look", "fork"):
            tab.click(f"nav [data-view={view}]")
            tab.wait(f"!document.querySelector('#{view}').hidden")
            tab.wait("!document.querySelector('#notice').hidden")
            assert "the worker cannot be started" in says(tab, "#notice")
            assert says(tab, f"#{view} .status") == ""


@pytest.mark.parametrize("view", ["paint", "compare"])
def test_without_the_bundled_films_the_model_paints_all_the_same(browser, without, view):
    with browser.page() as tab:
        tab.open(without("traces/attentive.json") + f"#view={view}")
        tab.wait("!document.querySelector('#notice').hidden")
        assert "traces/attentive.json cannot be loaded (404)" in says(tab, "#notice")
        tab.wait(f"!document.querySelector('#{view} .again').disabled")
        tab.click(f"#{view} .again")
        tab.wait(f"!document.querySelector('#{view} .gif').disabled")


def test_an_error_in_the_page_is_told(go):
    tab = go("view=window")
    tab.run("void setTimeout(() => { throw new Error('out of paint'); })")
    tab.wait("!document.querySelector('#notice').hidden")
    assert "out of paint. Reload the page" in says(tab, "#notice")
    assert "out of paint" in tab.problems.pop()


@pytest.mark.parametrize("view", ["paint", "finish", "fork", "compare"])
def test_the_address_keeps_whether_windows_are_shown(go, view):
    tab = go(f"view={view}&seed=3")
    first = tab.run(f"document.querySelector('#{view} .windows').checked")
    tab.click(f"#{view} .windows")
    at = settings(tab)
    assert at["windows"] == str(int(not first))
    tab.click(f"#{view} .windows")
    assert "windows" not in settings(tab)
    tab.open("about:blank")
    tab = go("&".join(f"{key}={value}" for key, value in at.items()))
    assert tab.run(f"document.querySelector('#{view} .windows').checked") != first


@pytest.mark.parametrize(
    ("before", "address"),
    [
        ("view=window&g_x=20&picture=8", "view=window&delta=1"),
        ("view=look&ink=0g0gvwvw&seed=9", "view=look&t=2"),
        ("view=finish&ink=0g0gvwvw&seed=9&windows=1", "view=finish&t=2"),
        ("view=fork&seed=9&index=3&branch=7&windows=0", "view=fork&at=2&t=3"),
    ],
)
def test_an_address_shows_the_same_whatever_was_shown_before(go, before, address):
    def shown(first: str) -> tuple[dict[str, str], list[bytes]]:
        tab = go(first)
        tab.run(f"location.hash = '#{address}'")
        tab.wait("!document.querySelector('section:not([hidden]) .gif')?.disabled")
        at = settings(tab)
        canvases = [pixels(tab, f"#{at['view']} {name}") for name in CANVASES[at["view"]]]
        tab.open("about:blank")
        return at, [canvas.tobytes() for canvas in canvases]

    assert shown(before) == shown(address)
