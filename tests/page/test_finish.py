"""Finish: completions of a drawing."""

import json

import torch

from .conftest import T
from .helpers import DIGIT, address, finished, pixels, settings, stroke, text, tile, to_grey


def test_nine_completions_which_the_address_reproduces(go):
    page = go("view=finish", motion="reduce")
    page.click("#finish .clear")
    assert text(page, "#finish .status") == "Draw part of a digit on the pad"
    stroke(page, "#finish .pad", DIGIT[:3])
    finished(page, "finish")
    proposals = {pixels(page, tile("finish", index)).tobytes() for index in range(9)}
    assert len(proposals) == 9
    at = settings(page)
    assert at.items() >= {"view": "finish", "t": str(T)}.items()
    page.click("#finish .again")
    finished(page, "finish")
    assert settings(page)["seed"] != at["seed"]
    assert pixels(page, tile("finish", 0)).tobytes() not in proposals
    page = go(address(at))
    finished(page, "finish")
    assert {pixels(page, tile("finish", index)).tobytes() for index in range(9)} == proposals


def test_the_pad_shows_the_fixed_pixels(go):
    page = go("view=finish", motion="reduce")
    stroke(page, "#finish .pad", [(0.25, 0.5), (0.75, 0.5)])
    shown = to_grey(pixels(page, "#finish .pad")) > 128
    assert shown.sum() in range(7, 25)
    assert not shown[:4].any()


def test_only_the_last_picture_includes_the_visitors_ink(go):
    page = go("view=finish&seed=3", motion="reduce")
    ink = to_grey(pixels(page, "#finish .pad")) > 128
    for index in range(9):
        assert (to_grey(pixels(page, tile("finish", index)))[ink] > 250).all()
    page.keyboard.press("ArrowLeft")
    assert any((to_grey(pixels(page, tile("finish", i)))[ink] < 200).any() for i in range(9))


def test_clamped_iterations_equal_those_in_pytorch(module, models, noise):
    """The PyTorch version uses the page's random numbers."""
    count, rounds, seed = 3, 4, 5
    ink = (torch.arange(196) % 9 == 0).view(1, 14, 14)
    found = module(
        f"""
        const config = await (await fetch("models/attentive/config.json")).json();
        const bytes = await (await fetch("models/attentive/model.safetensors")).arrayBuffer();
        const network = new model.DRAW(config, safetensors.parseSafetensors(bytes));
        const known = {json.dumps((255 * ink).flatten().int().tolist())};
        const drawn = {{ known, mask: known }};
        const args = {{ ...drawn, seed: {seed}, count: {count}, rounds: {rounds} }};
        const parts = [...runs.complete(network, args)].filter((part) => part);
        const uniforms = [];
        for (let round = 1; round <= {rounds}; round++) {{
            const next = random.uniforms(3, {seed}, round);
            uniforms.push(Array.from({{ length: {count * 196} }}, () => next()));
        }}
        return {{
            rounds: parts.map(({{ round }}) => round),
            last: parts.map(({{ pictures, films }}) =>
                (pictures ?? films.map((film) => film.means.slice(-196))).map((all) => [...all])),
            uniforms,
        }};
        """
    )
    assert found["rounds"] == [1, 2, 3, 4]
    probability = torch.full((count, 1, 14, 14), 0.1)
    for round_ in range(rounds):
        uniform = torch.tensor(found["uniforms"][round_]).view(probability.shape)
        x = ((uniform < probability) | ink).float()
        eps = torch.stack([noise(3, seed, round_ + 1, b) for b in range(count)], 1)
        with torch.no_grad():
            probability = models["attentive"](x, eps=eps).mean
        shown = torch.tensor(found["last"][round_]).view(probability.shape) / 255
        torch.testing.assert_close(shown, probability, rtol=0, atol=1 / 255)
