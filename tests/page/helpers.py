"""Drive a view of the page, and read its address, text and pixels."""

import base64
import io
import json
import time
from urllib.parse import parse_qs

import numpy as np
import torch
from PIL import Image
from playwright.sync_api import Error, Page

from draw.attention import Window
from draw.page.noise import normals

from .conftest import T, Z

Points = list[tuple[float, float]]  # in fractions of an element's width and height
DIGIT = [(0.7, 0.2), (0.4, 0.2), (0.35, 0.45), (0.6, 0.5), (0.6, 0.7), (0.3, 0.75)]  # a 5

# `hold()` delays the messages that the page sends to its workers until `release()`.
HOLDING = """
    const post = Worker.prototype.postMessage;
    window.held = [];
    let holding = false;
    window.hold = () => (holding = true);
    window.release = () => {
        holding = false;
        for (const [worker, message] of held.splice(0)) post.call(worker, message);
    };
    Worker.prototype.postMessage = function (message) {
        if (holding) held.push([this, message]);
        else post.call(this, message);
    };
"""


def wait(page: Page, condition: str, seconds: float = 20) -> None:
    """Wait until an expression is true; an expression that throws is false.

    Playwright's `wait_for_function` needs `eval`, which the page's security policy forbids.
    """
    script = f"(() => {{ try {{ return Boolean({condition}); }} catch {{ return false; }} }})()"
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if page.evaluate(script):
                return
        except Error:  # the page is being replaced
            pass
        page.wait_for_timeout(10)
    raise AssertionError(f"never true: {condition}; problems: {page.problems}")


def finished(page: Page, view: str) -> None:
    """Wait until everything that a view computes is there, so that it can be saved."""
    button = ".again" if view == "glimpse" else ".save"
    page.locator(f"#{view} {button}:enabled").wait_for()


def settings(page: Page) -> dict[str, str]:
    """The settings in the address, which the page writes with a delay."""
    page.clock.run_for(400)
    fragment = page.evaluate("location.hash.slice(1)")
    return {key: value[0] for key, value in parse_qs(fragment).items()}


def address(values: dict[str, str]) -> str:
    return "&".join(f"{key}={value}" for key, value in values.items())


def navigate(page: Page, fragment: str) -> None:
    """Change the fragment of the address and wait until the page has handled that."""
    page.evaluate(
        """(fragment) => new Promise((resolve) => {
            addEventListener("hashchange", () => resolve(), { once: true });
            const before = location.hash;
            location.hash = fragment;
            if (location.hash === before) resolve(); // then there is no event
        })""",
        fragment,
    )


def text(page: Page, selector: str) -> str:
    return page.locator(selector).text_content()


def pixels(page: Page, selector: str) -> np.ndarray:
    """The pixels of a canvas element [height, width, RGB]."""
    url = page.evaluate(f"document.querySelector({json.dumps(selector)}).toDataURL()")
    picture = Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2])))
    return np.array(picture.convert("RGB")).astype(int)


def tile(view: str, index: int) -> str:
    """The selector of one canvas in a grid."""
    button = " > button" if view == "paint" else " > "
    canvas = " canvas" if view == "paint" else ""
    return f"#{view} .tiles{button}:nth-child({index + 1}){canvas}"


def glimpse(page: Page, view: str) -> int:
    """The glimpse that a film shows."""
    return int(page.locator(f"#{view} .slider").input_value())


def played(page: Page, view: str) -> set[int]:
    """The glimpses that are shown in the time of a whole film and its pause."""
    page.evaluate(
        f"""{{
            const slider = document.querySelector("#{view} .slider");
            window.shown = [];
            setInterval(() => shown.push(Number(slider.value)), 20);
        }}"""
    )
    page.clock.run_for(250 * T + 2500)
    return set(page.evaluate("window.shown"))


def slide(page: Page, selector: str, value: float) -> None:
    """Move a slider."""
    page.evaluate(
        f"""{{
            const slider = document.querySelector({json.dumps(selector)});
            slider.value = {value};
            slider.dispatchEvent(new Event("input", {{ bubbles: true }}));
        }}"""
    )


def choose_model(page: Page, name: str) -> None:
    page.locator("#model").select_option(name)


def spots(page: Page, selector: str, points: Points) -> Points:
    """Points of an element, scrolled into view, as coordinates in the window."""
    element = page.locator(selector)
    element.evaluate("(element) => element.scrollIntoView({ block: 'center' })")
    box = element.bounding_box()
    return [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in points]


def stroke(page: Page, selector: str, points: Points) -> None:
    """Drag the mouse over an element."""
    first, *others = spots(page, selector, points)
    page.mouse.move(*first)
    page.mouse.down()
    for spot in others:
        page.mouse.move(*spot)
    page.mouse.up()


def click(page: Page, selector: str, x: float, y: float) -> None:
    """Click a point of an element."""
    stroke(page, selector, [(x, y)])


def touch(page: Page, selector: str, points: Points) -> None:
    """Drag a finger over an element."""
    session = page.context.new_cdp_session(page)
    kind = "touchStart"
    for x, y in spots(page, selector, points):
        point = {"x": x, "y": y}
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [point]})
        kind = "touchMove"
    session.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    session.detach()


def to_grey(picture: np.ndarray, cells: int = 14) -> np.ndarray:
    """The centre of each of the image's pixels, ink from 0 to 255, in the light theme."""
    each = picture.shape[1] // cells
    ink, paper = 0x16, 0xFF
    return (paper - picture[each // 2 :: each, each // 2 :: each, 1]) * 255 / (paper - ink)


def sample_noise(seed: int, *numbers: int) -> torch.Tensor:
    """The noise [T, n, Z] of samples of a seed."""
    return torch.stack([normals(T * Z, 0, seed, i).view(T, Z) for i in numbers], dim=1)


def tag(shown: np.ndarray, windows: Window, t: int, n: int, cells: int = 14) -> np.ndarray:
    """Where the letter R or W may be, above the left corner of the window at index t."""
    each, side = shown.shape[1] / cells, shown.shape[1] / 16
    g_x, g_y, delta = (float(part[t, 0]) for part in (windows.g_x, windows.g_y, windows.delta))
    left, top = ((g - n * delta / 2 - 0.5) * each for g in (g_x, g_y))
    left = min(shown.shape[1] - side, max(0, left))
    top = min(shown.shape[0] - side, max(0, top - side))
    y, x = np.mgrid[: shown.shape[0], : shown.shape[1]]
    near = (x > left - 2) & (x < left + side + 2) & (y > top - 2) & (y < top + side + 2)
    return near & (shown.shape[1] >= 150)


def distances(shown: np.ndarray, windows: Window, t: int, n: int, cells: int = 14) -> np.ndarray:
    """Distances of the shown pixels from the outline of the first image's window at index t.

    They are measured in pixels of the image.
    """
    each = shown.shape[1] / cells
    g_x, g_y, delta = (float(part[t, 0]) for part in (windows.g_x, windows.g_y, windows.delta))
    y, x = np.mgrid[: shown.shape[0], : shown.shape[1]] / each + 0.5 / each + 0.5
    return np.abs(np.maximum(np.abs(x - g_x), np.abs(y - g_y)) - n * delta / 2)


def assert_outlined(tint: np.ndarray, windows: Window, t: int, n: int) -> None:
    """Assert that a tint, 0 to 255, is the outline of a PyTorch window: a line in a sigma band."""
    each = tint.shape[1] / 14
    away = distances(tint, windows, t, n) * each
    away, tint = (part[~tag(tint, windows, t, n)] for part in (away, tint))
    line = max(1, round(each / 8)) / 2
    band = max(line, float(windows.sigma2[t, 0].sqrt()) * each / 2)
    assert (tint[away < band - 1.5] > 25).all()
    assert (tint[away > band + 1.5] <= 25).all()
    assert (tint > 90).any()
    assert (away[tint > 90] < line + 1.5).all()


def choose_format(page: Page, view: str, file_format: str, caption: bool = False) -> None:
    """Save what a view shows with the menu of formats."""
    page.click(f"#{view} .save")
    page.locator("#save input").set_checked(caption)
    page.click(f"#save [data-format={file_format}]")


def saved(page: Page, view: str, file_format: str, caption: bool = False) -> tuple[str, bytes]:
    """Save what a view shows; return the file's name and content."""
    with page.expect_download() as download:
        choose_format(page, view, file_format, caption)
    return download.value.suggested_filename, download.value.path().read_bytes()
