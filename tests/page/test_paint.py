"""Paint: samples, the bundled ones at once."""

import numpy as np
import torch

from .conftest import T
from .seeing import pixels, says, settings, tile, to_grey


def test_it_paints_before_the_model_is_there(browser, weightless, models):
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        expected = models["attentive"].generate(24, generator=generator).mean[-1, 5, 0]
    with browser.page() as tab:
        tab.prefer(prefers_color_scheme="light", prefers_reduced_motion="reduce")
        tab.open(f"{weightless}#view=paint")
        tab.wait(f"document.querySelector('#paint .slider').value == {T}")
        tab.click("#paint .windows")
        assert np.abs(to_grey(pixels(tab, tile("paint", 5))) - 255 * expected.numpy()).max() < 2


def test_new_samples_are_torchs_of_the_same_noise(go, models, noise):
    tab = go("view=paint", motion="reduce")
    tab.click("#paint .again")
    tab.wait("document.querySelector('#paint .status').textContent.startsWith('Seed')")
    tab.click("#paint .windows")
    seed = int(settings(tab)["seed"])
    assert says(tab, "#paint .status") == f"Seed {seed}"
    for index in (0, 7, 23):
        with torch.no_grad():
            z = noise(0, seed, index)[:, None]
            expected = models["attentive"].generate(1, z=z).mean[-1, 0, 0]
        shown = to_grey(pixels(tab, tile("paint", index)))
        assert np.abs(shown - 255 * expected.numpy()).max() < 2


def test_the_address_brings_the_same_samples_back(go):
    pictures = []
    for seed in (11, 11, 12):
        tab = go(f"view=paint&seed={seed}&t=6")
        tab.wait(f"document.querySelector('#paint .status').textContent === 'Seed {seed}'")
        pictures.append(pixels(tab, tile("paint", 9)))
        tab.open("about:blank")
    assert (pictures[0] == pictures[1]).all()
    assert (pictures[0] != pictures[2]).any()


def test_a_sample_of_a_seed_can_be_forked(go):
    tab = go("view=paint")
    assert tab.run("document.querySelector('#paint .tiles button').disabled")
    assert says(tab, "#paint .hint").startswith("New samples can be pressed")
    tab.click("#paint .again")
    tab.wait("!document.querySelector('#paint .tiles button').disabled")
    seed = settings(tab)["seed"]
    assert says(tab, "#paint .hint").startswith("Press a picture")
    tab.click("#paint .tiles button:nth-child(8)")
    tab.wait("!document.querySelector('#fork').hidden")
    assert tab.run("document.activeElement.id") == "main"
    tab.wait("!document.querySelector('#fork .gif').disabled")
    assert settings(tab).items() >= {"seed": seed, "index": "7", "view": "fork"}.items()
    assert f"Painting 8 of seed {seed}" in says(tab, "#fork .progress")
