"""Measure how fast the page is in a browser: its first film, several tasks and its animation.

    python benchmarks/page.py

It needs Playwright and Chromium. It writes results-page.json and prints, for each task, the minimum
and the median of several rounds in seconds.
"""

import argparse
import json
import shutil
import statistics
import tempfile
import threading
import time
from datetime import date
from pathlib import Path

from bench import processor
from playwright.sync_api import Browser, Page, sync_playwright

from draw.page import PageServer, build_site

HERE = Path(__file__).parent
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
MODELS = {"mnist": "mnist", "cifar10": "cifar10"}
SECONDS = 3  # for which frames are counted
TASKS = {  # description: view and model
    "24 samples, mnist": ("paint", "mnist"),
    "Finish, mnist": ("finish", "mnist"),
    "Finish, cifar10": ("finish", "cifar10"),
    "reconstruct, mnist": ("look", "mnist"),
}
# The time from a click until everything is computed, when the film can be saved.
RUN = """async (view) => {
    const [again, save] = document.querySelectorAll(`#${view} :is(.again, .save)`);
    const start = performance.now();
    again.click();
    while (save.disabled) await new Promise((resolve) => setTimeout(resolve, 1));
    return (performance.now() - start) / 1000;
}"""
FRAMES = """async (seconds) => {
    let count = 0;
    const start = performance.now();
    while (performance.now() < start + 1000 * seconds) {
        await new Promise(requestAnimationFrame);
        count++;
    }
    return count / seconds;
}"""


def first_film(page: Page, url: str) -> float:
    """Return the time until the landing view can play its first film."""
    start = time.perf_counter()
    page.goto(url)
    page.locator("#glimpse .play:visible").wait_for()
    page.locator("#glimpse canvas").first.wait_for()
    return time.perf_counter() - start


def measure(browser: Browser, url: str, rounds: int, models: dict[str, str] = MODELS) -> dict:
    """Measure everything on the page at an address.

    Args:
        models: the model to use for each model of `MODELS`.
    """
    seconds = {}

    def report(task: str, times: list[float]) -> None:
        low, middle = min(times), statistics.median(times)
        seconds[task] = {"minimum": round(low, 3), "median": round(middle, 3)}
        print(f"{task:<24} minimum {low:6.3f}  median {middle:6.3f}", flush=True)

    times = []
    for _ in range(rounds):
        with browser.new_context() as context:  # an empty cache
            times.append(first_film(context.new_page(), url))
    report("first film", times)
    with browser.new_page() as page:
        for number, (task, (view, model)) in enumerate(TASKS.items()):
            page.goto(f"{url}?task={number}#view={view}&model={models[model]}&seed=1")
            page.locator(f"#{view} .save:enabled").wait_for()
            page.locator(f"#{view} .again:enabled").wait_for()
            report(task, [page.evaluate(RUN, view) for _ in range(1 + rounds)][1:])
        page.goto(f"{url}?task=frames#view=paint&model={models['mnist']}&seed=1")
        page.locator("#paint .save:enabled").wait_for()
        frames = round(page.evaluate(FRAMES, SECONDS), 1)
    print("frames per second while a film plays:", frames)
    return {
        "date": date.today().isoformat(),
        "processor": processor(),
        "browser": f"Chromium {browser.version}",
        "rounds": rounds,
        "seconds": seconds,
        "frames_per_second": frames,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    executable = next(filter(None, map(shutil.which, BROWSERS)), None)
    if executable is None:
        parser.error("no browser was found; install Chromium")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        site = Path(folder) / "site"
        build_site(site, {})
        server = PageServer(site)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        with playwright.chromium.launch(
            executable_path=executable, args=["--no-sandbox"]
        ) as browser:
            results = measure(browser, server.url, rounds)
        server.shutdown()
        server.server_close()
    (HERE / "results-page.json").write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
