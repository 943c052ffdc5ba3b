"""Look: a visitor's digit, its repainting and its bound."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from draw import DRAW, Trace, elbo

from .chromium import Page
from .conftest import BLANK, T
from .seeing import DIGIT, distances, outlined, pixels, says, settings, slide, step, to_grey


def looked(tab: Page) -> None:
    tab.wait("!document.querySelector('#look .gif').disabled")


def torchs(models: dict[str, DRAW], noise: Callable[..., torch.Tensor], grey: np.ndarray) -> Trace:
    """What torch makes of a shown picture, with the noise of seed 4."""
    x = torch.tensor(grey.round() / 255, dtype=torch.float32).view(1, 1, 14, 14)
    with torch.no_grad():
        return models["attentive"](x, eps=noise(1, 4)[:, None], record=True)


def test_a_drawn_digit_is_repainted_and_its_bound_is_torchs(go, models, noise, browser, site):
    tab = go("view=look&seed=1", motion="reduce")
    looked(tab)
    tab.stroke("#look .pad", DIGIT)
    looked(tab)
    at = settings(tab)
    with browser.page() as other:
        other.open(site + BLANK)
        grey = other.run(
            f"""import("{site}ink.js").then((ink) => Array.from(
                ink.rasterise(ink.centred(ink.fromText("{at["ink"]}"), 14, 14), 14, 14)))"""
        )
    x = torch.tensor(grey, dtype=torch.float32).view(1, 1, 14, 14) / 255
    ink = to_grey(pixels(tab, "#look .input")) > 180  # darker than the window's border
    assert ink.astype(int).sum() == int(x.sum())
    with torch.no_grad():
        eps = noise(1, int(at["seed"]))[:, None]
        trace = models["attentive"](x, eps=eps, record=True)
    latent, total = float(trace.kl.sum()), -float(elbo(trace))
    shown = [float(says(tab, f"#look .{part}")) for part in ("latent", "pixels", "bound")]
    expected = [latent, total - latent, total]
    assert np.isfinite(shown).all()
    assert shown == pytest.approx(expected, abs=0.051)
    assert says(tab, "#look .says") == "nats, a sample of the bound"
    nats = [f"{float(kl):.1f}" for kl in trace.kl]
    highest = f"highest {float(trace.kl.max()):.1f} at step {int(trace.kl.argmax()) + 1}"
    assert says(tab, "#look .peak") == f"step {T}: {nats[-1]} nats; {highest}"
    label = tab.run("document.querySelector('#look .bars').ariaLabel")
    assert label == ", ".join(["Nats spent at each step", *nats])
    slide(tab, "#look .slider", 2)
    assert says(tab, "#look .peak").startswith(f"step 2: {nats[1]} nats; ")
    assert float(says(tab, "#look .latent")) == pytest.approx(float(trace.kl[:2].sum()), abs=0.051)
    so_far = torch.nn.functional.binary_cross_entropy_with_logits(
        trace.canvas[1], x, reduction="sum"
    )
    assert float(says(tab, "#look .pixels")) == pytest.approx(float(so_far), abs=0.051)


def test_the_three_pictures_show_input_error_and_canvas_with_torchs_windows(go, models, noise):
    tab = go("view=look&seed=4&t=3")
    looked(tab)
    shown = {part: pixels(tab, f"#look .{part}") for part in ("input", "error", "canvas")}
    slide(tab, "#look .slider", 0)
    bare = {part: pixels(tab, f"#look .{part}") for part in ("input", "canvas")}
    trace = torchs(models, noise, to_grey(bare["input"]))
    outlined(shown["input"][..., 1] - shown["input"][..., 0], trace.read, 2, 3)
    outlined(shown["canvas"][..., 0] - shown["canvas"][..., 1], trace.write, 2, 4)
    green = shown["error"][..., 1] - shown["error"][..., 0] > 90
    line = shown["input"][..., 1] - shown["input"][..., 0] > 90
    assert (green == line).all()  # the same window reads both
    start = 255 * models["attentive"].canvas_0.sigmoid().detach().numpy()[0]
    assert np.abs(to_grey(bare["canvas"]) - start).max() < 2


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
    trace = torchs(models, noise, 255 * x)
    each = shown.shape[0] // 14
    middle = shown[each // 2 :: each, each // 2 :: each]
    away = distances(shown, trace.read, 2, 3)[each // 2 :: each, each // 2 :: each]
    clear = away > float(trace.read.sigma2[2, 0].sqrt()) / 2 + 1.5 / each  # of the green border
    error = np.where(
        middle[..., 0] - middle[..., 2] > 1,
        -(255 - middle[..., 1]) / (255 - 0x35),  # towards the red of too much paint
        to_grey(shown) / 255,
    )
    assert clear.sum() > 20
    assert np.abs(error - (x - trace.mean[1, 0, 0].numpy()))[clear].max() < 0.02
    assert np.abs(error - (x - trace.mean[2, 0, 0].numpy()))[clear].max() > 0.02


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


@pytest.mark.parametrize(("theme", "ground"), [("light", 0xF5F4F1), ("dark", 0x131312)])
def test_the_bars_to_come_stand_out(go, theme, ground):
    """By 3 : 1, as WCAG 2.2 asks of what carries meaning (1.4.11)."""
    tab = go("view=look&seed=4&t=0", theme)
    looked(tab)
    bars = pixels(tab, "#look .bars")
    bar = bars[-2, int(0.4 * bars.shape[1] / T)]

    def luminance(colour: np.ndarray) -> float:
        linear = np.where(colour <= 10, colour / 3294, ((colour / 255 + 0.055) / 1.055) ** 2.4)
        return float(linear @ [0.2126, 0.7152, 0.0722])

    around = np.array([ground >> 16, ground >> 8 & 0xFF, ground & 0xFF])
    low, high = sorted([luminance(bar), luminance(around)])
    assert (high + 0.05) / (low + 0.05) >= 3


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


def test_a_model_of_several_digits_has_examples_and_strokes_of_its_own(go):
    def choose(model: str) -> None:
        tab.run(
            f"""{{
                const select = document.querySelector("#model");
                select.value = "{model}";
                select.dispatchEvent(new Event("change"));
            }}"""
        )
        tab.wait("location.hash.includes('ink=')")  # it begins without
        looked(tab)

    def names() -> list[str]:
        buttons = "[...document.querySelectorAll('#look .examples button')]"
        return tab.run(f"{buttons}.map((button) => button.textContent)")

    tab = go("view=look", motion="reduce")
    looked(tab)
    tab.stroke("#look .pad", DIGIT)
    looked(tab)
    own, few = settings(tab)["ink"], names()
    choose("two-digits")
    assert settings(tab)["ink"] != own
    assert names() == ["2 3", "3 5", "5 8", "8 2"] != few
    tab.stroke("#look .pad", [(0.1, 0.1), (0.4, 0.3)])
    looked(tab)
    assert "." not in settings(tab)["ink"]  # the example gave way
    choose("attentive")
    assert settings(tab)["ink"] == own
    assert names() == few == ["2", "3", "5", "8"]


@pytest.mark.parametrize("view", ["look", "finish"])
def test_the_first_stroke_replaces_an_example_that_the_address_brought(go, view):
    tab = go(f"view={view}", motion="reduce")
    tab.wait(f"!document.querySelector('#{view} .gif').disabled")
    assert "ink" in settings(tab)
    tab.run("window.old = true")
    tab.send("Page.reload")
    tab.wait(f"!window.old && !document.querySelector('#{view} .again').disabled")
    tab.stroke(f"#{view} .pad", DIGIT)
    assert len(settings(tab)["ink"]) == 4 * len(DIGIT)


def test_a_second_finger_does_not_lift_the_pen(go):
    tab = go("view=look", motion="reduce")
    looked(tab)
    (x, y), *others = DIGIT
    left, top, width, height = tab.place("#look .pad")
    tab._mouse("mousePressed", left + x * width, top + y * height)
    tab.run("""
        document.querySelector("#look .pad").dispatchEvent(
            new PointerEvent("pointerup", { isPrimary: false, bubbles: true }));
    """)
    for x, y in others:
        tab._mouse("mouseMoved", left + x * width, top + y * height)
    tab._mouse("mouseReleased", left + x * width, top + y * height)
    looked(tab)
    assert len(settings(tab)["ink"]) == 4 * len(DIGIT)


def test_space_plays_and_pauses_from_the_slider_too(go):
    tab = go("view=look", motion="reduce")
    looked(tab)
    tab.run("document.querySelector('#look .slider').focus()")
    tab.press(" ")
    tab.wait("document.querySelector('#look .play').textContent === 'Pause'")


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


@pytest.mark.parametrize("view", ["look", "finish"])
def test_after_a_stroke_the_keys_play_and_step(go, view):
    tab = go(f"view={view}", motion="reduce")
    tab.stroke(f"#{view} .pad", DIGIT)
    tab.wait(f"!document.querySelector('#{view} .gif').disabled")
    ink = settings(tab)["ink"]
    tab.press("ArrowLeft")
    assert step(tab, view) == T - 1
    tab.press(" ")
    tab.wait(f"document.querySelector('#{view} .play').textContent === 'Pause'")
    tab.run(f"document.querySelector('#{view} .pad').focus()")
    tab.press(" ")  # there too; Enter draws
    tab.wait(f"document.querySelector('#{view} .play').textContent === 'Play'")
    assert settings(tab)["ink"] == ink


@pytest.mark.parametrize("view", ["look", "finish"])
def test_a_full_pad_says_so_and_keeps_its_drawing(go, view):
    written = "".join(
        f"{a}0{b}0" for a in "abcdefghijklmnopqrstuvwxyz" for b in "0123456789abcdefABCDEFG"
    )
    tab = go(f"view={view}&ink={written}", motion="reduce")  # 598 points, of 600
    tab.stroke(f"#{view} .pad", DIGIT)
    ink = settings(tab)["ink"]
    assert ink.count(".") == 1
    assert len(ink) == 4 * 600 + 1
    tab.wait(f"document.querySelector('#{view} .status').textContent.startsWith('The pad is full')")
    tab.stroke(f"#{view} .pad", DIGIT)
    assert settings(tab)["ink"] == ink
    tab.run("window.old = true")
    tab.send("Page.reload")
    tab.wait(f"!window.old && !document.querySelector('#{view} .again').disabled")
    assert settings(tab)["ink"] == ink
    tab.click(f"#{view} .clear")
    tab.stroke(f"#{view} .pad", DIGIT)
    assert len(settings(tab)["ink"]) == 4 * len(DIGIT)
