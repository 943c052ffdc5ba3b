"""Paint: samples, first those of the sample trace."""

import numpy as np
import torch

from .helpers import finished, pixels, settings, text, tile, to_grey


def test_it_shows_the_sample_trace_before_the_weights_are_there(faulty_page, without, models):
    page = faulty_page
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        expected = models["attentive"].generate(24, generator=generator).mean[5, 0]
    page.emulate_media(color_scheme="light", reduced_motion="reduce")
    page.goto(without("*.safetensors") + "#view=paint")
    finished(page, "paint")
    page.uncheck("#paint .windows")
    assert np.abs(to_grey(pixels(page, tile("paint", 5))) - 255 * expected.numpy()).max() < 2


def test_new_samples_equal_pytorch_samples_of_the_same_noise(go, models, noise):
    page = go("view=paint", motion="reduce")
    page.click("#paint .again")
    finished(page, "paint")
    page.uncheck("#paint .windows")
    seed = int(settings(page)["seed"])
    assert text(page, "#paint .status") == f"Seed {seed}"
    for index in (0, 7, 23):
        with torch.no_grad():
            z = noise(0, seed, index)[:, None]
            expected = models["attentive"].generate(1, z=z).mean[0, 0]
        shown = to_grey(pixels(page, tile("paint", index)))
        assert np.abs(shown - 255 * expected.numpy()).max() < 2


def test_the_seed_in_the_address_determines_the_samples(go):
    pictures = []
    for seed in (11, 11, 12):
        page = go(f"view=paint&seed={seed}&t=6")
        pictures.append(pixels(page, tile("paint", 9)))
    assert (pictures[0] == pictures[1]).all()
    assert (pictures[0] != pictures[2]).any()


def test_a_sample_of_a_seed_can_be_forked(go):
    page = go("view=paint")
    assert page.locator("#paint .tiles button").first.is_disabled()
    assert text(page, "#paint .hint").startswith("Click “New samples”")
    page.click("#paint .again")
    finished(page, "paint")
    seed = settings(page)["seed"]
    assert text(page, "#paint .hint").startswith("Click a picture")
    page.click("#paint .tiles button:nth-child(8)")
    assert page.locator("#main").evaluate("(main) => main === document.activeElement")
    finished(page, "fork")
    assert settings(page).items() >= {"seed": seed, "index": "7", "view": "fork"}.items()
    assert f"Sample 8 of seed {seed}" in text(page, "#fork .progress")
