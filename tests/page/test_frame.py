"""Everything around the views: layout, navigation, addresses, themes, errors."""

import io
import re

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page

from .conftest import FILM_VIEWS, VIEWS, T, new_page
from .helpers import (
    DIGIT,
    address,
    choose_model,
    finished,
    navigate,
    pixels,
    played,
    settings,
    stroke,
    text,
    tile,
    wait,
)

CANVASES = {  # depend on the settings in the address
    "window": (".image", ".patch"),
    "look": (".input", ".canvas"),
    "finish": (".pad", ".tiles canvas"),
    "fork": (".parent", ".tiles canvas"),
}


def test_every_view_opens_and_fits_any_width(go):
    page = go("view=paint&seed=3")
    for view in VIEWS:
        page.set_viewport_size({"width": 320, "height": 800})
        navigate(page, f"view={view}&seed=3&t=3")
        section = page.locator(f"#{view}")
        section.wait_for()
        if view != "window":
            finished(page, view)
        assert page.locator("main section:visible").count() == 1
        tab = f"document.querySelector('nav [data-view={view}]').getBoundingClientRect()"
        wait(page, f"{tab}.left >= 0 && {tab}.right <= 320")  # it scrolls after the view appears
        for width in (320, 390, 768, 1280):
            page.set_viewport_size({"width": width, "height": 800})
            assert page.evaluate("document.scrollingElement.scrollWidth") <= width, view
            outer = section.bounding_box()
            inner = section.locator(".stage").bounding_box()  # does not extend into the margins
            assert outer["x"] <= inner["x"] + 0.1, (view, width)
            assert inner["x"] + inner["width"] <= outer["x"] + outer["width"] + 0.1, (view, width)
            assert small_targets(page, view) == [], (view, width)
        seen = pixels(page, f"#{view} canvas.square")
        assert len(np.unique(seen.reshape(-1, 3), axis=0)) > 1
        assert page.locator("#notice").is_hidden()


def small_targets(page: Page, view: str) -> list[str]:
    """Controls of less than 24 by 24 pixels, the minimum of WCAG 2.2 (2.5.8)."""
    controls = "button:not(p button), [type=range], select"  # those in a sentence are exempt
    return page.evaluate(
        f"""[...document.querySelectorAll("#{view} :is({controls}), nav a")]
            .filter((element) => element.checkVisibility())
            .filter((element) => {{
                const {{ width, height }} = element.getBoundingClientRect();
                return Math.min(width, height) < 24;
            }}).map((element) => element.outerHTML)"""
    )


def test_the_transport_and_the_main_button_are_visible_without_scrolling(go):
    page = go("view=paint&seed=3")
    for view in FILM_VIEWS:
        navigate(page, f"view={view}&seed=3&t=3")
        for width, height in ((1440, 700), (1366, 768), (390, 844), (320, 568), (1280, 620)):
            page.set_viewport_size({"width": width, "height": height})
            page.evaluate("scrollTo(0, 0)")
            for part in (".player .play", ".again"):
                box = page.locator(f"#{view} {part}").bounding_box()
                assert box["y"] + box["height"] <= height, (view, part, width)
                assert box["x"] >= 0
                assert box["x"] + box["width"] <= width, (view, part)
            row = page.locator("header").bounding_box()
            assert row["height"] < 115  # two rows on a phone


def test_phones_show_the_essential_parts_without_scrolling(go):
    """The sticky controls cover neither the pictures nor the controls that belong to them."""
    parts = {
        "find": (".scene", ".digits > div:nth-child(5)", ".digits > div:nth-child(10)", ".status"),
        "morph": (".first .pad", ".between", ".second .pad", ".blend"),
        "glimpse": (".box.input", ".box.decoder", ".modes"),
    }
    page = go("view=look&seed=3", motion="reduce")
    page.set_viewport_size({"width": 320, "height": 568})
    captions = page.locator("#look figcaption").all_inner_texts()
    for words in ("your digit", "what is missing", "the canvas"):
        assert any(words in caption for caption in captions)
    for view, names in parts.items():
        navigate(page, f"view={view}&seed=3&t=3")
        finished(page, view)
        for width, height in ((320, 568), (390, 844)):
            page.set_viewport_size({"width": width, "height": height})
            page.evaluate("scrollTo(0, 0)")
            dock = page.locator(f"#{view} .dock").bounding_box()
            for name in names:
                box = page.locator(f"#{view} {name}").bounding_box()
                if name != ".modes":
                    assert box["y"] + box["height"] <= dock["y"] + 1, (view, name)
                assert box["x"] + box["width"] <= width
            if view != "glimpse":  # whose dock contains the explanation
                assert dock["height"] < 0.15 * height


def shown(page: Page, selector: str) -> np.ndarray:
    """The pixels of an element on the screen."""
    picture = Image.open(io.BytesIO(page.locator(selector).first.screenshot()))
    return np.array(picture.convert("RGB")).astype(int)


def test_sliders_and_the_current_tab_are_visible_in_forced_colours_and_print(go):
    page = go("view=window")
    for media in ({"forced_colors": "active"}, {"forced_colors": "none", "media": "print"}):
        page.emulate_media(**media)
        slider = shown(page, "#window [name=g_x]")
        middle = slider[len(slider) // 2]
        assert (middle != slider[0, 0]).any(-1).mean() > 0.9  # the track and the thumb
        tabs = {view: shown(page, f"nav [data-view={view}]") for view in ("window", "paint")}
        lines = {view: (tab[-2] != tab[0, 0]).any(-1).mean() > 0.9 for view, tab in tabs.items()}
        assert lines == {"window": True, "paint": False}
    page.emulate_media(media="screen")


def test_the_dark_theme_is_printed_on_white_paper(go):
    page = go("view=paint&t=6", "dark")
    dark = pixels(page, tile("paint", 0))
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.evaluate("document.documentElement.dataset.theme") == "light"
    assert (pixels(page, tile("paint", 0)) != dark).any()
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    assert (pixels(page, tile("paint", 0)) == dark).all()


@pytest.mark.parametrize(
    ("address", "button", "explained"),
    [
        ("view=glimpse&t=3&stage=3", "about-kl", ".explain p:visible"),
        ("view=glimpse&t=3&stage=2", "about-lstm", ".explain p:visible"),
        ("view=glimpse&story=3", "answer-3", ".story article:visible"),
        ("view=look&seed=3", "about-bound", "[popovertarget=about-bound]"),
        ("view=paint&seed=3", "save", ".save"),
    ],
)
def test_explanations_do_not_cover_what_they_explain(go, address, button, explained):
    page = go(address, motion="reduce")
    section = page.locator("main section:visible")
    for width, height in ((1280, 800), (390, 844)):
        page.set_viewport_size({"width": width, "height": height})
        section.locator(f"[popovertarget={button}]:visible").click()
        places = page.locator(f"#{button}"), section.locator(explained)
        box, about = (place.bounding_box() for place in places)
        page.keyboard.press("Escape")
        apart = box["y"] >= about["y"] + about["height"] or box["y"] + box["height"] <= about["y"]
        beside = box["x"] >= about["x"] + about["width"] or box["x"] + box["width"] <= about["x"]
        assert apart or beside
        assert box["x"] >= 0 <= box["y"]
        assert box["x"] + box["width"] <= width
        assert box["y"] + box["height"] <= height


def test_invalid_addresses_open_a_view_without_an_error(go):
    page = go("view=nothing&model=unknown&seed=-1&t=many")
    for invalid in (
        "view=paint&seed=1e999&t=99999999999",
        "view=__proto__",
        "view=look&ink=%00%ff<script>&seed=<b>",
        "view=finish&ink=abcd&seed=7&seed=8",
        "view=fork&index=99&at=-3&branch=x&seed=2",
        "view=window&g_x=NaN&delta=Infinity&sigma=-1&n=2.5&gamma=",
        "&&&===%E0%A4%A",
    ):
        navigate(page, invalid)
        page.clock.run_for(400)
        assert page.locator("main section:visible").count() == 1
        assert page.locator("#notice").is_hidden()


def test_every_control_has_a_name_and_can_be_reached_with_tab(go):
    page = go("view=window", motion="reduce")  # playing films show other controls
    for view in VIEWS:
        navigate(page, f"view={view}&seed=3")
        if view != "window":
            finished(page, view)
        check_controls(page, view)


def check_controls(page: Page, view: str) -> None:
    unnamed = page.evaluate(
        f"""[...document.querySelectorAll("#{view} button, #{view} input, #{view} canvas,"
            + " header select, header button")].filter((element) => !(
            element.ariaLabel || element.textContent.trim() || element.labels?.length ||
            element.closest("[role=img]") || element.querySelector("[aria-label]")
        )).map((element) => element.outerHTML)"""
    )
    assert unnamed == []
    assert page.locator("nav [aria-current]").get_attribute("data-view") == view
    inputs = "input:enabled:not([type=radio]:not(:checked))"  # the arrow keys reach other radios
    controls = f"""a[href], button:enabled, {inputs}, select, [tabindex="0"]"""
    count = page.evaluate(
        f"""(window.left = new Set([...document.querySelectorAll(`{controls}`)]
            .filter((element) => element.tabIndex >= 0 && element.checkVisibility()))).size"""
    )
    assert count > 12
    page.evaluate("addEventListener('focusin', ({ target }) => left.delete(target))")
    for _ in range(count + 1):  # one returns from the end of the page to its start
        page.keyboard.press("Tab")
    assert page.evaluate("[...left].map((element) => element.outerHTML)") == []


def test_the_skip_link_leads_to_the_pictures_and_keeps_the_view(go):
    page = go("view=window")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    assert page.locator("#window").is_visible()


def test_opened_as_a_file_it_explains_what_to_do(faulty_page, folder):
    page = faulty_page
    page.goto(folder.as_uri() + "/index.html")
    assert page.locator("#notice").is_hidden()  # for three seconds, which this skips
    page.evaluate("document.getAnimations().forEach((animation) => animation.finish())")
    assert page.locator("#notice").is_visible()
    assert "Serve its folder instead" in text(page, "#notice")
    for theme, colour in (("dark", "rgb(19, 19, 18)"), ("light", "rgb(245, 244, 241)")):
        page.emulate_media(color_scheme=theme)  # applies without a script
        assert page.evaluate("getComputedStyle(document.documentElement).backgroundColor") == colour


def test_back_returns_to_the_previous_view(go):
    page = go("view=paint&seed=5")
    page.click("nav [data-view=window]")
    page.locator("#window").wait_for()
    page.go_back()
    page.locator("#paint").wait_for()
    assert settings(page)["seed"] == "5"


def test_the_theme_follows_the_system_until_it_is_chosen(go):
    page = go("view=paint&t=6", "light")
    page.emulate_media(color_scheme="dark")
    wait(page, "document.documentElement.dataset.theme === 'dark'")
    dark = pixels(page, tile("paint", 0))
    assert text(page, "#theme") == "Light"
    assert page.locator("#theme").get_attribute("aria-label") == "Switch to light theme"
    page.click("#theme")
    assert page.evaluate("document.documentElement.dataset.theme") == "light"
    light = pixels(page, tile("paint", 0))
    assert np.abs(dark - light).max() > 100
    page.reload()
    page.locator("#paint .again:enabled").wait_for()
    assert page.evaluate("document.documentElement.dataset.theme") == "light"  # it is stored


def test_the_theme_does_not_depend_on_the_models(own_page, without):
    page = own_page
    page.emulate_media(color_scheme="light")
    page.add_init_script("localStorage.setItem('theme', 'dark')")
    page.goto(without("models.json"))
    page.locator("#notice").wait_for()
    assert "models.json could not be loaded (HTTP 404)" in text(page, "#notice")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    page.problems.clear()  # the error above


def test_another_model_can_be_chosen_and_is_stored_in_the_address(go):
    page = go("view=paint&t=6")
    assert "model" not in settings(page)
    before = pixels(page, tile("paint", 0)).shape
    choose_model(page, "colour")
    finished(page, "paint")
    assert pixels(page, tile("paint", 0)).shape != before
    assert settings(page)["model"] == "colour"
    page.click("nav [data-view=look]")
    assert settings(page)["model"] == "colour"


def test_text_about_windows_is_shown_only_for_models_with_attention(go):
    page = go("view=paint", motion="reduce")
    for model in ("attentive", "plain", "colour"):
        choose_model(page, model)
        for view in ("look", "finish", "fork", "paint"):
            page.click(f"nav [data-view={view}]")
            page.locator(f"#{view} .again:enabled").wait_for()
            shown = page.locator(f"#{view}").inner_text().lower()
            assert ("window" in shown) == (model != "plain"), view
            assert ("all pixels at once" in shown) == (model == "plain" and view == "paint")


def test_without_the_weights_the_sample_trace_still_plays(faulty_page, without):
    page = faulty_page
    page.goto(without("*.safetensors") + "#view=paint")
    page.locator("#notice").wait_for()
    notice = text(page, "#notice")
    assert "models/attentive/model.safetensors could not be loaded (HTTP 404)" in notice
    finished(page, "paint")
    assert played(page, "paint") == set(range(T + 1))
    assert page.locator("#paint .again").is_disabled()
    assert text(page, "#paint .status") == ""


def test_a_model_that_failed_to_load_is_loaded_again_on_request(faulty_page, site):
    page = faulty_page
    weights = "**/colour/model.safetensors"
    page.route(weights, lambda route: route.abort())
    page.goto(f"{site}?retry#view=paint&model=colour")
    page.locator("#notice button").wait_for()
    page.unroute(weights)
    page.click("#notice button")
    page.locator("#paint .again:enabled").wait_for()
    assert page.locator("#notice").is_hidden()


def test_the_page_works_offline_after_the_first_visit(browser, serve, folder):
    site = serve(folder, cache="no-store")
    with new_page(browser) as page:
        page.goto(f"{site}?offline#view=paint")
        page.locator("#paint .again:enabled").wait_for()
        choose_model(page, "plain")
        page.wait_for_url("**model=plain**")
        finished(page, "paint")
        for file in ("worker.js", "models/attentive/model.safetensors", "traces/plain.json"):
            wait_for_kept(page, file)
        keys = "async () => (await (await caches.open('draw')).keys()).map(({ url }) => url)"
        models = {url.split("/")[-2] for url in page.evaluate(keys) if "/models/" in url}
        assert models == {"attentive", "plain"}  # others are large and may not be needed
        page.context.set_offline(True)
        page.goto(f"{site}?again#view=paint&model=plain&seed=1")
        finished(page, "paint")
        choose_model(page, "attentive")
        finished(page, "paint")
        page.click("nav [data-view=look]")
        finished(page, "look")
        choose_model(page, "colour")
        page.locator("#notice button").wait_for()  # to try again


def wait_for_kept(page: Page, file: str) -> None:
    """Wait until the service worker keeps a file."""
    kept = f"""(async () => Boolean(await (await caches.open("draw")).match("{file}")))()"""
    for _ in range(1200):
        if page.evaluate(kept):
            return
        page.wait_for_timeout(25)
    raise AssertionError(f"{file} is not kept")


def test_the_status_shows_how_much_of_a_model_is_loaded(own_page, site):
    page = own_page
    page.add_init_script(
        """new MutationObserver(() => {
            const text = document.querySelector("#paint .status")?.textContent;
            if (text) (window.statuses ??= new Set()).add(text);
        }).observe(document, { subtree: true, childList: true, characterData: true });"""
    )
    page.goto(f"{site}#view=paint&model=mnist&seed=2")
    page.locator("#paint .again:enabled").wait_for()
    seen = page.evaluate("[...statuses]")
    assert any(re.fullmatch(r"Loading the model, \d+% of 1\.\d MB", status) for status in seen)


def test_the_status_shows_the_progress_of_the_model_that_the_view_waits_for(own_page, site):
    page = own_page
    page.add_init_script(
        """const post = Worker.prototype.postMessage;
        Worker.prototype.postMessage = function (message) {
            if (message.task === "load") { // stays at a share that depends on the model
                const progress = { colour: [1e6, 8e6], plain: [3e6, null] }[message.model];
                if (progress) return this.onmessage({ data: { id: message.id, progress } });
            }
            post.call(this, message);
        };"""
    )
    page.goto(f"{site}#view=look&model=colour")
    page.locator("#look .status", has_text="Loading the model, 12% of 8.0 MB").wait_for()
    choose_model(page, "plain")
    page.locator("#look .status", has_text="Loading the model, 3.0 MB").wait_for()
    choose_model(page, "colour")
    page.locator("#look .status", has_text="Loading the model, 12% of 8.0 MB").wait_for()


def test_the_trace_is_loaded_before_the_weights(go):
    page = go("view=paint&model=quick")
    urls = [url for url in page.requests if "quick" in url]
    assert [url.rpartition("/")[2] for url in urls][:1] == ["quick.json"]


def test_other_views_and_models_keep_the_seed_and_the_drawing(go):
    page = go("view=paint&seed=7&t=2")
    for view in ("fork", "compare", "look"):
        page.click(f"nav [data-view={view}]")
        finished(page, view)
        assert settings(page)["seed"] == "7"
    stroke(page, "#look .pad", DIGIT)
    finished(page, "look")
    ink = settings(page)["ink"]
    page.click("nav [data-view=finish]")
    finished(page, "finish")
    assert settings(page).items() >= {"ink": ink, "seed": "7"}.items()
    choose_model(page, "plain")
    page.wait_for_url("**model=plain**")
    finished(page, "finish")
    assert settings(page).items() >= {"ink": ink, "seed": "7"}.items()
    page.click("nav [data-view=paint]")
    finished(page, "paint")
    assert settings(page)["seed"] == "7"


@pytest.mark.parametrize("scripts", [True, False])
def test_without_scripts_there_is_one_explanation(browser, site, scripts):
    context = browser.new_context(java_script_enabled=scripts)
    page = context.new_page()
    page.goto(site)
    page.locator("main").wait_for()
    assert page.locator("noscript p").is_visible() != scripts
    assert page.locator("#notice").is_hidden()
    for name in ("title", "description", "type"):
        assert page.locator(f'meta[property="og:{name}"]').get_attribute("content")
    context.close()


def test_a_missing_worker_is_reported_in_every_view(faulty_page, without):
    page = faulty_page
    page.goto(without("worker.js"))
    for view in ("paint", "look", "fork"):
        page.click(f"nav [data-view={view}]")
        page.locator(f"#{view}").wait_for()
        page.locator("#notice").wait_for()
        assert "the worker could not be started" in text(page, "#notice")
        assert text(page, f"#{view} .status") == ""


@pytest.mark.parametrize("view", ["paint", "compare"])
def test_without_the_sample_trace_the_model_still_runs(faulty_page, without, view):
    page = faulty_page
    page.goto(without("attentive.json") + f"#view={view}")
    page.locator("#notice").wait_for()
    assert "traces/attentive.json could not be loaded (HTTP 404)" in text(page, "#notice")
    page.click(f"#{view} .again")
    finished(page, view)


def test_an_error_in_the_page_is_reported(go):
    page = go("view=window")
    page.evaluate("addEventListener('click', () => { throw new Error('out of ink'); })")
    page.click("#window h1")
    page.locator("#notice").wait_for()
    assert "out of ink." in text(page, "#notice")
    assert "out of ink" in page.problems.pop()


def test_the_address_stores_whether_windows_are_shown(go):
    page = go("view=compare&seed=3")
    box = page.locator("#compare .windows")
    first = box.is_checked()
    box.click()
    at = settings(page)
    assert at["windows"] == str(int(not first))
    box.click()
    assert "windows" not in settings(page)
    navigate(page, address(at))
    assert settings(page)["windows"] == at["windows"]
    assert box.is_checked() != first


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("view=window&g_x=20&picture=8", "view=window&delta=1"),
        ("view=look&ink=0g0gvwvw&seed=9", "view=look&t=2"),
        ("view=finish&ink=0g0gvwvw&seed=9&windows=1", "view=finish&t=2"),
        ("view=fork&seed=9&index=3&branch=7&windows=0", "view=fork&at=2&t=3"),
    ],
)
def test_an_address_shows_the_same_regardless_of_what_was_shown_before(go, before, after):
    def shown(fragment: str) -> tuple[dict[str, str], list[bytes]]:
        navigate(page, fragment)
        view = settings(page)["view"]
        if view != "window":
            finished(page, view)
        canvases = [pixels(page, f"#{view} {name}") for name in CANVASES[view]]
        return settings(page), [canvas.tobytes() for canvas in canvases]

    page = go(after)
    expected = shown(after)
    assert shown(before) != expected
    assert shown(after) == expected
