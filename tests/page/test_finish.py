"""Finish: proposals for the rest of a drawing."""

import json

import torch

from .chromium import Page
from .conftest import T
from .seeing import DIGIT, pixels, says, settings, tile, to_grey


def finished(tab: Page) -> None:
    tab.wait("!document.querySelector('#finish .gif').disabled")


def test_a_part_is_finished_in_nine_ways(go):
    tab = go("view=finish", motion="reduce")
    finished(tab)
    tab.click("#finish .clear")
    assert says(tab, "#finish .status") == "Draw part of a digit on the pad"
    tab.stroke("#finish .pad", DIGIT[:3])
    finished(tab)
    ways = {pixels(tab, tile("finish", index)).tobytes() for index in range(9)}
    assert len(ways) == 9
    at = settings(tab)
    assert at.items() >= {"view": "finish", "t": str(T)}.items()
    tab.click("#finish .again")
    finished(tab)
    assert settings(tab)["seed"] != at["seed"]
    assert pixels(tab, tile("finish", 0)).tobytes() not in ways
    tab.open("about:blank")
    tab = go("&".join(f"{key}={value}" for key, value in at.items()))
    finished(tab)
    assert {pixels(tab, tile("finish", index)).tobytes() for index in range(9)} == ways


def test_the_pad_shows_the_pixels_that_are_fixed(go):
    tab = go("view=finish", motion="reduce")
    finished(tab)
    tab.stroke("#finish .pad", [(0.25, 0.5), (0.75, 0.5)])
    shown = to_grey(pixels(tab, "#finish .pad")) > 128
    assert shown.sum() in range(7, 25)
    assert not shown[:4].any()


def test_the_visitors_ink_stays(go):
    """Over the last picture, and over no earlier one."""
    tab = go("view=finish&seed=3", motion="reduce")
    finished(tab)
    ink = to_grey(pixels(tab, "#finish .pad")) > 128
    for index in range(9):
        assert (to_grey(pixels(tab, tile("finish", index)))[ink] > 250).all()
    tab.press("ArrowLeft")
    assert any((to_grey(pixels(tab, tile("finish", i)))[ink] < 200).any() for i in range(9))


def test_clamped_iterations_are_what_the_page_says(module, models, noise):
    """Against a twin of ours on the page's own random numbers."""
    count, rounds, seed = 3, 4, 5
    ink = (torch.arange(196) % 9 == 0).view(1, 14, 14)
    found = module(
        f"""
        const config = await (await fetch("models/attentive/config.json")).json();
        const bytes = await (await fetch("models/attentive/model.safetensors")).arrayBuffer();
        const network = new model.DRAW(config, safetensors.parseSafetensors(bytes));
        const known = {json.dumps((255 * ink).flatten().int().tolist())};
        const args = {{ ink: known, seed: {seed}, count: {count}, rounds: {rounds} }};
        const parts = [...runs.complete(network, args)];
        const uniforms = [];
        for (let round = 1; round <= {rounds}; round++) {{
            const next = random.uniforms(3, {seed}, round);
            uniforms.push(Array.from({{ length: {count * 196} }}, () => next()));
        }}
        return {{
            rounds: parts.map(({{ round }}) => round),
            last: parts.map(({{ films }}) => films.map((film) => [...film.means.slice(-196)])),
            uniforms,
        }};
        """
    )
    assert found["rounds"] == [1, 2, 3, 4]
    chance = torch.full((count, 1, 14, 14), 0.1)
    for round_ in range(rounds):
        drawn = torch.tensor(found["uniforms"][round_]).view(chance.shape)
        x = ((drawn < chance) | ink).float()
        eps = torch.stack([noise(3, seed, round_ + 1, b) for b in range(count)], 1)
        with torch.no_grad():
            chance = models["attentive"](x, eps=eps).mean[-1]
        shown = torch.tensor(found["last"][round_]).view(chance.shape) / 255
        torch.testing.assert_close(shown, chance, rtol=0, atol=1 / 255)
