"""Look: the reconstruction of the visitor's digit, and its bound."""

import json
import re
from collections.abc import Callable

import numpy as np
import pytest
import torch

from draw import DRAW, Trace, elbo
from draw.page import site

from .conftest import T
from .helpers import (
    DIGIT,
    assert_outlined,
    choose_model,
    click,
    distances,
    finished,
    glimpse,
    navigate,
    pixels,
    settings,
    slide,
    spots,
    stroke,
    tag,
    text,
    to_grey,
    touch,
    wait,
)


def reconstruct(
    models: dict[str, DRAW], noise: Callable[..., torch.Tensor], grey: np.ndarray
) -> Trace:
    """Reconstruct a picture on the page with PyTorch and the noise of seed 4."""
    x = torch.tensor(grey.round() / 255, dtype=torch.float32).view(1, 1, 14, 14)
    with torch.no_grad():
        return models["attentive"](x, eps=noise(1, 4)[:, None], record=True)


def test_the_costs_of_a_drawn_digit_equal_those_in_pytorch(go, models, noise, module):
    page = go("view=look&seed=1", motion="reduce")
    stroke(page, "#look .pad", DIGIT)
    finished(page, "look")
    at = settings(page)
    grey = module(
        f"""const strokes = ink.centred(ink.fromText("{at["ink"]}"), 14, 14);
        return Array.from(ink.rasterise(strokes, 14, 14));"""
    )
    x = torch.tensor(grey, dtype=torch.float32).view(1, 1, 14, 14) / 255
    ink = to_grey(pixels(page, "#look .input")) > 180  # darker than the outline of the window
    assert ink.astype(int).sum() == int(x.sum())
    with torch.no_grad():
        eps = noise(1, int(at["seed"]))[:, None]
        trace = models["attentive"](x, eps=eps, record=True)
    latent, total = float(trace.kl.sum()), -float(elbo(trace))
    shown = [float(text(page, f"#look .{part}")) for part in ("latent", "pixels", "bound")]
    expected = [latent, total - latent, total]
    assert np.isfinite(shown).all()
    assert shown == pytest.approx(expected, abs=0.051)
    assert text(page, "#look .meaning") == "nats, one-sample bound"
    nats = [f"{float(kl):.1f}" for kl in trace.kl]
    highest = f"highest {float(trace.kl.max()):.1f} at glimpse {int(trace.kl.argmax()) + 1}"
    assert text(page, "#look .peak") == f"glimpse {T}: {nats[-1]} nats; {highest}"
    label = page.locator("#look .bars").get_attribute("aria-label")
    assert label == ", ".join(["Nats per glimpse", *nats])
    slide(page, "#look .slider", 2)
    assert text(page, "#look .peak").startswith(f"glimpse 2: {nats[1]} nats; ")
    assert float(text(page, "#look .latent")) == pytest.approx(float(trace.kl[:2].sum()), abs=0.051)
    so_far = torch.nn.functional.binary_cross_entropy_with_logits(
        trace.canvases[1], x, reduction="sum"
    )
    assert float(text(page, "#look .pixels")) == pytest.approx(float(so_far), abs=0.051)


def test_input_error_and_canvas_show_the_windows_of_pytorch(go, models, noise):
    page = go("view=look&seed=4&t=3")
    shown = {part: pixels(page, f"#look .{part}") for part in ("input", "error", "canvas")}
    slide(page, "#look .slider", 0)
    bare = {part: pixels(page, f"#look .{part}") for part in ("input", "canvas")}
    trace = reconstruct(models, noise, to_grey(bare["input"]))
    assert_outlined(shown["input"][..., 2] - shown["input"][..., 0], trace.read_window, 2, 3)
    assert_outlined(shown["canvas"][..., 0] - shown["canvas"][..., 2], trace.write_window, 2, 4)
    on_error = shown["error"][..., 2] - shown["error"][..., 0] > 90
    on_input = shown["input"][..., 2] - shown["input"][..., 0] > 90
    assert (on_error == on_input).all()  # both are read through the same window
    start = 255 * models["attentive"].canvas_0.sigmoid().detach().numpy()[0]
    assert np.abs(to_grey(bare["canvas"]) - start).max() < 2


def test_missing_ink_and_excess_ink_differ_in_colour(go):
    page = go("view=look&seed=4&t=0")
    x = to_grey(pixels(page, "#look .input"))
    error = pixels(page, "#look .error")
    each = error.shape[0] // 14
    middle = error[each // 2 :: each, each // 2 :: each]
    orange = middle[..., 0] - middle[..., 2]
    assert (orange[x < 10] > 0).all()  # excess ink, which c_0 has everywhere
    assert (orange[x > 245] == 0).all()


def test_the_error_image_refers_to_the_previous_canvas(go, models, noise):
    page = go("view=look&seed=4&t=3")
    shown = pixels(page, "#look .error")
    slide(page, "#look .slider", 0)
    x = to_grey(pixels(page, "#look .input")).round() / 255
    trace = reconstruct(models, noise, 255 * x)
    each = shown.shape[0] // 14
    middle = shown[each // 2 :: each, each // 2 :: each]
    away = distances(shown, trace.read_window, 2, 3)[each // 2 :: each, each // 2 :: each]
    clear = away > float(trace.read_window.sigma2[2, 0].sqrt()) / 2 + 1.5 / each  # from the outline
    error = np.where(
        middle[..., 0] - middle[..., 2] > 1,
        -(255 - middle[..., 1]) / (255 - 0x50),  # orange: excess ink
        to_grey(shown) / 255,
    )
    clear &= ~tag(shown, trace.read_window, 2, 3)[each // 2 :: each, each // 2 :: each]
    assert clear.sum() > 20
    assert np.abs(error - (x - trace.means[1, 0, 0].numpy()))[clear].max() < 0.02
    assert np.abs(error - (x - trace.means[2, 0, 0].numpy()))[clear].max() > 0.02


def test_the_bars_show_the_kl_and_seek(go, models, noise):
    page = go("view=look&seed=4&t=2")
    bars = pixels(page, "#look .bars")
    heights = []
    for t in range(T):
        column = bars[:, int((t + 0.4) * bars.shape[1] / T)]
        heights.append(int((np.abs(column - column[0]).sum(-1) > 0).sum()) or len(column))
    assert max(heights) >= bars.shape[0] - 2
    assert len(set(heights)) > 1
    click(page, "#look .bars", (4 + 0.5) / T, 0.5)
    assert glimpse(page, "look") == 5
    assert settings(page)["t"] == "5"


def test_pointing_at_a_bar_shows_its_latent_dimensions(go, models, noise):
    page = go("view=look&seed=4&t=2")
    slide(page, "#look .slider", 0)
    x = to_grey(pixels(page, "#look .input"))
    trace = reconstruct(models, noise, x)
    mu, log_sigma = trace.mu[4, 0], trace.log_sigma[4, 0]
    nats = ((mu**2 + (2 * log_sigma).exp() - 1) / 2 - log_sigma).numpy()
    page.mouse.move(*spots(page, "#look .bars", [((4 + 0.5) / T, 0.5)])[0])
    used = f"glimpse 5: {(nats > 0.01).sum()} of {len(nats)} with more than 0.01 nats"
    assert text(page, "#look .used") == used
    assert text(page, "#look .peak").startswith("glimpse 5: ")
    assert glimpse(page, "look") == 0
    chart = pixels(page, "#look .dimensions")
    heights = []
    for i in range(len(nats)):
        column = chart[:, int((i + 0.4) * chart.shape[1] / len(nats))]
        heights.append((column != chart[0, -1]).any(-1).sum() / len(column))
    assert np.abs(heights - nats / nats.max()).max() < 0.06
    page.hover("#look h1")
    assert text(page, "#look .used") == ""


def test_costs_are_shown_in_bits_on_request(go):
    page = go("view=look&seed=4", motion="reduce")
    names = ("latent", "pixels", "bound")
    nats = [float(text(page, f"#look .{name}")) for name in names]
    page.click("#look [data-unit=bits]")
    bits = [float(text(page, f"#look .{name}")) for name in names]
    assert bits == pytest.approx([value / np.log(2) for value in nats], abs=0.13)
    assert text(page, "#look .meaning") == "bits, one-sample bound"
    assert "bits; highest" in text(page, "#look .peak")


def test_a_drawing_is_compared_with_validation_images(go):
    page = go("view=look&model=mnist", motion="reduce")
    costs = json.loads((site.COSTS / "mnist.json").read_text())
    bounds = {}
    for place, name in ((1, "1"), (3, "8"), (5, "smiley"), (6, "grid")):
        page.click(f"#look .examples button:nth-child({place})")
        finished(page, "look")
        pressed = page.locator("#look .examples [aria-pressed=true]")
        assert pressed.count() == 1
        assert page.locator(f"#look .examples button:nth-child({place})").and_(pressed).count() == 1
        bounds[name] = float(text(page, "#look .bound"))
        rank = text(page, "#look .rank")
        edges = np.arange(len(costs["counts"]) + 1) * costs["bin"]
        total = np.concatenate([[0], np.cumsum(costs["counts"])])
        share = np.interp(bounds[name], edges, total) / costs["images"]
        assert f"yours costs {bounds[name]:.1f}" in rank
        assert abs(int(re.search(r"(\d+)% of them cost more", rank)[1]) - 100 * (1 - share)) <= 1
    assert bounds["1"] < bounds["8"] < bounds["smiley"]
    assert bounds["grid"] > costs["mean"]
    assert "2,000 validation images cost 81.6 nats on average" in rank


def test_models_without_measurements_have_no_histogram(go):
    page = go("view=look")
    assert page.locator("#look .compared").is_hidden()


def test_the_bars_of_later_glimpses_have_enough_contrast(go):
    """At least 3:1, as WCAG 2.2 requires of graphics that carry meaning (1.4.11)."""
    page = go("view=look&seed=4&t=0")

    def luminance(colour: np.ndarray) -> float:
        linear = np.where(colour <= 10, colour / 3294, ((colour / 255 + 0.055) / 1.055) ** 2.4)
        return float(linear @ [0.2126, 0.7152, 0.0722])

    for theme, ground in (("light", (0xF5, 0xF4, 0xF1)), ("dark", (0x13, 0x13, 0x12))):
        page.emulate_media(color_scheme=theme)
        wait(page, f"document.documentElement.dataset.theme === '{theme}'")
        bars = pixels(page, "#look .bars")
        bar = bars[-2, int(0.4 * bars.shape[1] / T)]
        low, high = sorted([luminance(bar), luminance(np.array(ground))])
        assert (high + 0.05) / (low + 0.05) >= 3


def test_examples_clear_and_another_sample(go):
    page = go("view=look", motion="reduce")
    seen = []
    for index in range(1, 7):
        page.click(f"#look .examples button:nth-child({index})")
        finished(page, "look")
        seen.append(pixels(page, "#look .input").tobytes())
    assert len(set(seen)) == 6
    first = settings(page)
    page.click("#look .again")
    finished(page, "look")
    again = settings(page)
    assert again["ink"] == first["ink"]
    assert again["seed"] != first["seed"]
    page.click("#look .clear")
    assert text(page, "#look .status") == "Draw a digit on the pad"
    assert text(page, "#look .bound") == "\u2013"
    assert page.locator("#look .again").is_disabled()
    assert "ink" not in settings(page)


def test_the_first_stroke_replaces_the_example_and_later_ones_add(go):
    page = go("view=look", motion="reduce")
    stroke(page, "#look .pad", [(0.3, 0.3), (0.7, 0.3)])
    finished(page, "look")
    one = settings(page)["ink"]
    assert "." not in one
    stroke(page, "#look .pad", [(0.5, 0.3), (0.5, 0.8)])
    finished(page, "look")
    assert settings(page)["ink"].startswith(one + ".")


def test_models_of_one_and_of_several_digits_keep_separate_drawings_and_examples(go):
    def choose(model: str) -> None:
        choose_model(page, model)
        page.wait_for_url("**ink=**")
        finished(page, "look")

    def names() -> list[str]:
        buttons = "[...document.querySelectorAll('#look .examples button')]"
        return page.evaluate(f"{buttons}.map((button) => button.textContent)")

    page = go("view=look", motion="reduce")
    stroke(page, "#look .pad", DIGIT)
    finished(page, "look")
    drawn, digits = settings(page)["ink"], names()
    choose("two-digits")
    assert settings(page)["ink"] != drawn
    assert names() == ["2 3", "3 5", "5 8", "8 2"]
    stroke(page, "#look .pad", [(0.1, 0.1), (0.4, 0.3)])
    finished(page, "look")
    assert "." not in settings(page)["ink"]  # replaced the example
    choose("attentive")
    assert settings(page)["ink"] == drawn
    assert names() == digits == ["1", "5", "8", "A", "☺", "#"]


def test_undo_restores_the_drawing_before(go):
    page = go("view=look", motion="reduce")
    seen = [settings(page)["ink"]]
    assert page.locator("#look .undo").is_disabled()
    stroke(page, "#look .pad", [(0.3, 0.3), (0.7, 0.3)])
    finished(page, "look")
    seen.append(settings(page)["ink"])
    stroke(page, "#look .pad", [(0.5, 0.3), (0.5, 0.8)])
    finished(page, "look")
    page.click("#look .clear")
    for expected in (seen[1], seen[0]):
        page.click("#look .undo")
        finished(page, "look")
        if expected == seen[1]:  # the cleared drawing had two strokes
            assert settings(page)["ink"].startswith(f"{expected}.")
            page.click("#look .undo")
            finished(page, "look")
        assert settings(page)["ink"] == expected
    assert page.locator("#look .undo").is_disabled()


def test_the_first_stroke_replaces_an_example_from_the_address(go):
    page = go("view=look", motion="reduce")
    assert "ink" in settings(page)
    page.reload()
    page.locator("#look .again:enabled").wait_for()
    assert page.locator("#look .examples [aria-pressed=true]").count() == 1
    stroke(page, "#look .pad", DIGIT)
    assert len(settings(page)["ink"]) == 4 * len(DIGIT)
    assert page.locator("#look .examples [aria-pressed=true]").count() == 0


def test_a_tap_draws_a_dot(go):
    page = go("view=look", motion="reduce")
    click(page, "#look .pad", 0.15, 0.4)
    shown = pixels(page, "#look .pad")
    row, column = (int(place * side) for place, side in zip((0.4, 0.15), shown.shape, strict=False))
    assert shown[row, column].max() < 0x20
    assert len(settings(page)["ink"]) == 4


def test_a_second_finger_does_not_lift_the_pen(go):
    page = go("view=look", motion="reduce")
    first, *others = spots(page, "#look .pad", DIGIT)
    page.mouse.move(*first)
    page.mouse.down()
    page.evaluate(
        """document.querySelector("#look .pad").dispatchEvent(
            new PointerEvent("pointerup", { isPrimary: false, bubbles: true }))"""
    )
    for spot in others:
        page.mouse.move(*spot)
    page.mouse.up()
    finished(page, "look")
    assert len(settings(page)["ink"]) == 4 * len(DIGIT)


def test_a_finger_draws(go):
    page = go("view=look", motion="reduce")
    page.set_viewport_size({"width": 390, "height": 844})
    touch(page, "#look .pad", DIGIT)
    finished(page, "look")
    assert len(settings(page)["ink"]) == 4 * len(DIGIT)


def test_the_keys_draw_too(go):
    page = go("view=look", motion="reduce")
    page.focus("#look .pad")
    for key in ["ArrowUp"] * 3 + ["Enter"] + ["ArrowDown"] * 6 + ["ArrowRight"] * 2 + ["Enter"]:
        page.keyboard.press(key)
    ink = settings(page)["ink"]
    assert len(ink) == 4 * 9
    page.keyboard.press("Delete")
    assert "ink" not in settings(page)


def test_after_a_stroke_the_keys_play_and_step(go):
    page = go("view=look", motion="reduce")
    stroke(page, "#look .pad", DIGIT)
    finished(page, "look")
    ink = settings(page)["ink"]
    page.keyboard.press("ArrowLeft")
    assert glimpse(page, "look") == T - 1
    page.keyboard.press("Space")
    assert text(page, "#look .play") == "Pause"
    page.focus("#look .pad")
    page.keyboard.press("Space")  # also plays while the pad has the focus; Enter draws
    assert text(page, "#look .play") == "Play"
    assert settings(page)["ink"] == ink


def test_a_full_pad_shows_a_message_and_keeps_its_drawing(go):
    written = "".join(
        f"{a}0{b}0" for a in "abcdefghijklmnopqrstuvwxyz" for b in "0123456789abcdefABCDEFG"
    )
    page = go(f"view=look&ink={written}", motion="reduce")  # 598 points, of 600
    stroke(page, "#look .pad", DIGIT)
    ink = settings(page)["ink"]
    assert ink.count(".") == 1
    assert len(ink) == 4 * 600 + 1
    page.locator("#look .status", has_text="The pad is full").wait_for()
    stroke(page, "#look .pad", DIGIT)
    assert settings(page)["ink"] == ink
    page.reload()
    page.locator("#look .again:enabled").wait_for()
    assert settings(page)["ink"] == ink
    page.click("#look .clear")
    stroke(page, "#look .pad", DIGIT)
    assert len(settings(page)["ink"]) == 4 * len(DIGIT)


def test_the_model_of_characters_is_not_said_to_know_digits(go):
    page = go("view=look&model=omniglot&t=1", motion="reduce")
    words = page.locator("#look").inner_text()
    assert "Draw a character and watch the network copy it" in words
    assert "your character" in words
    assert "the characters of 30 alphabets" in words
    assert "digits only" not in words
    assert "validation images cost" in words
    navigate(page, "view=look&model=mnist&t=1")
    assert "Draw a digit and watch the network copy it" in page.locator("#look").inner_text()
