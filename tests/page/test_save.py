"""Saved files: films as WebM, pictures as SVG and PNG, and their captions."""

import io
import re
import subprocess
from pathlib import Path
from xml.etree import ElementTree

import imageio_ffmpeg
import numpy as np
import pytest
from PIL import Image

from .conftest import T
from .helpers import finished, pixels, saved, tile

SVG = "{http://www.w3.org/2000/svg}"
GAP = 4


def ffmpeg(*options: str | Path) -> subprocess.CompletedProcess[bytes]:
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-hide_banner", *options]
    return subprocess.run(command, capture_output=True, check=True)


def decode(path: Path) -> tuple[np.ndarray, float]:
    """The frames of a video [n, height, width, RGB], and its duration in seconds."""
    raw = ("-fps_mode", "passthrough", "-f", "rawvideo", "-pix_fmt", "rgb24", "-")
    result = ffmpeg("-i", path, *raw)
    log = result.stderr.decode()
    width, height = map(int, re.search(r", (\d+)x(\d+)", log).groups())
    frames = np.frombuffer(result.stdout, np.uint8).reshape(-1, height, width, 3)
    return frames.astype(int), float(re.search(r"Duration: 00:00:([\d.]+)", log)[1])


def first_tile(picture: np.ndarray, columns: int) -> np.ndarray:
    """The centres of the pixels of the first picture, 14 by 14, in a sheet."""
    each = ((picture.shape[1] + GAP) // columns - GAP) // 14
    return picture[each // 2 : 14 * each : each, each // 2 : 14 * each : each]


def shown(page, selector: str) -> np.ndarray:
    return first_tile(pixels(page, selector), 1)


def test_a_video_shows_the_film_and_players_can_seek_in_it(go, tmp_path):
    page = go("view=paint&seed=3&t=4&windows=0")
    name, data = saved(page, "paint", "webm")
    assert name == "draw-paint-attentive.webm"
    path = tmp_path / name
    path.write_bytes(data)
    frames, duration = decode(path)
    assert len(frames) == T + 3  # c_0 to c_T, the finished pictures, and their last moment
    assert duration == pytest.approx((T + 1) * 0.25 + 1.8, abs=0.02)
    difference = first_tile(frames[4], 6) - shown(page, tile("paint", 0))
    assert np.abs(difference).mean() < 6
    assert np.abs(first_tile(frames[1], 6) - shown(page, tile("paint", 0))).mean() > 6
    assert ffmpeg("-v", "error", "-ss", "2", "-i", path, "-f", "null", "-").stderr == b""


def test_a_browser_plays_a_video(go, own_page):
    """The policy of the page forbids videos, so an empty page plays it."""
    page = go("view=look&seed=3&t=2")
    _, data = saved(page, "look", "webm")
    found = own_page.evaluate(
        """async (bytes) => {
            const video = document.createElement("video");
            video.src = URL.createObjectURL(new Blob([Uint8Array.from(bytes)]));
            await new Promise((resolve, reject) => {
                video.onloadeddata = resolve;
                video.onerror = () => reject(new Error(video.error.message));
            });
            video.currentTime = 1.5;
            await new Promise((resolve) => (video.onseeked = resolve));
            return [video.videoWidth, video.duration, video.currentTime];
        }""",
        list(data),
    )
    width, duration, time = found
    assert width > 400
    assert duration == pytest.approx((T + 1) * 0.25 + 1.8, abs=0.02)
    assert time == pytest.approx(1.5, abs=0.1)


@pytest.mark.parametrize("model", ["attentive", "colour"])
def test_an_svg_contains_vector_windows_and_exact_pixels(go, own_page, model):
    page = go(f"view=look&seed=4&t=3&model={model}")
    name, data = saved(page, "look", "svg")
    assert name == f"draw-look-{model}-3.svg"
    root = ElementTree.fromstring(data)
    outlines = [
        rect.get("stroke-dasharray") for rect in root.iter(f"{SVG}rect") if rect.get("stroke")
    ]
    assert len(outlines) == 2 * 3  # a band and a line in three pictures
    assert sum(dash is not None for dash in outlines) == 1  # the write window
    tags = ["R", "R", "W"] if model == "attentive" else []  # the other picture is too small
    assert sorted(text.text for text in root.iter(f"{SVG}text")) == tags
    assert len([*root.iter(f"{SVG}image")]) == 3
    _, picture = saved(page, "look", "png")
    expected = np.array(Image.open(io.BytesIO(picture)).convert("RGB")).astype(int)
    assert (root.get("width"), root.get("height")) == (
        str(expected.shape[1]),
        str(expected.shape[0]),
    )
    size = {"width": expected.shape[1], "height": expected.shape[0]}
    own_page.set_viewport_size(size)
    own_page.set_content(f"<body style='margin:0'>{data.decode()}</body>")
    screen = Image.open(io.BytesIO(own_page.screenshot()))
    rendered = np.array(screen.convert("RGB")).astype(int)
    assert (np.abs(rendered - expected).max(axis=-1) < 24).mean() > 0.98


@pytest.mark.parametrize("file_format", ["png", "svg"])
def test_a_caption_states_the_model_the_seed_and_the_link(go, file_format):
    page = go("view=fork&seed=4&t=3&index=5&windows=0")
    _, bare = saved(page, "fork", file_format)
    _, data = saved(page, "fork", file_format, caption=True)
    if file_format == "svg":
        root = ElementTree.fromstring(data)
        text, link = (each.text for each in root.iter(f"{SVG}text"))
        assert text == f"DRAW attentive, seed 4, glimpse 3 of {T}"
        target = root.find(f".//{SVG}a").get("href")
        assert link == target or target.startswith(link.rstrip("…"))
        page.goto(target)
        finished(page, "fork")
        assert saved(page, "fork", file_format)[1] == bare
        return
    plain, captioned = (
        np.array(Image.open(io.BytesIO(file)).convert("RGB")) for file in (bare, data)
    )
    height, width, _ = plain.shape
    assert (captioned[:height, :width] == plain).all()
    caption = captioned[height:]
    assert 30 < len(caption) < 80
    assert (caption != caption[0, 0]).any()


def test_every_view_saves_its_pictures_and_only_films_as_films(go):
    page = go("view=glimpse&t=2")
    sizes = {}
    for view in ("glimpse", "window"):
        page.click(f"nav [data-view={view}]")
        page.locator(f"#{view} .save:enabled").wait_for()
        root = ElementTree.fromstring(saved(page, view, "svg")[1])
        sizes[view] = len([*root.iter(f"{SVG}image")])
        page.click(f"#{view} .save")
        assert page.locator("#save [data-format=gif]").is_visible() == (view == "glimpse")
        page.keyboard.press("Escape")
    assert sizes == {"glimpse": 11, "window": 1}


@pytest.mark.parametrize(("mode", "pictures", "arrows"), [("copy", 11, 8 + 2), ("dream", 6, 6 + 1)])
def test_a_picture_of_one_glimpse_is_its_diagram(go, mode, pictures, arrows):
    page = go(f"view=glimpse&t=2&mode={mode}")
    root = ElementTree.fromstring(saved(page, "glimpse", "svg", caption=True)[1])
    assert len([*root.iter(f"{SVG}image")]) == pictures
    assert len([*root.iter(f"{SVG}path")]) == arrows
    words = [text.text for text in root.iter(f"{SVG}text")]
    assert {"message", "decoder", "write", "stroke", "W"} <= set(words)
    assert ("encoder" in words) == ("R" in words) == (mode == "copy")
    assert f"DRAW attentive, seed 0, glimpse 2 of {T}" in words
    _, data = saved(page, "glimpse", "png", caption=True)
    with Image.open(io.BytesIO(data)) as picture:
        assert picture.size == (2 * int(root.get("width")), 2 * int(root.get("height")))
        assert np.array(picture.convert("L")).std() > 10


def test_without_a_video_encoder_films_are_saved_as_gif(own_page, site):
    page = own_page
    page.add_init_script("delete globalThis.VideoEncoder")
    page.goto(f"{site}#view=paint&t=3")
    finished(page, "paint")
    page.click("#paint .save")
    assert page.locator("#save [data-format=gif]").is_visible()
    assert page.locator("#save [data-format=webm]").is_hidden()
