"""The page where a model paints: a static folder, and a server of it for this computer alone.

index.html, *.js, style.css   the page, as in assets/page: no build step, nothing from elsewhere
models.json                   the models by name and configuration; the first is shown first
models/NAME/                  config.json and model.safetensors: the page runs the model itself
traces/NAME.json              samples being painted, to be seen before the weights are there
"""

import base64
import json
import shutil
import zlib
from copy import copy
from dataclasses import asdict
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import numpy as np
import torch
from jaxtyping import Float
from torch import Generator, Tensor

from draw import bundled, likelihoods
from draw.attention import Window
from draw.errors import ConfigError
from draw.files import write_atomic
from draw.model import DRAW

ASSETS = Path(__file__).parent / "assets" / "page"
SAMPLES = 24  # of each trace: as many as the page shows,
MAX_PIXELS = 2**24  # or fewer, of large pictures
INDEX = "models.json"

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
        ConfigError: the folder holds something else.
    """
    if folder.is_dir() and any(folder.iterdir()) and not (folder / INDEX).is_file():
        raise ConfigError(f"{folder} holds something other than a page; name a new folder")
    for part in ("models", "traces"):
        shutil.rmtree(folder / part, ignore_errors=True)
    shutil.copytree(ASSETS, folder, dirs_exist_ok=True)
    for name, model in models.items():
        model.save(folder / "models" / name)
    for name in bundled.names():
        if name not in models:
            source = bundled.HOME / name / "model"
            shutil.copytree(source, folder / "models" / name, ignore=shutil.ignore_patterns("*.md"))
            models = {**models, name: DRAW.from_pretrained(source)}
    for name, model in models.items():
        write_atomic(folder / "traces" / f"{name}.json", _trace(name, model))
    index = [{"name": name, "config": asdict(model.config)} for name, model in models.items()]
    write_atomic(folder / INDEX, json.dumps(index).encode())


@torch.no_grad()
def _trace(name: str, model: DRAW) -> bytes:
    """Some samples being painted, as a trace file (docs/trace.md)."""
    noise = Generator(model.device).manual_seed(0)
    plain = copy(model)
    plain.engine = "plain"  # a moment's work, for which nothing need be compiled
    size = model.config.glimpses * model.canvas_0.numel()
    count = max(1, min(SAMPLES, MAX_PIXELS // size))
    trace = plain.generate(count, generator=noise, record=True)
    content = {
        "format": "draw-trace",
        "version": 1,
        "model": name,
        "config": asdict(model.config),
        "steps": len(trace.z),
        "start": _pack(likelihoods.mean(model.canvas_0)[None]),
        "samples": [
            {
                "label": f"sample {b + 1}",
                "means": _pack(trace.mean[:, b]),
                "read": None,
                "write": _columns(trace.write, b),
                "kl_nats": None,
                "elbo_nats": None,
                "input": None,
            }
            for b in range(count)
        ],
    }
    return json.dumps(content, separators=(",", ":")).encode()


def _columns(window: Window | None, b: int) -> dict[str, list[float]] | None:
    if window is None:
        return None
    values = window._asdict()
    values["sigma"] = values.pop("sigma2").sqrt()
    return {
        key: [float(f"{value:.5g}") for value in column[:, b].tolist()]
        for key, column in values.items()
    }


def _pack(means: Float[Tensor, "T C H W"]) -> str:
    """Pictures in bytes, each as its difference to the one before; deflated; in base64."""
    values = (means * 255).round().to(torch.uint8).cpu().numpy()
    changes = np.diff(values, axis=0, prepend=np.zeros_like(values[:1]))
    return base64.b64encode(zlib.compress(changes.tobytes(), 9)).decode()


# ------------------------------------------------------------------ the server


class PageServer(ThreadingHTTPServer):
    """Serves the files of a folder, as they are named now, on the loopback address alone.

    No path of a request ever reaches the file system: it is looked up among the files' names.

    Args:
        port: 0 takes one that is free; `url` tells which.

    Raises:
        ConfigError: the port is taken, or not ours to take.
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
        self.hosts = {f"{host}:{self.server_port}" for host in ("127.0.0.1", "localhost")}

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
        if self.headers.get("Host") not in self.server.hosts:  # another site's name for us
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
