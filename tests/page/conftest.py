"""A browser, and a server of the page with a few tiny models.

Tests that need a browser are skipped where none is installed.
"""

import itertools
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, sync_playwright

from draw import DRAW, DRAWConfig
from draw.page import PageServer, build_site

TINY = {"height": 14, "width": 14, "glimpses": 6, "hidden_size": 16, "latent_size": 4}
CONFIGS = {
    "attentive": DRAWConfig(**TINY, read_size=3, write_size=4),
    "plain": DRAWConfig(**TINY, read_size=None, write_size=None),
    "colour": DRAWConfig(
        **TINY | {"width": 10}, channels=3, read_size=2, write_size=3, likelihood="coupled-logistic"
    ),
    "grey": DRAWConfig(**TINY, read_size=3, write_size=None, likelihood="logistic"),
}

T, Z = TINY["glimpses"], TINY["latent_size"]
FILM_VIEWS = ("glimpse", "paint", "look", "finish", "fork", "morph", "compare", "find")
VIEWS = (*FILM_VIEWS, "window")
BLANK = "blank.html"  # a page of the same origin without scripts
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
BROWSER_OPTIONS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --force-color-profile=srgb"
).split()
VIEWPORT = {"width": 1280, "height": 800}
LOADS = itertools.count()
MODULES = (
    "arrays attention classifier clutter engine examples gif ink layers likelihoods model pictures "
    "random runs safetensors trace"
).split()


def wild(config: DRAWConfig, seed: int = 0) -> DRAW:
    """A model whose random weights are large enough to move canvases, windows and posteriors."""
    torch.manual_seed(seed)
    model = DRAW(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    model.engine = "plain"
    return model.eval()


@pytest.fixture(scope="session")
def models() -> dict[str, DRAW]:
    return {name: wild(config) for name, config in CONFIGS.items()}


@pytest.fixture(scope="session")
def folder(models: dict[str, DRAW], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a page with the tiny models and the bundled ones."""
    path = tmp_path_factory.mktemp("page") / "site"
    build_site(path, models)
    add_blank(path)
    return path


def add_blank(folder: Path) -> None:
    (folder / BLANK).write_text('<link rel="icon" href="icon.svg">')


@pytest.fixture(scope="session")
def serve() -> Iterator[Callable[..., str]]:
    """Serve a folder, whose files the browser may keep; the function returns its address."""
    servers = []

    def start(path: Path, cache: str = "max-age=3600") -> str:
        server = PageServer(path)
        server.headers["Cache-Control"] = cache
        servers.append(server)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        return server.url

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="session")
def site(folder: Path, serve: Callable[[Path], str]) -> str:
    """The address of the page."""
    return serve(folder)


@pytest.fixture
def without(folder: Path, serve: Callable[[Path], str], tmp_path: Path) -> Callable[[str], str]:
    """Serve the page without the files that match a pattern; the function returns the address."""

    def serve_without(pattern: str) -> str:
        shutil.copytree(folder, tmp_path / "site")
        for file in (tmp_path / "site").rglob(pattern):
            file.unlink()
        return serve(tmp_path / "site")

    return serve_without


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    executable = next(filter(None, map(shutil.which, BROWSERS)), None)
    if executable is None:
        pytest.skip("the tests of the page need a browser: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=BROWSER_OPTIONS)
        yield browser
        browser.close()


def new_context(browser: Browser) -> BrowserContext:
    context = browser.new_context(viewport=VIEWPORT, has_touch=True)
    context.set_default_timeout(20_000)
    context.clock.install()  # so that tests can skip ahead instead of waiting
    return context


@pytest.fixture(scope="session")
def context(browser: Browser) -> Iterator[BrowserContext]:
    """A context that most tests share, because it keeps the page's files and compiled scripts."""
    with new_context(browser) as context:
        yield context


@contextmanager
def new_page(browser: Browser) -> Iterator[Page]:
    """A page in a new context."""
    with new_context(browser) as context, open_page(context) as page:
        yield page


@contextmanager
def open_page(context: BrowserContext) -> Iterator[Page]:
    """A page with lists of its problems and requests."""
    page = context.new_page()
    page.problems, page.requests = [], []

    def add_message(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning", "assert"):
            page.problems.append(f"{message.text} {message.location['url']}")

    page.on("console", add_message)
    page.on("pageerror", lambda error: page.problems.append(str(error)))
    page.on("request", lambda request: page.requests.append(request.url))
    yield page
    page.close()


def assert_faultless(page: Page) -> None:
    """Assert that a page reported no problem and requested nothing from other sites."""
    assert page.problems == []
    assert all(url.startswith(("http://127.0.0.1:", "blob:", "data:")) for url in page.requests)


@pytest.fixture(scope="module")
def shared_page(context: BrowserContext) -> Iterator[Page]:
    with open_page(context) as page:
        yield page


@pytest.fixture
def page(shared_page: Page) -> Iterator[Page]:
    """A page that the tests of a module share, because a new one takes much longer to start."""
    page = shared_page
    page.problems, page.requests = [], []
    page.bring_to_front()  # a page behind another one draws nothing
    page.emulate_media(color_scheme="light", reduced_motion="no-preference")
    if page.viewport_size != VIEWPORT:
        page.set_viewport_size(VIEWPORT)
    yield page
    assert_faultless(page)
    page.evaluate("try { localStorage.clear() } catch {}")


@pytest.fixture
def faulty_page(page: Page) -> Iterator[Page]:
    """A page that may report problems."""
    yield page
    page.problems, page.requests = [], []


@pytest.fixture
def own_page(context: BrowserContext) -> Iterator[Page]:
    """A page for one test, which may add scripts that run before the page's."""
    with open_page(context) as page:
        yield page
        assert_faultless(page)
        page.evaluate("try { localStorage.clear() } catch {}")


@pytest.fixture
def go(page: Page, site: str) -> Callable[..., Page]:
    """Open a view and wait until it is ready, and a film until it can be saved."""

    def open_view(address: str, theme: str = "light", motion: str = "no-preference") -> Page:
        page.emulate_media(color_scheme=theme, reduced_motion=motion)
        # A new query reloads the page, which a new fragment alone would not.
        page.goto(f"{site}?load={next(LOADS)}#{address}")
        page.locator("main section:not([hidden]) h1").wait_for()
        view = re.search(r"view=(\w+)", address)
        if view and view[1] in FILM_VIEWS:
            page.locator(f"#{view[1]} .again:enabled").wait_for()
            if view[1] != "glimpse":
                page.locator(f"#{view[1]} .save:enabled").wait_for()
        return page

    return open_view


@pytest.fixture(scope="session")
def module(context: BrowserContext, site: str) -> Iterator[Callable[[str], Any]]:
    """Run a script in which the page's modules are imported: `random.normals(3, 1)`."""
    with open_page(context) as page:
        yield with_modules(page, site)
        assert page.problems == []


def with_modules(page: Page, url: str) -> Callable[[str], Any]:
    imports = "".join(f'const {name} = await import("{url}{name}.js");' for name in MODULES)
    page.goto(url + BLANK)
    return lambda script: page.evaluate(f"(async () => {{ {imports} {script} }})()")


@pytest.fixture
def noise(module: Callable[[str], Any]) -> Callable[..., torch.Tensor]:
    """The noise [T, Z] that the page uses for a key."""

    def draw(*key: int) -> torch.Tensor:
        values = module(f"return Array.from(random.normals({T * Z}, ...{[*key]}));")
        return torch.tensor(values).view(T, Z)

    return draw
