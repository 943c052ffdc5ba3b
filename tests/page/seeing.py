"""What the tests of the views ask of a page: its address, its words, its pixels."""

import base64
import io
import json
from urllib.parse import parse_qs

import numpy as np
from PIL import Image

from draw.attention import Window

from .chromium import Page
from .conftest import T

DIGIT = [
    (0.7, 0.2),
    (0.4, 0.2),
    (0.35, 0.45),
    (0.6, 0.5),
    (0.6, 0.7),
    (0.3, 0.75),
]  # strokes of a 5, in shares of the pad

# `hold()` keeps back what the page sends to its workers until `release()`.
HOLDING = """
    const post = Worker.prototype.postMessage;
    const held = [];
    let holding = false;
    const hold = () => (holding = true);
    const release = () => {
        holding = false;
        for (const [worker, message] of held.splice(0)) post.call(worker, message);
    };
    Worker.prototype.postMessage = function (message) {
        if (holding) held.push([this, message]);
        else post.call(this, message);
    };
"""


def prepare(page: Page, script: str) -> None:
    """Runs a script in whatever is opened from now on, before its own."""
    page.send("Page.addScriptToEvaluateOnNewDocument", source=script)


def settings(page: Page) -> dict[str, str]:
    """The address, after the moment that it takes to be written."""
    page.run("new Promise((resolve) => setTimeout(resolve, 400))")
    return {key: value[0] for key, value in parse_qs(page.run("location.hash.slice(1)")).items()}


def pixels(page: Page, selector: str) -> np.ndarray:
    """A canvas element's pixels [height, width, RGB]."""
    url = page.run(f"document.querySelector({json.dumps(selector)}).toDataURL()")
    picture = Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2])))
    return np.array(picture.convert("RGB")).astype(int)


def tile(view: str, index: int) -> str:
    """The canvas of one tile."""
    child = f":nth-child({index + 1})"
    return (
        f"#{view} .tiles > button{child} canvas" if view == "paint" else f"#{view} .tiles > {child}"
    )


def step(page: Page, view: str) -> int:
    return int(page.run(f"document.querySelector('#{view} .slider').value"))


def steps(page: Page, view: str) -> set[int]:
    """All that are shown in the time that a film and its rest take."""
    return set(
        page.run(
            f"""new Promise((resolve) => {{
                const slider = document.querySelector("#{view} .slider");
                const seen = [];
                const timer = setInterval(() => seen.push(Number(slider.value)), 20);
                setTimeout(() => {{ clearInterval(timer); resolve(seen); }}, {250 * T + 2500});
            }})"""
        )
    )


def slide(page: Page, selector: str, value: float) -> None:
    """Moves a slider, as the browser tells of it."""
    page.run(
        f"""(() => {{
            const slider = document.querySelector({json.dumps(selector)});
            slider.value = {value};
            slider.dispatchEvent(new Event("input", {{ bubbles: true }}));
        }})()"""
    )


def says(page: Page, selector: str) -> str:
    return str(page.run(f"document.querySelector({json.dumps(selector)}).textContent"))


def to_grey(picture: np.ndarray, cells: int = 14) -> np.ndarray:
    """The middle of each of the image's pixels, ink from 0 to 255, in the light theme."""
    each = picture.shape[1] // cells
    ink, paper = 0x16, 0xFF
    return (paper - picture[each // 2 :: each, each // 2 :: each, 1]) * 255 / (paper - ink)


def distances(shown: np.ndarray, windows: Window, t: int, n: int, cells: int = 14) -> np.ndarray:
    """Of each shown pixel from the extent of the window at t of the first image, in its pixels."""
    each = shown.shape[1] / cells
    g_x, g_y, delta = (float(part[t, 0]) for part in (windows.g_x, windows.g_y, windows.delta))
    y, x = np.mgrid[: shown.shape[0], : shown.shape[1]] / each + 0.5 / each + 0.5
    return np.abs(np.maximum(np.abs(x - g_x), np.abs(y - g_y)) - n * delta / 2)


def outlined(tint: np.ndarray, windows: Window, t: int, n: int) -> None:
    """Asserts that a picture's tint, of 255, is torch's window: a line in a band of sigma."""
    each = tint.shape[1] / 14
    away = distances(tint, windows, t, n) * each
    line = max(1, round(each / 8)) / 2
    band = max(line, float(windows.sigma2[t, 0].sqrt()) * each / 2)
    assert (tint[away < band - 1.5] > 25).all()
    assert (tint[away > band + 1.5] <= 25).all()
    assert (tint > 90).any()
    assert (away[tint > 90] < line + 1.5).all()
