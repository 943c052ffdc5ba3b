"""Morph: pictures between two drawings."""

import json

import numpy as np
import pytest
import torch

from .conftest import T
from .helpers import (
    DIGIT,
    address,
    click,
    finished,
    glimpse,
    pixels,
    settings,
    slide,
    stroke,
    text,
    wait,
)

STEPS = 10


def slerp(a: torch.Tensor, b: torch.Tensor, weight: float) -> torch.Tensor:
    """Interpolate between vectors [..., Z] along great circles."""
    cosine = torch.nn.functional.cosine_similarity(a, b, dim=-1)[..., None]
    angle = cosine.acos()
    return (((1 - weight) * angle).sin() * a + (weight * angle).sin() * b) / angle.sin()


@pytest.mark.parametrize(("start", "end"), [(0, T), (0, 2), (T - 2, T)])
def test_in_betweens_equal_those_in_pytorch(module, models, noise, start, end):
    torch.manual_seed(0)
    images = (torch.rand(2, 1, 14, 14) < 0.3).float()
    a, b = (json.dumps((255 * image).flatten().int().tolist()) for image in images)
    means, starts = module(
        f"""
        const config = await (await fetch("models/attentive/config.json")).json();
        const bytes = await (await fetch("models/attentive/model.safetensors")).arrayBuffer();
        const network = new model.DRAW(config, safetensors.parseSafetensors(bytes));
        const args = {{ a: {a}, b: {b}, seed: 5, steps: 4, range: [{start}, {end}] }};
        const {{ films }} = [...runs.morph(network, args)].at(-1);
        return [films.map((film) => [...film.means]), films.map((film) => film.write[0].g_x)];
        """
    )
    network = models["attentive"]
    eps = noise(1, 5)[:, None].expand(-1, 2, -1)
    with torch.no_grad():
        z_a, z_b = network(images, eps=eps, record=True).z.unbind(1)
        mixed = torch.stack([slerp(z_a, z_b, step / 4) for step in range(5)], 1)
        z = z_a[:, None].repeat(1, 5, 1)
        z[start:end] = mixed[start:end]
        expected = network.generate(5, z=z, record=True)
    found = torch.tensor(means).view(5, T, 14, 14).transpose(0, 1) / 255
    torch.testing.assert_close(found, expected.means[:, :, 0], rtol=0, atol=1 / 255)
    torch.testing.assert_close(
        torch.tensor(starts), expected.write_window.g_x[0], rtol=1e-4, atol=1e-4
    )
    assert (found[-1, 0] != found[-1, -1]).any()


def steps(page) -> list[bytes]:
    return [
        pixels(page, f"#morph .tiles > button:nth-child({step + 1}) canvas").tobytes()
        for step in range(STEPS + 1)
    ]


def test_the_slider_and_the_tiles_enlarge_a_step(go):
    page = go("view=morph&seed=3&windows=0", motion="reduce")
    assert len(set(steps(page))) > 5
    assert text(page, "#morph .which") == "50% of the way"
    shown = set()
    for step in (0, 3, STEPS):
        slide(page, "#morph .blend", step)
        assert settings(page)["at"] == str(step)
        pressed = page.locator("#morph .tiles [aria-pressed=true]")
        assert pressed.count() == 1
        shown.add(pixels(page, "#morph .between").tobytes())
    assert len(shown) == 3
    assert "second picture, as the network copies it" in text(page, "#morph .which")
    page.locator("#morph .tiles button").nth(3).click()
    assert settings(page)["at"] == "3"
    assert pixels(page, "#morph .between").tobytes() in shown
    page.locator("#morph .tiles button").nth(3).press("ArrowRight")
    page.keyboard.press("Enter")
    assert settings(page)["at"] == "4"
    assert glimpse(page, "morph") == T


def test_only_the_first_or_last_glimpses_can_be_mixed_and_the_address_reproduces_it(go):
    page = go("view=morph&seed=3", motion="reduce")
    whole = steps(page)
    assert page.locator("#morph .count").is_hidden()
    page.locator("#morph .mix").select_option("last")
    finished(page, "morph")
    slide(page, "#morph .count", 2)
    page.clock.run_for(400)
    finished(page, "morph")
    at = settings(page)
    assert at.items() >= {"mix": "last", "k": "2"}.items()
    part = steps(page)
    assert part[0] == whole[0]  # all glimpses are those of the first drawing
    assert part[-1] != whole[-1]
    go("view=window")
    page = go(address(at), motion="reduce")
    finished(page, "morph")
    assert steps(page) == part
    slide(page, "#morph .count", T)
    page.clock.run_for(400)
    finished(page, "morph")
    wait(page, f"document.querySelector('#morph .count').value === '{T}'")
    assert steps(page) == whole


def test_each_end_follows_its_own_pad(go):
    page = go("view=morph&seed=3", motion="reduce")
    before = steps(page)
    drawn = settings(page)
    stroke(page, "#morph .second .pad", DIGIT)
    finished(page, "morph")
    after = settings(page)
    assert (after["a"], after["b"] == drawn["b"]) == (drawn["a"], False)
    assert steps(page)[0] == before[0]
    assert steps(page)[-1] != before[-1]
    page.click("#morph .first .clear")
    assert text(page, "#morph .status") == "Draw a digit on each pad"
    assert page.locator("#morph .save").is_disabled()
    assert len(np.unique(pixels(page, "#morph .between"))) == 1
    click(page, "#morph .first .pad", 0.5, 0.5)
    finished(page, "morph")


def test_new_noise_changes_the_in_betweens_and_the_first_drawing_is_shared(go):
    page = go("view=morph&seed=3", motion="reduce")
    before = steps(page)
    page.click("#morph .again")
    finished(page, "morph")
    assert settings(page)["seed"] != "3"
    assert steps(page) != before
    stroke(page, "#morph .first .pad", DIGIT)
    finished(page, "morph")
    ink = settings(page)["a"]
    page.click("nav [data-view=look]")
    finished(page, "look")
    assert settings(page)["ink"] == ink
