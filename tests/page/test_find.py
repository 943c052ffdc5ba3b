"""Find: the glimpse classifiers on cluttered pictures."""

import json
import re
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from playwright.sync_api import Page

from draw import zoo
from draw.attention import Window
from draw.classifier import ClassifierConfig, GlimpseClassifier
from draw.page.site import STATIC

from .helpers import DIGIT, address, finished, pixels, settings, stroke, text, to_grey, wait

SIZE = 100
NETWORKS = {8: "cluttered-100", 4: "cluttered-100-4"}
CLOSE = {"rtol": 1e-4, "atol": 1e-4}


@pytest.fixture(scope="module")
def sheet() -> np.ndarray:
    """The page's digits [label, index, 28, 28]."""
    values = np.array(Image.open(STATIC / "digits.png"))
    return values.reshape(10, 28, 10, 28).swapaxes(1, 2)


def scene(module: Any, seed: int) -> dict[str, Any]:
    found = module(
        f"""
        const digits = await clutter.loadDigits();
        const {{ label, parts }} = clutter.compose(digits, {seed});
        const plain = parts.map((part) => ({{ ...part, values: Array.from(part.values) }}));
        return {{ label, parts: plain, picture: Array.from(clutter.flatten(parts)) }};
        """
    )
    return {**found, "picture": np.array(found["picture"], np.uint8).reshape(SIZE, SIZE)}


def probabilities(picture: np.ndarray, glimpses: int) -> torch.Tensor:
    """The network's probabilities [T, 10] for a picture of bytes."""
    network = zoo.load(NETWORKS[glimpses], GlimpseClassifier)
    with torch.no_grad():
        logits = network(torch.tensor(picture)[None, None] / 255).logits
    return logits[:, 0].softmax(1)


def shown(page: Page) -> list[str]:
    """The probabilities in the rows, in percent."""
    return page.locator("#find .digits output").all_text_contents()


def slider(page: Page) -> str:
    return page.locator("#find .slider").input_value()


# ------------------------------------------------------------------ clutter.js


@pytest.mark.parametrize("seed", [0, 7])
def test_a_picture_is_a_digit_and_eight_pieces_of_digits(module, sheet, seed):
    found = scene(module, seed)
    digit, *pieces = found["parts"]
    assert any((np.array(digit["values"]) == one.flatten()).all() for one in sheet[found["label"]])
    assert (digit["side"], [piece["side"] for piece in pieces]) == (28, [8] * 8)
    crops = np.lib.stride_tricks.sliding_window_view(sheet.reshape(-1, 28, 28), (1, 8, 8))
    crops = {crop.tobytes() for crop in crops.reshape(-1, 64)}
    total = np.zeros((SIZE, SIZE), int)
    for part in found["parts"]:
        side, values = part["side"], np.array(part["values"], np.uint8)
        assert side == 28 or values.tobytes() in crops
        rows, columns = (slice(part[edge], part[edge] + side) for edge in ("top", "left"))
        total[rows, columns] += values.reshape(side, side)
    assert (found["picture"] == total.clip(max=255)).all()


def test_places_and_labels_are_uniform(module):
    found = module(
        """
        const digits = await clutter.loadDigits();
        return Array.from({ length: 2000 }, (_, seed) => {
            const { label, parts: [digit, piece] } = clutter.compose(digits, seed);
            return [label, digit.left, digit.top, piece.left, piece.top];
        });
        """
    )
    for values, count in zip(np.array(found).T, (10, 73, 73, 93, 93), strict=True):
        assert set(np.unique(values)) == set(range(count))
        assert values.mean() == pytest.approx((count - 1) / 2, rel=0.05)


def test_a_drawn_digit_has_soft_edges_and_is_placed_as_in_mnist(module):
    found = module("return Array.from(clutter.greyDigit([[[0.2, 0.1], [0.3, 0.8]]]));")
    digit = np.array(found).reshape(28, 28)
    assert digit.max() == 255
    assert len(np.unique(digit)) > 8
    rows, _ = np.nonzero(digit > 127)
    assert np.ptp(rows) + 1 == pytest.approx(20, abs=1)


# ------------------------------------------------------------------ classifier.js


@pytest.mark.parametrize("layer", ["await layers.loadLayers()", "layers.scalarLayer"])
def test_a_classifier_equals_that_in_pytorch(module, layer):
    config = ClassifierConfig(
        height=20, width=26, channels=3, glimpses=5, hidden_size=18, read_size=3, classes=7
    )
    torch.manual_seed(0)
    network = GlimpseClassifier(config).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
        x = torch.rand(2, *config.image_shape)
        expected = network(x)
    tensors = {
        name: {"shape": list(value.shape), "values": value.flatten().tolist()}
        for name, value in network.state_dict().items()
    }
    found = module(
        f"""
        const tensors = {json.dumps(tensors)};
        for (const each of Object.values(tensors)) each.values = Float32Array.from(each.values);
        const config = {json.dumps(vars(config))};
        const network = new classifier.GlimpseClassifier(config, tensors, {layer});
        const steps = network.forward(Float32Array.from({json.dumps(x.flatten().tolist())}));
        for (;;) {{
            const {{ value, done }} = steps.next();
            if (done) return {{ ...value, logits: Array.from(value.logits) }};
        }}
        """
    )
    logits = torch.tensor(found["logits"]).view(expected.logits.shape)
    torch.testing.assert_close(logits, expected.logits, **CLOSE)
    for name in Window._fields:
        values = torch.tensor([[each[name] for each in row] for row in found["read_window"]])
        torch.testing.assert_close(values, getattr(expected.read_window, name), **CLOSE)


# ------------------------------------------------------------------ the view


def test_the_visitor_guesses_and_the_networks_answer(go, module):
    page = go("view=find&seed=5", motion="reduce")
    found = scene(module, 5)
    expected = {count: probabilities(found["picture"], count) for count in NETWORKS}
    assert slider(page) == "0"
    assert shown(page) == [""] * 10
    assert "Click its number" in text(page, "#find .status")
    page.click(f"#find .digits button >> text='{(found['label'] + 1) % 10}'")
    assert slider(page) == "8"
    last = expected[8][-1]
    for share, label in zip(last.tolist(), shown(page), strict=True):
        assert float(re.sub("[^0-9.]", "", label)) == pytest.approx(100 * share, abs=0.5)
    best = page.locator("#find .digits .best button").text_content()
    assert best == str(int(last.argmax()))
    verdict = text(page, "#find .status")
    assert f"It is a {found['label']}. You said {(found['label'] + 1) % 10}." in verdict
    for count, values in expected.items():
        answer = int(values[-1].argmax())
        assert re.search(f"After {count} glimpses, the (other )?network says {answer} ", verdict)
    right = int(last.argmax() == found["label"])
    assert text(page, "#find .score") == f"Score: you 0 of 1, the network {right} of 1"
    assert page.locator("#find .digits button:enabled").count() == 0
    page.click("#find .again")
    page.locator("#find .digits button:enabled").first.wait_for()
    assert slider(page) == "0"


def errors(count: int) -> np.ndarray:
    """Return the share of wrong test images after each glimpse."""
    [test] = [one for one in zoo.results(NETWORKS[count])["measured"] if one["split"] == "test"]
    return np.array(test["error_by_glimpse"])


def test_the_film_shows_each_glimpse_and_stops_at_the_last_one(go):
    right = {count: 1 - errors(count) for count in NETWORKS}
    page = go("view=find&seed=5")
    empty = pixels(page, "#find .glimpse")
    page.keyboard.press("ArrowRight")
    assert slider(page) == "1"
    assert (pixels(page, "#find .glimpse") != empty).any()
    assert f"right on {right[8][0]:.1%} of 10,000" in text(page, "#find .rates")
    page.keyboard.press("Space")
    page.clock.run_for(20_000)
    assert slider(page) == "8"
    assert text(page, "#find .play") == "Play"
    both = ", ".join(f"{right[count][-1]:.1%} with {count} glimpses" for count in (8, 4))
    assert both in text(page, "#find .rates")


def test_the_window_of_each_network_is_outlined(go, module):
    """Inside the outline of a window the picture is unchanged, and on it there is colour."""
    page = go("view=find&seed=5&t=3&glimpses=4")
    assert settings(page)["glimpses"] == "4"
    network = zoo.load(NETWORKS[4], GlimpseClassifier)
    with torch.no_grad():
        x = torch.tensor(scene(module, 5)["picture"])[None, None] / 255
        window = Window(*(field[2, 0] for field in network(x).read_window))
    picture = pixels(page, "#find .scene")
    each = picture.shape[0] / SIZE
    half = 12 * float(window.delta) / 2
    x_edge = round((float(window.g_x) - half - 0.5) * each)
    y_centre = round((float(window.g_y) - 0.5 - half / 2) * each)
    assert np.ptp(picture[y_centre, x_edge - 3 : x_edge + 4], axis=1).max() > 60
    page.locator("#find [name=network]").first.check()
    assert "glimpses" not in settings(page)
    assert (pixels(page, "#find .scene") != picture).any()


def test_parts_can_be_dragged_and_moved_with_the_keys(go, module):
    page = go("view=find&seed=5", motion="reduce")
    digit = scene(module, 5)["parts"][0]
    centre = [(digit[edge] + 14) / SIZE for edge in ("left", "top")]
    stroke(page, "#find .scene", [(centre[0], centre[1]), (0.5, 0.5), (0.05, 0.95)])
    places = settings(page)["places"]
    assert places[:4] == "0072"  # limited to the picture
    page.locator("#find .scene").focus()
    page.keyboard.press("Enter")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowUp")
    assert settings(page)["places"] == "0171" + places[4:]
    assert slider(page) == "0"  # the arrow keys moved the digit only
    page.locator("#find .digits button").first.click()
    assert slider(page) == "8"
    at = settings(page)
    before = pixels(page, "#find .scene"), shown(page)
    go("view=window")
    page = go(address(at))
    finished(page, "find")
    assert (pixels(page, "#find .scene") == before[0]).all()
    assert shown(page) == before[1]


def test_the_visitors_digit_replaces_the_hidden_one(go, module):
    page = go("view=find&seed=5", motion="reduce")
    first = pixels(page, "#find .scene")
    stroke(page, "#find .pad", DIGIT)
    wait(page, "document.querySelector('#find .slider').value === '8'")
    assert text(page, "#find .status").startswith("After 8 glimpses, the network says")
    digit = scene(module, 5)["parts"][0]
    left, top = digit["left"], digit["top"]
    changed = pixels(page, "#find .scene")
    grey = to_grey(changed, SIZE)[top : top + 28, left : left + 28]
    assert (grey > 200).sum() > 20
    page.click("#find .clear")
    wait(page, "document.querySelector('#find .slider').value === '0'")
    assert (pixels(page, "#find .scene") == first).all()


def test_without_classifiers_there_is_no_such_view(own_page, site):
    def only_drawing(route):
        models = [each for each in route.fetch().json() if each["config"]["type"] == "DRAW"]
        route.fulfill(json=models)

    own_page.route("**/models.json", only_drawing)
    own_page.goto(site + "#view=find")
    own_page.locator("#glimpse").wait_for()
    assert own_page.locator("nav [data-view=find]").is_hidden()
