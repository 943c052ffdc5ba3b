"""Fork and Compare: futures of one painting; two models side by side."""

import numpy as np
import torch

from draw.page import assemble

from .chromium import Page
from .conftest import T
from .seeing import HOLDING, pixels, prepare, says, settings, slide, steps, tile, to_grey


def grown(tab: Page) -> None:
    tab.wait("!document.querySelector('#fork .gif').disabled")


def test_the_futures_share_their_past_and_nothing_more(go, models, noise):
    tab = go("view=fork&seed=3&index=2&at=3&branch=1&t=3")
    grown(tab)
    tab.click("#fork .windows")
    with torch.no_grad():
        past = noise(0, 3, 2)
        expected = models["attentive"].generate(1, z=past[:, None], record=True).mean[:, 0, 0]
    for index in range(9):
        shown = to_grey(pixels(tab, tile("fork", index)))
        assert np.abs(shown - 255 * expected[2].numpy()).max() < 2
    slide(tab, "#fork .slider", T)
    ends = {pixels(tab, tile("fork", index)).tobytes() for index in range(9)}
    assert len(ends) == 9
    with torch.no_grad():
        z = torch.cat([past[:3], noise(2, 3, 2, 1, 4)[3:]])
        expected = models["attentive"].generate(1, z=z[:, None]).mean[-1, 0, 0]
    assert np.abs(to_grey(pixels(tab, tile("fork", 4))) - 255 * expected.numpy()).max() < 2


def test_the_parent_stays_frozen_and_the_slider_thaws_it(go):
    tab = go("view=fork&seed=3&at=2&t=6")
    grown(tab)
    frozen = pixels(tab, "#fork .parent")
    slide(tab, "#fork .slider", 4)
    assert (pixels(tab, "#fork .parent") == frozen).all()
    slide(tab, "#fork .freeze", 4)
    tab.wait("document.querySelector('#fork .play').textContent === 'Pause'")
    assert (pixels(tab, "#fork .parent") != frozen).any()
    assert settings(tab)["at"] == "4"
    assert steps(tab, "fork") == {4, 5, 6}  # it starts again where it was frozen


def test_whoever_comes_back_finds_the_same_frozen_painting(go):
    tab = go("view=fork&seed=3&index=5&at=2", motion="reduce")
    grown(tab)
    before = {key: settings(tab)[key] for key in ("seed", "index", "at", "branch")}
    frozen = pixels(tab, "#fork .parent")
    for view in ("window", "fork"):
        tab.click(f"nav [data-view={view}]")
    grown(tab)
    assert {key: settings(tab)[key] for key in before} == before
    assert (pixels(tab, "#fork .parent") == frozen).all()


def test_other_futures_and_another_painting(go):
    tab = go("view=fork&seed=3&index=23&at=1", motion="reduce")
    grown(tab)
    end, parent = pixels(tab, tile("fork", 0)), pixels(tab, "#fork .parent")
    before = settings(tab)
    tab.click("#fork .again")
    tab.wait(f"!location.hash.includes('branch={before['branch']}&')")
    assert (pixels(tab, tile("fork", 0)) != end).any()
    assert (pixels(tab, "#fork .parent") == parent).all()
    tab.click("#fork .next")  # the last of this seed: the first of another
    tab.wait("location.hash.includes('index=0&')")
    assert settings(tab)["seed"] != "3"
    assert (pixels(tab, "#fork .parent") != parent).any()


def test_the_freeze_may_be_moved_while_the_model_loads(page, site):
    prepare(page, HOLDING + "hold();")
    page.open(f"{site}#view=fork&seed=3&at=1")
    page.wait("document.querySelector('#fork .status').textContent === 'Loading the model'")
    page.click("#fork .freeze", 0.8)
    page.run("release()")
    page.wait("!document.querySelector('#fork .again').disabled")
    grown(page)
    assert says(page, "#fork .status") == ""
    page.click("#fork .freeze", 0.8)
    page.click("#fork .next")
    page.wait("location.hash.includes('index=1&at=4')")


def test_both_models_paint_from_the_same_seed(go):
    tab = go("view=compare&t=6")
    assert says(tab, "#compare .with") == "attentive"
    assert says(tab, "#compare .without") == "plain"
    left, right = "#compare .left :nth-child(16)", "#compare .right :nth-child(16)"
    bundled = [pixels(tab, side) for side in (left, right)]
    assert (bundled[0] != bundled[1]).any()
    tab.click("#compare .again")
    tab.wait("document.querySelector('#compare .status').textContent.startsWith('Seed')")
    for side, before in zip((left, right), bundled, strict=True):
        assert (pixels(tab, side) != before).any()
    assert "seed" in settings(tab)


def test_without_a_pair_there_is_nothing_to_compare(browser, models, tmp_path, serve, monkeypatch):
    monkeypatch.setattr(bundled, "names", lambda kind: [])
    assemble(tmp_path / "site", {"attentive": models["attentive"]})
    with browser.page() as tab:
        tab.open(serve(tmp_path / "site") + "#view=compare")
        tab.wait("!document.querySelector('#paint').hidden")
        assert tab.run("document.querySelector('nav [data-view=compare]').hidden")
        assert tab.run("document.querySelector('.model').hidden")
