"""A browser, and a server of the page with a few tiny models; skipped where no browser is."""

import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from draw import DRAW, DRAWConfig
from draw.page import PageServer, assemble

from .chromium import Chromium, Page, executable

TINY = {"height": 14, "width": 14, "glimpses": 6, "hidden_size": 16, "latent_size": 4}
CONFIGS = {
    "attentive": DRAWConfig(**TINY, read_size=3, write_size=4),
    "plain": DRAWConfig(**TINY, read_size=None, write_size=None),
    "colour": DRAWConfig(**TINY | {"width": 10}, channels=3, read_size=2, write_size=3),
}

T, Z = TINY["glimpses"], TINY["latent_size"]
VIEWS = ("paint", "look", "finish", "fork", "compare", "window")
BLANK = "blank.html"  # a page of the same origin in which nothing runs


def wild(config: DRAWConfig, seed: int = 0) -> DRAW:
    """A model with weights of every size, so that canvases, windows and posteriors all move."""
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
    """The page with the models, assembled."""
    path = tmp_path_factory.mktemp("page") / "site"
    assemble(path, models)
    add_blank(path)
    return path


def add_blank(folder: Path) -> None:
    (folder / BLANK).write_text('<link rel="icon" href="icon.svg">')


@pytest.fixture(scope="session")
def serve() -> Iterator[Callable[[Path], str]]:
    """Serves a folder; its address."""
    servers = []

    def start(path: Path) -> str:
        server = PageServer(path)
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return server.url

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="session")
def site(folder: Path, serve: Callable[[Path], str]) -> str:
    """The page's address."""
    return serve(folder)


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    if executable() is None:
        pytest.skip("no Chromium here; apt-get install chromium")
    chromium = Chromium(tmp_path_factory.mktemp("profile"))
    yield chromium
    chromium.close()


@pytest.fixture
def page(browser: Chromium, site: str) -> Iterator[Page]:
    """A tab; nothing may go wrong in it that the test has not looked for, and removed."""
    with browser.page() as tab:
        yield tab
        assert tab.problems == []
        assert all(url.startswith((site, "blob:", "data:")) for url in tab.requests.values())


@pytest.fixture(scope="module")
def module(browser: Chromium, site: str) -> Iterator[Callable[[str], Any]]:
    """Runs a script with the page's modules at hand: `random.normals(3, 1)`."""
    with browser.page() as tab:
        yield at_hand(tab, site)
        assert tab.problems == []


def at_hand(page: Page, url: str) -> Callable[[str], Any]:
    names = "attention examples gif ink model pictures random runs safetensors trace".split()
    imports = "".join(f'const {name} = await import("{url}{name}.js");' for name in names)
    page.open(url + BLANK)
    return lambda script: page.run(f"(async () => {{ {imports} {script} }})()")


@pytest.fixture
def go(page: Page, site: str) -> Callable[..., Page]:
    """Opens a view, in the light theme unless told otherwise, and waits until it can run."""

    def open_(address: str, theme: str = "light", motion: str = "no-preference") -> Page:
        page.prefer(prefers_color_scheme=theme, prefers_reduced_motion=motion)
        page.open(f"{site}#{address}")
        page.wait("document.querySelector('main section:not([hidden]) h1')")
        view = re.search(r"view=(\w+)", address)
        if view and view[1] in VIEWS[:5]:
            page.wait(f"!document.querySelector('#{view[1]} .again').disabled")
        if view and view[1] == "paint":
            page.wait("!document.querySelector('#paint .gif').disabled")
        return page

    return open_


@pytest.fixture
def noise(browser: Chromium, site: str) -> Callable[..., torch.Tensor]:
    """The page's own noise, [T, Z], for a key."""

    def draw(*key: int) -> torch.Tensor:
        with browser.page() as tab:
            tab.open(site + BLANK)
            values = tab.run(
                f"""import("{site}random.js").then(({{ normals }}) =>
                    Array.from(normals({T * Z}, ...{[*key]})))"""
            )
            return torch.tensor(values).view(T, Z)

    return draw


@pytest.fixture(scope="session")
def weightless(
    models: dict[str, DRAW],
    serve: Callable[[Path], str],
    tmp_path_factory: pytest.TempPathFactory,
) -> str:
    """The page's address, where the models' weights are missing."""
    folder = tmp_path_factory.mktemp("weightless") / "site"
    assemble(folder, models)
    for file in folder.rglob("*.safetensors"):
        file.unlink()
    return serve(folder)
