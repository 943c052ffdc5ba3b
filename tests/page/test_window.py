"""Window: the attention by hand."""

import numpy as np
import pytest
import torch

from draw.attention import Window, filterbanks, read, write

from .chromium import Page
from .seeing import pixels, says, settings, slide, to_grey


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


def test_the_border_is_sigma_wide_and_each_weight_a_bar(go):
    tab = go("view=window&g_x=9.3&sigma=1.7&n=6")
    assert tab.run("document.querySelector('#window .frame').getAttribute('stroke-width')") == "1.7"
    here = Window(*map(torch.tensor, (9.3, 14.5, 4.0, 1.7**2, 1.0)))
    for axis, F in zip("xy", filterbanks(here, 28, 28, 6), strict=True):
        paths = tab.run(
            f"""[...document.querySelectorAll('#window .filters.{axis} path')]
                .map((path) => path.getAttribute('d').match(/[-.e0-9]+/g).map(Number))"""
        )
        points = np.array(paths).reshape(6, 2 * 28 + 2, 2)[:, 1:-1]
        along, high = np.moveaxis(points if axis == "x" else points[..., ::-1], -1, 0)
        edges = np.arange(28)
        assert along[0] == pytest.approx(np.stack([edges, edges + 1], 1).ravel() / 28)
        assert 1 - high == pytest.approx((F / F.max()).numpy().repeat(2, axis=1), abs=1e-5)
    assert tab.run("document.querySelectorAll('#window .dots circle').length") == 36


def test_a_window_beyond_the_picture_keeps_its_stride_until_its_corner_is_dragged(go):
    tab = go("view=window&delta=8")
    corner = (28 - 0.5) / 28  # where it is shown
    tab.click("#window .overlay", corner, corner)
    assert value(tab, "delta") == 8
    tab.stroke("#window .overlay", [(corner, corner), (corner - 0.1, corner - 0.1)])
    assert value(tab, "delta") == pytest.approx(8 - 0.1 * 28 * 2 / 5, abs=0.06)


def test_a_finger_explores_the_patch_and_grasps_the_corner(go):
    tab = go("view=window")
    tab.resize(320, 800)
    assert tab.run("document.querySelector('#window .grip').getBoundingClientRect().width") >= 24
    tab.touch("#window .patch", [(0.3, 0.9)])
    picked = "#window .filters.x path:nth-child(2).picked"
    assert tab.run(f"document.querySelector('{picked}') !== null")
    tab.touch("#window .patch", [(0.3, 0.9), (0.5, 0.9), (0.7, 0.9)])
    picked = "#window .filters.x path:nth-child(4).picked"
    assert tab.run(f"document.querySelector('{picked}') !== null")


def test_another_picture_in_the_sandbox(go):
    tab = go("view=window")
    seen = []
    for place in range(1, 5):
        tab.click(f"#window .examples button:nth-child({place})")
        seen.append(pixels(tab, "#window .image").tobytes())
    assert len(set(seen)) == 4
    at = settings(tab)
    assert at["picture"] == "8"
    tab.open("about:blank")
    tab = go(f"view=window&picture={at['picture']}")
    assert pixels(tab, "#window .image").tobytes() == seen[3]
