"""What a teacher needs: an embedded page, full screen, links, and the numbers of a window."""

import pytest

from .helpers import settings, text, wait


@pytest.mark.parametrize(
    ("query", "hidden"),
    [
        ("", ""),
        ("embed=1", ".name, #theme, footer"),
        ("hide=nav", "nav, header .model"),
        ("hide=notes", "#look .notes"),
        ("embed=1&hide=nav,notes", "header, footer, #look .notes"),
        ("embed=0&hide=nothing", ""),
    ],
)
def test_an_embedded_page_shows_only_what_it_should(own_page, site, query, hidden):
    own_page.goto(f"{site}?{query}#view=look")
    own_page.locator("#look h1").wait_for()
    for part in (".name", "#theme", "footer", "nav", "header .model", "#look .notes"):
        element = own_page.locator(part)
        inside = f"(element) => Boolean(element.closest({hidden!r} || 'none'))"
        assert element.is_visible() != element.evaluate(inside), part


def test_full_screen_has_larger_type(go):
    page = go("view=look")

    def size() -> float:
        return page.locator("#look .lead").evaluate("(lead) => lead.currentCSSZoom")

    assert size() == 1
    page.click("#fullscreen")
    wait(page, "document.fullscreenElement")
    assert size() > 1
    page.click("#fullscreen")
    wait(page, "!document.fullscreenElement")
    assert size() == 1


def test_the_link_shows_the_view_again(go):
    page = go("view=fork&seed=7&t=3")
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.click("#fork .save")
    page.click("#save .link button")
    wait(page, "document.querySelector('#save .link button').textContent === 'Copied'")
    link = page.evaluate("navigator.clipboard.readText()")
    assert link == page.url
    assert "view=fork" in link
    assert "seed=7" in link
    page.keyboard.press("Escape")


def test_films_play_at_a_tenth_to_twice_the_speed(go):
    page = go("view=paint")
    options = page.locator("#paint .speed option").all()
    assert [float(option.get_attribute("value")) for option in options] == [0.1, 0.25, 0.5, 1, 2]


@pytest.mark.parametrize(("stage", "kind"), [(1, "read"), (5, "write")])
def test_a_glimpse_opens_its_window(go, models, stage, kind):
    page = go(f"view=glimpse&model=attentive&t=1&stage={stage}")
    page.locator(f"#glimpse .explain [data-window={kind}]:visible").click()
    page.locator("#window h1").wait_for()
    at = settings(page)
    assert at["n"] == str(getattr(models["attentive"].config, f"{kind}_size"))
    names = {"g_x", "g_y", "delta", "sigma", "gamma"} & at.keys()
    shown = {name: text(page, f"#window [name={name}] + output") for name in names}
    assert {name: float(at[name]) for name in names} == {n: float(v) for n, v in shown.items()}


def test_windows_beyond_the_sliders_keep_their_numbers(go):
    page = go("view=window&g_x=40&g_y=-9&delta=30&sigma=6.9&gamma=0.0071&n=3")
    at = settings(page)
    shown = [float(at[name]) for name in ("g_x", "g_y", "delta", "sigma", "gamma")]
    assert shown == [40, -9, 30, 6.9, 0.0071]
    assert text(page, "#window .gamma_raw") == "\u22124.95"
    page = go("view=window&gamma=29.3")
    assert settings(page)["gamma"] == "29.3"
