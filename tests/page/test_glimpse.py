"""One glimpse: the stages of a glimpse, and the numbers inside the network."""

import json

import numpy as np
import pytest
import torch

from draw import attention
from draw.page import site as build

from .helpers import (
    HOLDING,
    choose_model,
    finished,
    glimpse,
    navigate,
    pixels,
    sample_noise,
    settings,
    text,
    to_grey,
    wait,
)

STAGES = 7


def lit(page) -> set[str]:
    """The stages of the highlighted boxes and of the visible explanation."""
    return set(
        page.evaluate(
            """[...document.querySelectorAll("#glimpse .box.lit, #glimpse .explain p")]
                .filter((element) => element.checkVisibility())
                .map((element) => element.dataset.stage)"""
        )
    )


def test_it_is_the_first_view_and_plays_stage_by_stage(page, site):
    page.goto(f"{site}?landing")
    finished(page, "glimpse")
    assert settings(page)["view"] == "glimpse"
    seen = set()
    for _ in range(16):
        page.clock.run_for(250)
        seen |= {(glimpse(page, "glimpse"), *lit(page))}
    assert len({stage for t, stage in seen if t == 1}) > 2
    assert text(page, "#glimpse .play") == "Pause"
    page.clock.run_for(6000)
    assert glimpse(page, "glimpse") > 1


def test_the_arrow_keys_step_through_the_stages_and_then_the_glimpses(go):
    page = go("view=glimpse&t=2&stage=5")
    assert lit(page) == {"5"}
    expected = [(2, 6), (3, 0), (3, 1)]
    for t, stage in expected:
        page.keyboard.press("ArrowRight")
        assert (glimpse(page, "glimpse"), lit(page)) == (t, {str(stage)})
    assert settings(page).items() >= {"t": "3", "stage": "1"}.items()
    for t, stage in [(3, 0), (2, 6)]:
        page.keyboard.press("ArrowLeft")
        assert (glimpse(page, "glimpse"), lit(page)) == (t, {str(stage)})


def test_with_reduced_motion_it_opens_at_the_first_stage_with_buttons_to_step(go):
    page = go("view=glimpse", motion="reduce")
    assert (glimpse(page, "glimpse"), lit(page)) == (1, {"0"})
    assert text(page, "#glimpse .play") == "Play"
    for stage in (1, 2):
        page.click("#glimpse [aria-label='Step forward']")
        assert (glimpse(page, "glimpse"), lit(page)) == (1, {str(stage)})
    page.click("#glimpse [aria-label='Step back']")
    assert lit(page) == {"1"}
    page.emulate_media(reduced_motion="no-preference")
    assert page.locator("#glimpse .steps").is_hidden()


def test_pointing_at_a_box_or_focusing_it_shows_its_equation_and_its_pixels(go):
    page = go("view=glimpse&t=3")
    picture = pixels(page, "#glimpse .x")
    for stage, box in enumerate((".input", ".reading", ".encoder", ".message", ".decoder")):
        page.hover(f"#glimpse {box}")
        assert lit(page) == {str(stage)}
        glows = (pixels(page, "#glimpse .x") != picture).any()
        assert glows == (box == ".reading")
    page.hover("#glimpse h1")
    assert lit(page) == {"6"}
    written = pixels(page, "#glimpse .after canvas")
    page.focus("#glimpse .writing")
    assert lit(page) == {"5"}
    assert (pixels(page, "#glimpse .after canvas") != written).any()
    page.keyboard.press("Enter")
    assert settings(page)["stage"] == "5"


def test_patches_and_canvases_equal_those_in_pytorch(go, models, noise, module):
    page = go("view=glimpse&seed=4&t=3")
    ink = settings(page)["ink"]
    grey = module(
        f"return [...ink.imageOf(ink.fromText('{ink}'), {{ height: 14, width: 14, channels: 1 }})];"
    )
    x = torch.tensor(grey, dtype=torch.float32).view(1, 1, 14, 14) / 255
    model = models["attentive"]
    with torch.no_grad():
        trace = model(x, eps=noise(1, 4)[:, None], record=True)
        x_hat = x - trace.means[1]
        window = attention.Window(*(field[2] for field in trace.read_window))
        r, r_hat = attention.read(torch.cat([x, x_hat], dim=1), window, 3)[0]
    scale = max(1.0, float(r.max()))
    shown = to_grey(pixels(page, "#glimpse .r"), 3)
    assert np.abs(shown - 255 * (r / scale).clamp(0, 1).numpy()).max() < 2
    shown = pixels(page, "#glimpse .r-hat")
    each = len(shown) // 3
    middle = shown[each // 2 :: each, each // 2 :: each]
    orange = middle[..., 0] - middle[..., 2] > 1
    found = np.where(orange, (middle[..., 1] - 255) / (255 - 0x50), to_grey(shown, 3) / 255)
    assert np.abs(found - (r_hat / scale).clamp(-1, 1).numpy()).max() < 0.01
    shown = to_grey(pixels(page, "#glimpse .before canvas"))
    assert np.abs(shown - 255 * trace.means[1, 0, 0].numpy()).max() < 2
    page.hover("#glimpse .message")
    assert float(text(page, "#glimpse .explain .price")) == pytest.approx(
        float(trace.kl[2, 0]), abs=0.006
    )
    total = float(trace.kl[:3].sum())
    assert float(text(page, "#glimpse .explain .total")) == pytest.approx(total, abs=0.06)


def test_drawing_from_noise_needs_no_encoder(go, models):
    page = go("view=glimpse&seed=3&mode=dream&index=2&t=4")
    with torch.no_grad():
        trace = models["attentive"].generate(1, z=sample_noise(3, 2), record=True)
    shown = to_grey(pixels(page, "#glimpse .before canvas"))
    assert np.abs(shown - 255 * trace.means[2, 0, 0].numpy()).max() < 2
    assert page.locator("#glimpse .flow.dreaming").count() == 1
    page.hover("#glimpse .message")
    assert "rolled like dice" in page.locator("#glimpse .explain p:visible").inner_text()
    page.click("#glimpse [data-set=copy]")
    finished(page, "glimpse")
    assert page.locator("#glimpse .dreaming").count() == 0
    assert "mode" not in settings(page)


def test_the_text_states_how_few_pixels_the_network_sees(go):
    page = go("view=glimpse&model=mnist&t=1")
    fact = page.locator("#glimpse .fact").inner_text()
    assert "only four numbers of the picture and four of what is missing" in fact
    choose_model(page, "plain")
    finished(page, "glimpse")
    assert page.locator("#glimpse .fact").is_hidden()
    assert "sees the whole picture" in page.locator("#glimpse .lead").inner_text()


def test_a_sample_plays_while_the_weights_are_loaded(own_page, site):
    page = own_page
    page.add_init_script(HOLDING + "hold();")
    page.goto(f"{site}#view=glimpse")
    page.locator("#glimpse .status", has_text="Loading the model").wait_for()
    before = pixels(page, "#glimpse .after canvas")
    page.clock.run_for(9000)
    assert (pixels(page, "#glimpse .after canvas") != before).any()
    assert page.locator("#glimpse .waiting").count() == 1
    page.evaluate("release()")
    finished(page, "glimpse")
    assert page.locator("#glimpse .waiting").count() == 0


@pytest.mark.parametrize("model", ["attentive", "mnist"])
def test_the_whole_diagram_fits_the_screen(go, model):
    page = go(f"view=glimpse&model={model}&t=3")
    for width, height in ((1280, 620), (390, 844)):
        page.set_viewport_size({"width": width, "height": height})
        wait(page, "document.querySelector('#glimpse .arrows g path').getAttribute('d')")
        dock = page.locator("#glimpse .dock").bounding_box()
        assert dock["y"] + dock["height"] <= height + 1
        for box in page.locator("#glimpse .box:visible").all():
            place = box.bounding_box()
            assert place["x"] >= 0
            assert place["x"] + place["width"] <= width
            assert place["y"] + place["height"] <= dock["y"] + 1


def test_samples_have_no_encoder_to_step_through_or_to_see(go):
    page = go("view=glimpse&seed=3&mode=dream&t=2&stage=0")
    assert lit(page) == {"3"}  # the first stage of a sample
    for t, stage in [(2, 4), (2, 5), (2, 6), (3, 3)]:
        page.keyboard.press("ArrowRight")
        assert (glimpse(page, "glimpse"), lit(page)) == (t, {str(stage)})
    page.keyboard.press("ArrowLeft")
    assert (glimpse(page, "glimpse"), lit(page)) == (2, {"6"})
    seen = set()
    for box in page.locator("#glimpse .box:visible").all():
        box.hover()
        seen.add(page.locator("#glimpse .explain").inner_text())
    shown = page.locator("#glimpse").inner_text() + "".join(seen)
    assert "pure noise" in shown
    for absent in ("encoder h", "Open this window", "The encoder", "what is missing"):
        assert absent not in shown
    page.click("#glimpse .play")
    page.clock.run_for(9000)
    assert lit(page) <= {"3", "4", "5", "6"}


def test_arrows_lead_from_each_box_to_the_next(go):
    page = go("view=glimpse&t=3&stage=0")
    for width in (1280, 390):
        page.set_viewport_size({"width": width, "height": 844})
        page.wait_for_timeout(100)
        gaps = page.evaluate(
            """(() => {
            const flow = document.querySelector("#glimpse .flow").getBoundingClientRect();
            const boxes = [...document.querySelectorAll("#glimpse .box")]
                .filter((box) => box.checkVisibility()).map((box) => box.getBoundingClientRect());
            const away = (box, [x, y]) => Math.hypot(
                Math.max(box.left - x, 0, x - box.right), Math.max(box.top - y, 0, y - box.bottom));
            const paths = [...document.querySelectorAll("#glimpse .arrows g path:not([d=''])")];
            return paths.map((path, i) => {
                const start = path.getPointAtLength(0);
                const tip = path.getAttribute("d").match(/L(\\S+) (\\S+)L/).slice(1).map(Number);
                return [away(boxes[i], [start.x + flow.x, start.y + flow.y]),
                    away(boxes[i + 1], [tip[0] + flow.x, tip[1] + flow.y])];
            });
        })()"""
        )
        assert len(gaps) == 8
        assert np.max(gaps) < 7


def test_terms_are_explained_on_request(go):
    page = go("view=glimpse&t=3&stage=2")
    for term, stage in (("lstm", 2), ("nat", 3), ("kl", 3), ("latent", 3)):
        navigate(page, f"view=glimpse&t=3&stage={stage}")
        about = page.locator(f"#about-{term}")
        assert about.is_hidden()
        page.locator(f"#glimpse [popovertarget=about-{term}]:visible").click()
        assert about.is_visible()
        page.keyboard.press("Escape")
        assert about.is_hidden()


@pytest.mark.parametrize(("view", "kind", "n"), [("glimpse", "read", 3), ("look", "write", 4)])
def test_a_window_of_a_glimpse_can_be_opened(go, module, view, kind, n):
    page = go(f"view={view}&seed=4&t=2" + ("&stage=1" if view == "glimpse" else ""))
    ink = settings(page)["ink"]
    page.locator(f"#{view} [data-window={kind}]:visible").click()
    page.locator("#window").wait_for()
    at = settings(page)
    assert at.items() >= {"n": str(n), "ink": ink, "size": "14"}.items()
    shown = {key: page.locator(f"#window [name={key}]").input_value() for key in ("g_x", "delta")}
    assert {key: float(at[key]) for key in shown} == {key: float(v) for key, v in shown.items()}
    page.go_back()
    finished(page, view)
    assert settings(page)["t"] == "2"
    size = json.dumps({"height": 14, "width": 14, "channels": 1})
    grey = module(f"return [...ink.imageOf(ink.fromText('{ink}'), {size})];")
    navigate(page, "&".join(f"{key}={value}" for key, value in at.items()))
    drawn = to_grey(pixels(page, "#window .image"))
    assert np.abs(drawn - np.reshape(grey, (14, 14))).max() < 2


def test_the_story_leads_through_nine_cards_with_a_question_each(go):
    page = go("view=glimpse&t=2")
    page.click("#glimpse .tour")
    titles = []
    for number in range(1, 10):
        page.locator("#glimpse .turn .page", has_text=f"{number} / 9").wait_for()
        finished(page, "glimpse")
        assert settings(page)["story"] == str(number)
        cards = page.locator("#glimpse .story article:visible")
        assert cards.count() == 1
        titles.append(text(page, "#glimpse h1"))
        question = cards.locator(".question")
        assert question.inner_text().count("?") == 1
        question.get_by_text("Answer").click()
        answer = page.locator(f"#answer-{number}")
        assert answer.is_visible()
        page.keyboard.press("Escape")
        page.click("#glimpse .turn .forward")
    page.locator("#glimpse .tour").wait_for()
    assert len(set(titles)) == 9
    assert "story" not in settings(page)
    page.go_back()
    page.locator("#glimpse .turn .page", has_text="9 / 9").wait_for()


def test_each_card_sets_its_scene(go):
    page = go("view=glimpse&story=1", motion="reduce")
    for card, scene, stage in (
        (2, {"t": "6"}, {"6"}),  # the tiny model has six glimpses
        (4, {"stage": "1"}, {"1"}),
        (8, {"mode": "dream"}, set()),
        (9, {"model": "plain"}, {"6"}),
    ):
        navigate(page, f"story={card}")
        wait(page, f"document.querySelector('#glimpse .page').textContent === '{card} / 9'")
        finished(page, "glimpse")
        at = settings(page)
        assert at.items() >= (scene | {"story": str(card)}).items()
        highlighted = page.evaluate(
            "[...document.querySelectorAll('#glimpse .box.lit')].map((box) => box.dataset.stage)"
        )
        assert set(highlighted) >= stage


def test_the_story_compares_the_models_with_the_measured_costs(go):
    page = go("view=glimpse&story=1")
    for name, place in {
        "mnist": "with-attention",
        "mnist-no-attention": "without-attention",
    }.items():
        costs = json.loads((build.COSTS / f"{name}.json").read_text())
        assert text(page, f"#answer-9 .{place}") == f"{costs['mean']:.1f}"
        assert costs["images"] == 2000


def test_models_of_several_digits_copy_a_picture_with_several_digits(go):
    page = go("view=glimpse&t=2")
    one = settings(page)["ink"]
    choose_model(page, "two-digits")
    page.wait_for_url("**ink=**")
    finished(page, "glimpse")
    names = page.locator("#glimpse .examples button").all_inner_texts()
    assert names == ["2 3", "3 5", "5 8", "8 2"]
    assert settings(page)["ink"] != one
    page.click("#glimpse .examples button:first-child")
    finished(page, "glimpse")
    assert text(page, "#glimpse .examples [aria-pressed=true]") == "2 3"
    assert len(np.unique(pixels(page, "#glimpse .x").reshape(-1, 3), axis=0)) > 1
