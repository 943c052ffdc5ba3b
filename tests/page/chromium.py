"""A headless Chromium, spoken to over its debugging pipe: no port, no driver, no package."""

import base64
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import Empty, Queue
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
KEYS = {"Backspace": 8, "Tab": 9, "Enter": 13, " ": 32, "End": 35, "Home": 36, "Delete": 46}
KEYS |= {"ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40}
PATIENCE = 20.0  # seconds
OPTIONS = (
    "--headless=new --remote-debugging-pipe --no-first-run --no-default-browser-check "
    "--disable-background-networking --disable-component-update --disable-sync --disable-gpu "
    "--hide-scrollbars --force-color-profile=srgb --disable-dev-shm-usage --disable-extensions"
).split()

# It reads commands from descriptor 3 and writes answers to 4.
LAUNCHER = """
import fcntl, os, sys
pipes = [fcntl.fcntl(int(fd), fcntl.F_DUPFD, 10) for fd in sys.argv[1:3]]
for fd, wanted in zip(pipes, (3, 4)):
    os.dup2(fd, wanted)
os.execv(sys.argv[3], sys.argv[3:])
"""


class BrowserError(Exception):
    """The browser refused a command, or a script in the page threw."""


def executable() -> str | None:
    """The browser of this machine, if there is one."""
    return next(filter(None, map(shutil.which, NAMES)), None)


class Chromium:
    """One browser process; `page` opens a tab of its own, isolated from all others."""

    def __init__(self, profile: Path) -> None:
        (theirs_in, self._out), (self._in, theirs_out) = os.pipe(), os.pipe()
        sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []  # it refuses root otherwise
        command = [executable(), *OPTIONS, *sandbox, f"--user-data-dir={profile}"]
        self._process = subprocess.Popen(
            [sys.executable, "-c", LAUNCHER, str(theirs_in), str(theirs_out), *command],
            pass_fds=(theirs_in, theirs_out),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(theirs_in)
        os.close(theirs_out)
        self._answers: dict[int, Queue[dict[str, Any]]] = {}
        self._pages: dict[str, Page] = {}  # by session
        self._count = 0
        threading.Thread(target=self._listen, daemon=True).start()

    def send(self, method: str, session: str | None = None, **params: Any) -> dict[str, Any]:
        """One command of the Chrome DevTools Protocol, and its answer."""
        self._count += 1
        number = self._count
        answer = self._answers[number] = Queue()
        message = {"id": number, "method": method, "params": params}
        if session:
            message["sessionId"] = session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        try:
            result = answer.get(timeout=PATIENCE)
        except Empty:
            raise BrowserError(f"{method} was not answered") from None
        if "error" in result:
            raise BrowserError(f"{method}: {result['error']['message']}")
        return result["result"]

    def _listen(self) -> None:
        held = b""
        while chunk := os.read(self._in, 1 << 20):
            *whole, held = (held + chunk).split(b"\0")
            for text in whole:
                message = json.loads(text)
                if "id" in message:
                    self._answers.pop(message["id"]).put(message)
                elif page := self._pages.get(message.get("sessionId", "")):
                    page.hear(message["method"], message["params"])

    @contextmanager
    def page(self, width: int = 1280, height: int = 800, scale: float = 1) -> Iterator["Page"]:
        """A new tab, closed at the end."""
        context = self.send("Target.createBrowserContext")["browserContextId"]
        target = self.send("Target.createTarget", url="about:blank", browserContextId=context)
        session = self.send("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        page = self._pages[session["sessionId"]] = Page(self, session["sessionId"])
        for domain in ("Page", "Runtime", "Log", "Network"):
            page.send(f"{domain}.enable")
        page.resize(width, height, scale)
        try:
            yield page
        finally:
            self.send("Target.disposeBrowserContext", browserContextId=context)

    def close(self) -> None:
        """Ends the process and waits for it."""
        try:
            self.send("Browser.close")
            self._process.wait(PATIENCE)
        finally:
            self._process.kill()
            self._process.wait()
            os.close(self._out)


class Page:
    """A tab: open an address, run a script, press and click, and see what went wrong."""

    def __init__(self, browser: Chromium, session: str) -> None:
        self._browser, self._session = browser, session
        self.problems: list[str] = []  # errors and warnings of the console, uncaught exceptions
        self.requests: dict[str, str] = {}  # id -> address, of all that was fetched
        self.received = 0  # bytes

    def send(self, method: str, **params: Any) -> dict[str, Any]:
        return self._browser.send(method, self._session, **params)

    def hear(self, method: str, params: dict[str, Any]) -> None:
        match method:
            case "Runtime.consoleAPICalled" if params["type"] in ("error", "warning", "assert"):
                self.problems.append(str(params["args"]))
            case "Runtime.exceptionThrown":
                details = params["exceptionDetails"]
                self.problems.append(details.get("exception", details).get("description", "?"))
            case "Log.entryAdded" if params["entry"]["level"] in ("error", "warning"):
                entry = params["entry"]
                self.problems.append(f"{entry['text']} {entry.get('url', '')}")
            case "Network.requestWillBeSent":
                self.requests[params["requestId"]] = params["request"]["url"]
            case "Network.loadingFinished":
                self.received += int(params["encodedDataLength"])

    def open(self, url: str) -> None:
        self.send("Page.navigate", url=url)
        self.wait("document.readyState === 'complete'")

    def run(self, script: str) -> Any:
        """The value of an expression, awaited if it is a promise."""
        result = self.send(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True
        )
        if "exceptionDetails" in result:
            details = result["exceptionDetails"]
            raise BrowserError(details.get("exception", details).get("description", str(details)))
        return result["result"].get("value")

    def wait(self, condition: str, seconds: float = PATIENCE) -> None:
        """Until an expression is true; what it throws, as while a page is replaced, is false."""
        script = f"(() => {{ try {{ return Boolean({condition}); }} catch {{ return false; }} }})()"
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            with suppress(BrowserError):  # the page went while it was asked
                if self.run(script):
                    return
            time.sleep(0.02)
        raise BrowserError(f"never true: {condition}; problems: {self.problems}")

    def resize(self, width: int, height: int, scale: float = 1) -> None:
        self.send(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=scale,
            mobile=width < 600,
        )

    def prefer(self, **features: str) -> None:
        """Media features, `prefers_color_scheme="dark"` and the like."""
        values = [{"name": k.replace("_", "-"), "value": v} for k, v in features.items()]
        self.send("Emulation.setEmulatedMedia", features=values)

    def place(self, selector: str) -> tuple[float, float, float, float]:
        """An element's left, top, width and height in the window, scrolled into it."""
        script = f"""(() => {{
            const element = document.querySelector({json.dumps(selector)});
            element.scrollIntoView({{ block: "center" }});
            const {{ left, top, width, height }} = element.getBoundingClientRect();
            return [left, top, width, height];
        }})()"""
        left, top, width, height = self.run(script)
        return left, top, width, height

    def click(self, selector: str, x: float = 0.5, y: float = 0.5) -> None:
        """Presses and releases the mouse at a share of an element's width and height."""
        self.stroke(selector, [(x, y)])

    def stroke(self, selector: str, points: list[tuple[float, float]]) -> None:
        """Drags the mouse over an element, through points in shares of its width and height."""
        left, top, width, height = self.place(selector)
        spots = [(left + x * width, top + y * height) for x, y in points]
        self._mouse("mousePressed", *spots[0])
        for spot in spots[1:]:
            self._mouse("mouseMoved", *spot)
        self._mouse("mouseReleased", *spots[-1])

    def hover(self, selector: str, x: float = 0.5, y: float = 0.5) -> None:
        left, top, width, height = self.place(selector)
        self._mouse("mouseMoved", left + x * width, top + y * height, button="none")

    def touch(self, selector: str, points: list[tuple[float, float]]) -> None:
        """The same with a finger."""
        left, top, width, height = self.place(selector)
        for kind, (x, y) in zip(["touchStart"] + ["touchMove"] * len(points), points, strict=False):
            spot = {"x": left + x * width, "y": top + y * height}
            self.send("Input.dispatchTouchEvent", type=kind, touchPoints=[spot])
        self.send("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])

    def _mouse(self, kind: str, x: float, y: float, button: str = "left") -> None:
        down = 1 if button == "left" and kind != "mouseReleased" else 0
        self.send(
            *("Input.dispatchMouseEvent",),
            **{"type": kind, "x": x, "y": y, "button": button, "buttons": down, "clickCount": 1},
        )

    def press(self, key: str) -> None:
        """One of KEYS."""
        event = {"key": key, "code": key, "windowsVirtualKeyCode": KEYS[key]}
        text = {"Enter": "\r", " ": " "}.get(key, "")
        self.send("Input.dispatchKeyEvent", type="keyDown", text=text, **event)
        self.send("Input.dispatchKeyEvent", type="keyUp", **event)

    def screenshot(self, whole: bool = False) -> bytes:
        """The window, or the whole page, as PNG."""
        image = self.send("Page.captureScreenshot", captureBeyondViewport=whole)
        return base64.b64decode(image["data"])
