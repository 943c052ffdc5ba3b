"""Fork and Compare: futures of one sample, and two models side by side."""

from dataclasses import replace

import numpy as np
import torch

from draw import zoo
from draw.page import build_site, site

from .conftest import CONFIGS, T, wild
from .helpers import HOLDING, click, finished, pixels, played, settings, slide, text, tile, to_grey


def test_futures_share_their_past_and_nothing_else(go, models, noise):
    page = go("view=fork&seed=3&index=2&at=3&branch=1&t=3&windows=0")
    with torch.no_grad():
        past = noise(0, 3, 2)
        expected = models["attentive"].generate(1, z=past[:, None], record=True).means[:, 0, 0]
    for index in range(9):
        shown = to_grey(pixels(page, tile("fork", index)))
        assert np.abs(shown - 255 * expected[2].numpy()).max() < 2
    slide(page, "#fork .slider", T)
    ends = {pixels(page, tile("fork", index)).tobytes() for index in range(9)}
    assert len(ends) == 9
    with torch.no_grad():
        z = torch.cat([past[:3], noise(2, 3, 2, 1, 4)[3:]])
        expected = models["attentive"].generate(1, z=z[:, None]).mean[0, 0]
    assert np.abs(to_grey(pixels(page, tile("fork", 4))) - 255 * expected.numpy()).max() < 2


def test_the_sample_stays_frozen_until_the_freeze_slider_moves(go):
    page = go("view=fork&seed=3&at=2&t=6")
    frozen = pixels(page, "#fork .parent")
    slide(page, "#fork .slider", 4)
    assert (pixels(page, "#fork .parent") == frozen).all()
    slide(page, "#fork .freeze", 4)
    page.locator("#fork .play", has_text="Pause").wait_for()
    assert (pixels(page, "#fork .parent") != frozen).any()
    assert settings(page)["at"] == "4"
    assert played(page, "fork") == {4, 5, 6}  # the film starts where the sample is frozen


def test_while_the_freeze_slider_moves_only_the_frozen_sample_follows(own_page, site):
    page = own_page
    page.add_init_script(HOLDING)
    page.goto(f"{site}#view=fork&seed=3&at=2")
    finished(page, "fork")
    page.evaluate("hold()")
    page.clock.pause_at(page.evaluate("Date.now()") / 1000 + 1)  # a slow machine changes nothing
    seen = [pixels(page, "#fork .parent").tobytes()]
    for at in (3, 4, 5):
        slide(page, "#fork .freeze", at)
        seen.append(pixels(page, "#fork .parent").tobytes())
    assert len(set(seen)) == 4
    assert page.evaluate("held.length") == 0
    page.clock.run_for(300)
    assert page.evaluate("held.filter(([, { task }]) => task === 'fork').length") == 1
    page.clock.resume()
    page.evaluate("release()")
    finished(page, "fork")


def test_the_frozen_sample_is_still_there_after_a_visit_to_another_view(go):
    page = go("view=fork&seed=3&index=5&at=2", motion="reduce")
    before = {key: settings(page)[key] for key in ("seed", "index", "at", "branch")}
    frozen = pixels(page, "#fork .parent")
    for view in ("window", "fork"):
        page.click(f"nav [data-view={view}]")
    finished(page, "fork")
    assert settings(page).items() >= before.items()
    assert (pixels(page, "#fork .parent") == frozen).all()


def test_other_futures_and_another_sample(go):
    page = go("view=fork&seed=3&index=23&at=1", motion="reduce")
    end, parent = pixels(page, tile("fork", 0)), pixels(page, "#fork .parent")
    page.click("#fork .again")
    finished(page, "fork")
    assert settings(page)["branch"] != "0"
    assert (pixels(page, tile("fork", 0)) != end).any()
    assert (pixels(page, "#fork .parent") == parent).all()
    page.click("#fork .next")  # after the last sample of this seed: the first of another one
    finished(page, "fork")
    at = settings(page)
    assert at["index"] == "0"
    assert at["seed"] != "3"
    assert (pixels(page, "#fork .parent") != parent).any()


def test_the_freeze_slider_is_disabled_while_the_model_loads(own_page, site):
    page = own_page
    page.add_init_script(HOLDING + "hold();")
    page.goto(f"{site}#view=fork&seed=3&at=1")
    page.locator("#fork .status", has_text="Loading the model").wait_for()
    click(page, "#fork .freeze", 0.8, 0.5)
    page.evaluate("release()")
    finished(page, "fork")
    assert text(page, "#fork .status") == ""
    assert settings(page)["at"] == "1"
    click(page, "#fork .freeze", 0.8, 0.5)
    page.click("#fork .next")
    finished(page, "fork")
    assert settings(page).items() >= {"index": "1", "at": "4"}.items()


def test_both_models_use_the_same_seed(go):
    page = go("view=compare&t=6")
    assert text(page, "#compare .with") == "attentive"
    assert text(page, "#compare .without") == "plain"
    assert page.locator("#compare .at").all_text_contents() == ["glimpse 6 of 6"] * 2
    left, right = "#compare .left :nth-child(16)", "#compare .right :nth-child(16)"
    first = [pixels(page, side) for side in (left, right)]
    assert (first[0] != first[1]).any()
    page.click("#compare .again")
    page.locator("#compare .status", has_text="Seed").wait_for()
    for side, before in zip((left, right), first, strict=True):
        assert (pixels(page, side) != before).any()
    assert "seed" in settings(page)


def test_a_model_with_fewer_glimpses_counts_its_own(page, models, tmp_path, serve, monkeypatch):
    monkeypatch.setattr(zoo, "names", lambda kind: [])
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    short = wild(replace(CONFIGS["plain"], glimpses=3))
    build_site(tmp_path / "site", {"attentive": models["attentive"], "plain": short})
    address = serve(tmp_path / "site") + "#view=compare"
    for t, shown in {1: 1, 2: 1, 3: 2, 4: 2, 6: 3}.items():
        page.goto(f"{address}&t={t}")
        finished(page, "compare")
        counters = page.locator("#compare .at").all_text_contents()
        assert counters == [f"glimpse {t} of 6", f"glimpse {shown} of 3"]


def test_compare_generates_the_samples_that_short_traces_lack(
    page, models, tmp_path, serve, monkeypatch
):
    monkeypatch.setattr(site, "MAX_TRACE_BYTES", 1)  # one sample per trace
    monkeypatch.setattr(zoo, "names", lambda kind: [])
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    build_site(tmp_path / "site", {name: models[name] for name in ("attentive", "plain")})
    page.goto(serve(tmp_path / "site") + "#view=compare&t=6")
    page.locator("#compare .save:enabled").wait_for()
    page.locator("#compare .status", has_text="Seed 0").wait_for()
    for side in ("left", "right"):
        shown = page.locator(f"#compare .{side} canvas")
        assert (
            shown.evaluate_all("tiles => new Set(tiles.map((tile) => tile.toDataURL())).size") == 16
        )


def test_compare_needs_a_pair_of_models(page, models, tmp_path, serve, monkeypatch):
    monkeypatch.setattr(zoo, "names", lambda kind: [])
    build_site(tmp_path / "site", {"attentive": models["attentive"]})
    page.goto(serve(tmp_path / "site") + "#view=compare")
    page.locator("main section:visible").wait_for()
    assert page.locator("nav [data-view=compare]").is_hidden()
    assert page.locator(".model").is_hidden()
