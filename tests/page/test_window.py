"""Window: an attention window to move by hand."""

import numpy as np
import pytest
import torch
from playwright.sync_api import Page

from draw.attention import Window, filterbanks, read, write

from .helpers import click, pixels, saved, settings, slide, spots, stroke, text, to_grey, touch


def value(page: Page, name: str) -> float:
    return float(page.locator(f"#window [name={name}]").input_value())


def test_dragging_moves_the_window_and_its_corner_changes_the_stride(go):
    page = go("view=window")
    stroke(page, "#window .overlay", [(0.5, 0.5), (0.6, 0.55), (0.75, 0.6)])
    assert value(page, "g_x") == pytest.approx(14.5 + 0.25 * 28, abs=0.11)
    assert value(page, "g_y") == pytest.approx(14.5 + 0.10 * 28, abs=0.11)
    at = settings(page)
    assert (float(at["g_x"]), float(at["g_y"])) == pytest.approx((21.5, 17.3), abs=0.05)
    page.click("#window .reset")
    assert settings(page) == {"view": "window"}
    edge = (14.5 + 4 * 5 / 2 - 0.5) / 28
    stroke(
        page,
        "#window .overlay",
        [(edge, edge), (edge - 0.1, edge - 0.05), (edge - 0.1, edge - 0.1)],
    )
    assert value(page, "delta") == pytest.approx(4 - 0.1 * 28 * 2 / 5, abs=0.11)


def test_a_click_outside_the_window_moves_it_there(go):
    page = go("view=window&delta=1&sigma=0.5")
    click(page, "#window .overlay", 0.9, 0.1)
    assert value(page, "g_x") == pytest.approx(0.5 + 0.9 * 28, abs=0.11)
    assert value(page, "g_y") == pytest.approx(0.5 + 0.1 * 28, abs=0.11)


def test_each_slider_changes_the_patch(go):
    page = go("view=window")

    def patch_and_back() -> list[bytes]:
        return [pixels(page, f"#window .{part}").tobytes() for part in ("patch", "back")]

    first = patch_and_back()
    for name in ("g_x", "g_y", "delta", "sigma", "gamma", "n"):
        slide(page, f"#window [name={name}]", 2 if name != "g_x" else 9)
        patch, back = patch_and_back()
        assert patch != first[0], name
        assert back != first[1], name
        assert name in settings(page)
        page.click("#window .reset")
    assert patch_and_back() == first


def test_the_patch_equals_that_in_pytorch(go):
    page = go("view=window&g_x=13&g_y=15.5&delta=2.5&sigma=1.2&gamma=0.8&n=4")
    image = torch.tensor(to_grey(pixels(page, "#window .image"), 28) / 255).float()
    window = Window(*map(torch.tensor, (13.0, 15.5, 2.5, 1.44, 0.8)))
    patch = read(image[None], window, 4)
    back = write(patch / 0.8, window, 28, 28)  # the patch for gamma = 1
    shown = to_grey(pixels(page, "#window .patch"), 4)
    assert np.abs(shown - 255 * patch[0].numpy()).max() < 2
    assert float(text(page, "#window .brightest")) == pytest.approx(float(back.max()), abs=0.006)
    shown = to_grey(pixels(page, "#window .back"), 28)
    expected = (back / back.max() / 0.8).clamp(max=1)  # black is its maximum for gamma = 1
    assert np.abs(shown - 255 * expected[0].numpy()).max() < 2


def test_the_equations_show_the_numbers_of_the_window(go):
    page = go("view=window&g_x=7.2&delta=3&sigma=2&gamma=0.5&n=3")
    shown = {name: text(page, f"#window .{name}") for name in ("g_x_raw", "mu_x", "mu_y")}
    assert shown == {"g_x_raw": "\u22120.50", "mu_x": "4.2, 7.2, 10.2", "mu_y": "11.5, 14.5, 17.5"}
    for name, number in (("delta_raw", 3 * 2 / 27), ("sigma_raw", 4.0), ("gamma_raw", 0.5)):
        value = float(text(page, f"#window .{name}").replace("\u2212", "-"))
        assert value == pytest.approx(np.log(number), abs=0.0051)


def test_pointing_at_the_patch_shows_its_two_filters(go):
    page = go("view=window")
    plain = pixels(page, "#window .image")
    page.mouse.move(*spots(page, "#window .patch", [(0.3, 0.9)])[0])  # i = 2, j = 5
    for axis, place in (("x", 1), ("y", 4)):
        classes = page.evaluate(
            f"""[...document.querySelectorAll("#window .filters.{axis} path")]
                .map((path) => path.className.baseVal)"""
        )
        assert classes == ["picked" if i == place else "faint" for i in range(5)]
    assert (pixels(page, "#window .image") != plain).any()
    patch = pixels(page, "#window .patch")
    page.hover("#window h1")
    assert (pixels(page, "#window .image") == plain).all()
    marked = (pixels(page, "#window .patch") != patch).any(-1)
    each = len(patch) // 5
    rows, columns = np.nonzero(marked)
    assert {*rows // each} == {4}
    assert {*columns // each} == {1}
    page.focus("#window .patch")
    for key, place in (("ArrowRight", 0), ("ArrowRight", 1), ("ArrowLeft", 0), ("ArrowLeft", 0)):
        page.keyboard.press(key)
        assert (
            page.evaluate(
                f"document.querySelectorAll('#window .filters.x path')[{place}].className.baseVal"
            )
            == "picked"
        )


def test_the_outline_is_sigma_wide_and_each_weight_is_a_bar(go):
    page = go("view=window&g_x=9.3&sigma=1.7&n=6")
    assert page.locator("#window .frame").get_attribute("stroke-width") == "1.7"
    window = Window(*map(torch.tensor, (9.3, 14.5, 4.0, 1.7**2, 1.0)))
    for axis, F in zip("xy", filterbanks(window, 28, 28, 6), strict=True):
        paths = page.evaluate(
            f"""[...document.querySelectorAll('#window .filters.{axis} path')]
                .map((path) => path.getAttribute('d').match(/[-.e0-9]+/g).map(Number))"""
        )
        points = np.array(paths).reshape(6, 2 * 28 + 2, 2)[:, 1:-1]
        along, high = np.moveaxis(points if axis == "x" else points[..., ::-1], -1, 0)
        edges = np.arange(28)
        assert along[0] == pytest.approx(np.stack([edges, edges + 1], 1).ravel() / 28)
        assert 1 - high == pytest.approx((F / F.max()).numpy().repeat(2, axis=1), abs=1e-5)
    assert page.locator("#window .dots circle").count() == 36


def test_a_window_larger_than_the_picture_can_be_resized_at_the_edge(go):
    page = go("view=window&delta=8")
    corner = (28 - 0.5) / 28  # the visible corner
    click(page, "#window .overlay", corner, corner)
    assert value(page, "delta") == 8
    stroke(page, "#window .overlay", [(corner, corner), (corner - 0.1, corner - 0.1)])
    assert value(page, "delta") == pytest.approx(8 - 0.1 * 28 * 2 / 5, abs=0.06)


def test_a_finger_selects_patch_pixels_and_the_corner_is_large_enough(go):
    page = go("view=window")
    page.set_viewport_size({"width": 320, "height": 800})
    assert (
        page.evaluate("document.querySelector('#window .grip').getBoundingClientRect().width") >= 24
    )
    touch(page, "#window .patch", [(0.3, 0.9)])
    picked = "#window .filters.x path:nth-child(2).picked"
    assert page.evaluate(f"document.querySelector('{picked}') !== null")
    touch(page, "#window .patch", [(0.3, 0.9), (0.5, 0.9), (0.7, 0.9)])
    picked = "#window .filters.x path:nth-child(4).picked"
    assert page.evaluate(f"document.querySelector('{picked}') !== null")


def test_the_picture_can_be_chosen_and_is_stored_in_the_address(go):
    page = go("view=window")
    seen = []
    for place in range(1, 5):
        page.click(f"#window .examples button:nth-child({place})")
        seen.append(pixels(page, "#window .image").tobytes())
        assert text(page, "#window .examples [aria-pressed=true]") == "2358"[place - 1]
    assert len(set(seen)) == 4
    at = settings(page)
    assert at["picture"] == "8"
    page = go(f"view=window&picture={at['picture']}")
    assert pixels(page, "#window .image").tobytes() == seen[3]


def test_a_caption_states_the_numbers_of_the_window(go):
    page = go("view=window&g_x=10&delta=2.5&sigma=0.8&n=3")
    caption = saved(page, "window", "svg", caption=True)[1].decode()
    assert " at (10.00, 14.50)" in caption
    assert " 2.50, " in caption
    assert " 0.80<" in caption
    assert "g_x=10" in caption  # in the link
