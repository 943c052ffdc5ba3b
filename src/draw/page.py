"""The page where a model paints: a static folder, and a server of it for this computer alone.

index.html, *.js, style.css   the page, as in assets/page: no build step, nothing from elsewhere
models.json                   the models by name and configuration; the first is shown first
models/NAME/                  config.json and model.safetensors: the page runs the model itself
traces/NAME.json              samples being painted, to be seen before the weights are there
"""

import json
import shutil
from copy import copy
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import torch
from torch import Generator

from draw import zoo
from draw.errors import ConfigError
from draw.figures import Recording, save_recording
from draw.model import DRAW
from draw.storage.files import read_json, write_atomic
from draw.storage.json_config import to_dict

ASSETS = Path(__file__).parent / "assets" / "page"
SAMPLES = 24  # of each trace: as many as the page shows,
MAX_PIXELS = 2**23  # bytes that they may take, unpacked
INDEX = "models.json"
OUR_NAMES = ("127.0.0.1", "localhost")

TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
}
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; worker-src 'self'; style-src 'self'; "
        "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    ),
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",
}


def assemble(folder: Path, models: dict[str, DRAW]) -> None:
    """Put the page, these models and the bundled ones into a folder for any static host.

    Args:
        models: by name; the page shows the first one first.

    Raises:
        ConfigError: the folder holds something else, or a model's likelihood is not Bernoulli.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     assemble(Path(folder), {})
    ...     print(*sorted(path.name for path in Path(folder).glob("*.json")))
    models.json
    """
    if folder.is_dir() and any(folder.iterdir()) and not _is_page(folder):
        raise ConfigError(f"{folder} holds something other than a page; name a new folder")
    for name, model in models.items():
        if model.config.likelihood != "bernoulli":
            raise ConfigError(
                f"the page paints Bernoulli canvases alone, and the likelihood of {name} is "
                f"{model.config.likelihood!r}; its pictures and films are what draw sample makes"
            )
    for part in ("models", "traces"):
        shutil.rmtree(folder / part, ignore_errors=True)
    shutil.copytree(ASSETS, folder, dirs_exist_ok=True)
    for name, model in models.items():
        model.save(folder / "models" / name)
    for name in zoo.names("DRAW"):
        source = zoo.BUNDLED / name / "model"
        config = json.loads((source / "config.json").read_text())
        if name not in models and config["likelihood"] == "bernoulli":
            shutil.copytree(source, folder / "models" / name, ignore=shutil.ignore_patterns("*.md"))
            models = {**models, name: DRAW.from_pretrained(source)}
    for name, model in models.items():
        save_recording(folder / "traces" / f"{name}.json", _samples(name, model))
    index = [{"name": name, "config": to_dict(model.config)} for name, model in models.items()]
    write_atomic(folder / INDEX, json.dumps(index).encode())


def _is_page(folder: Path) -> bool:
    """Whether it is a page of ours, by what its list of models looks like."""
    try:
        index = read_json(folder / INDEX)
        return bool(index) and all(entry.keys() == {"name", "config"} for entry in index)
    except (ConfigError, AttributeError, TypeError):
        return False


@torch.no_grad()
def _samples(name: str, model: DRAW) -> Recording:
    """Some samples being painted: always the same ones."""
    plain = copy(model)
    plain.engine = "plain"  # a moment's work, for which nothing need be compiled
    size = model.config.glimpses * model.canvas_0.numel()
    count = max(1, min(SAMPLES, MAX_PIXELS // size))
    noise = Generator(model.device).manual_seed(0)
    return Recording.of(
        plain.generate(count, generator=noise, record=True),
        model=name,
        config=model.config,
        labels=[f"seed 0, number {number}" for number in range(count)],
        start=model.likelihood.mean(model.canvas_0),
    )


# ------------------------------------------------------------------ the server


class PageServer(ThreadingHTTPServer):
    """Serves the files of a folder, as they are named now, on the loopback address alone.

    No path of a request ever reaches the file system: it is looked up among the files' names.

    Args:
        port: 0 takes one that is free; `url` tells which.

    Raises:
        ConfigError: the port is taken, or not ours to take.

    >>> with PageServer(ASSETS) as server:
    ...     server.url.startswith("http://127.0.0.1:")
    True
    """

    daemon_threads = True  # a slow reader does not hold up the end

    def __init__(self, folder: Path, port: int = 0) -> None:
        self.files = {
            f"/{path.relative_to(folder).as_posix()}": path
            for path in folder.rglob("*")
            if path.is_file() and not path.is_symlink()
        }
        self.files["/"] = self.files["/index.html"]
        try:
            super().__init__(("127.0.0.1", port), _Handler)
        except OSError as error:
            raise ConfigError(
                f"port {port} cannot be used ({error.strerror}); leave --port out for a free one"
            ) from error
        self.url = f"http://127.0.0.1:{self.server_port}/"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A reader that leaves, or that is too slow, is no reason to complain."""


class _Handler(BaseHTTPRequestHandler):
    """Answers GET and HEAD."""

    server: PageServer
    timeout = 10  # seconds that a reader may keep us waiting
    server_version, sys_version = "draw", ""

    def do_GET(self) -> None:
        self._answer(body=True)

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def _answer(self, *, body: bool) -> None:
        name, _, _ = self.headers.get("Host", "").partition(
            ":"
        )  # any port, as one may be forwarded
        if name.lower() not in OUR_NAMES:  # another site's name for us
            return self.send_error(HTTPStatus.MISDIRECTED_REQUEST)
        path = self.server.files.get(unquote(urlsplit(self.path).path))
        if path is None or not path.is_file():
            return self.send_error(HTTPStatus.NOT_FOUND)
        with path.open("rb") as file:
            self.send_response(HTTPStatus.OK)
            self.send_header("Content-Type", TYPES.get(path.suffix, "application/octet-stream"))
            self.send_header("Content-Length", str(path.stat().st_size))
            self.end_headers()
            if body:
                shutil.copyfileobj(file, self.wfile)

    def end_headers(self) -> None:
        for name, value in HEADERS.items():
            self.send_header(name, value)
        super().end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: the command has said where the page is."""
