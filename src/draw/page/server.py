"""Serve a folder to this computer only."""

import shutil
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from draw.errors import ConfigError

LOOPBACK_NAMES = ("127.0.0.1", "localhost")

CONTENT_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".wasm": "application/wasm",
    ".webp": "image/webp",
}
POLICY = (
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; "
    "style-src 'self'; img-src 'self' data:; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors "
)
HEADERS = {
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",
}


class PageServer(ThreadingHTTPServer):
    """Serve the files that a folder contains at construction, on the loopback address.

    The path of a request is looked up in a table of files and never reaches the file system.

    Args:
        folder: contains index.html; symbolic links in it are ignored.
        port: 0 chooses a free port; `url` contains the chosen one.
        frame_ancestors: sites that may embed the page, as in the Content-Security-Policy header:
            "'none'", "*", or origins such as "https://example.org", separated by spaces.

    Raises:
        ConfigError: if the port is in use or needs more privileges, or the origins contain
            characters that would end the header.

    >>> from draw.page.site import STATIC
    >>> with PageServer(STATIC) as server:
    ...     server.url.startswith("http://127.0.0.1:")
    True
    """

    daemon_threads = True  # a slow client does not delay the shutdown

    def __init__(self, folder: Path, port: int = 0, frame_ancestors: str = "'none'") -> None:
        if not frame_ancestors.isprintable() or {*frame_ancestors} & {*";,"}:
            raise ConfigError(
                f"frame_ancestors is {frame_ancestors!r}; give origins separated by spaces"
            )
        self.headers = HEADERS | {"Content-Security-Policy": POLICY + frame_ancestors}
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
                f"port {port} cannot be used ({error.strerror}); omit --port to use a free port"
            ) from error
        self.url = f"http://127.0.0.1:{self.server_port}/"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore clients that disconnect or time out."""


class _Handler(BaseHTTPRequestHandler):
    """Answer GET and HEAD requests."""

    server: PageServer
    timeout = 10  # seconds without progress before a connection is closed
    protocol_version = "HTTP/1.1"  # one connection for many of the page's hundred small files
    disable_nagle_algorithm = True  # it would delay each of them by 40 ms
    server_version, sys_version = "draw", ""

    def do_GET(self) -> None:
        # The port may be forwarded, so any is accepted. Other host names are rejected, because a
        # site can make its name resolve to this address (DNS rebinding).
        host, _, _ = self.headers.get("Host", "").partition(":")
        if host.lower() not in LOOPBACK_NAMES:
            return self.send_error(HTTPStatus.MISDIRECTED_REQUEST)
        path = self.server.files.get(unquote(urlsplit(self.path).path))
        if path is None or not path.is_file():
            return self.send_error(HTTPStatus.NOT_FOUND)
        with path.open("rb") as file:
            self.send_response(HTTPStatus.OK)
            content_type = CONTENT_TYPES.get(path.suffix, "application/octet-stream")
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(path.stat().st_size))
            self.end_headers()
            if self.command == "GET":
                shutil.copyfileobj(file, self.wfile)

    do_HEAD = do_GET  # noqa: N815

    def end_headers(self) -> None:
        for name, value in self.server.headers.items():
            self.send_header(name, value)
        super().end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing: the command prints the address of the page."""
