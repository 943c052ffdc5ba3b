"""Paint: samples, first those of the sample trace."""

import numpy as np
import pytest
import torch

from .conftest import T
from .helpers import (
    finished,
    glimpse,
    navigate,
    pixels,
    sample_noise,
    settings,
    slide,
    text,
    tile,
    to_grey,
)


def test_it_shows_the_sample_trace_before_the_weights_are_there(faulty_page, without, models):
    page = faulty_page
    with torch.no_grad():
        expected = models["attentive"].generate(1, z=sample_noise(0, 5)).mean[0, 0]
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


def test_samples_that_the_trace_lacks_are_generated(own_page, site, models):
    """Traces of large pictures have fewer samples."""
    page = own_page
    page.emulate_media(color_scheme="light", reduced_motion="reduce")

    def shorten(route):
        trace = route.fetch().json()
        route.fulfill(json=trace | {"samples": trace["samples"][:5]})

    page.route("**/attentive.json", shorten)
    page.goto(f"{site}#view=paint&windows=0")
    page.locator("#paint button[title='Fork this sample']:enabled").first.wait_for()
    finished(page, "paint")
    for index in (0, 4, 5, 23):
        with torch.no_grad():
            expected = models["attentive"].generate(1, z=sample_noise(0, index)).mean[0, 0]
        shown = to_grey(pixels(page, tile("paint", index)))
        assert np.abs(shown - 255 * expected.numpy()).max() < 2


def test_the_seed_in_the_address_determines_the_samples(go):
    page, pictures = go("view=paint&seed=11&t=6"), []
    for seed in (11, 12, 11):
        navigate(page, f"view=paint&seed={seed}&t=6")
        finished(page, "paint")
        pictures.append(pixels(page, tile("paint", 9)))
    assert (pictures[0] != pictures[1]).any()
    assert (pictures[0] == pictures[2]).all()


@pytest.mark.parametrize("seed", [0, 9])
def test_a_sample_can_be_forked_from_the_first_visit_on(go, models, seed):
    page = go(f"view=paint&seed={seed}", motion="reduce")
    page.click("#paint .tiles button:nth-child(8)")
    assert page.locator("#main").evaluate("(main) => main === document.activeElement")
    finished(page, "fork")
    assert settings(page).items() >= {"seed": f"{seed}", "index": "7", "view": "fork"}.items()
    assert f"Sample 8 of seed {seed}" in text(page, "#fork .progress")
    page.uncheck("#fork .windows")
    slide(page, "#fork .freeze", T - 1)
    with torch.no_grad():
        trace = models["attentive"].generate(1, z=sample_noise(seed, 7), record=True)
    shown = to_grey(pixels(page, "#fork .parent"))
    assert np.abs(shown - 255 * trace.means[T - 2, 0, 0].numpy()).max() < 2


def test_tab_reaches_one_sample_and_the_arrow_keys_reach_the_others(go):
    page = go("view=paint&t=3")
    assert page.locator("#paint .tiles button[tabindex='0']").count() == 1
    page.focus("#paint .tiles button:first-child")
    for key in ("ArrowRight", "ArrowDown", "ArrowLeft", "ArrowLeft"):
        page.keyboard.press(key)
    number = "[...document.activeElement.parentElement.children].indexOf(document.activeElement)"
    assert page.evaluate(number) == 5
    assert glimpse(page, "paint") == 3  # the keys do not step through the film
    page.keyboard.press("Enter")
    finished(page, "fork")
    assert settings(page)["index"] == "5"
