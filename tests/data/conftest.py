"""A local HTTP server, and an empty cache for each test."""

import gzip
import hashlib
import io
import tarfile
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from draw.data.download import RemoteFile


class Server(ThreadingHTTPServer):
    """Serve `files`, record the requests, and misbehave on demand."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, bytes] = {}
        self.requests: list[tuple[str, str | None]] = []  # path and Range header
        self.cuts: list[int] = []  # the next responses end after this many bytes
        self.delay = 0.0  # seconds before a response
        self.supports_ranges = True
        self.content_length: str | None = "true"  # None sends none; "true" sends the right one
        self._thread = Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01})

    def __enter__(self) -> "Server":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()

    def handle_error(self, *_: object) -> None:
        """Ignore clients that hang up."""

    def serve(self, name: str, content: bytes) -> str:
        """Serve this content; return its URL."""
        self.files[f"/{name}"] = content
        return self.url(name)

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.server_port}/{name}"

    @property
    def ranges(self) -> list[str | None]:
        return [header for _, header in self.requests]


class _Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        header = self.headers["Range"]
        self.server.requests.append((self.path, header))
        time.sleep(self.server.delay)
        content = self.server.files.get(self.path)
        if content is None:
            self.send_error(404)
            return
        start = 0
        if header and self.server.supports_ranges:
            start = int(header.removeprefix("bytes=").removesuffix("-"))
            if start >= len(content):
                self.send_error(416)
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        else:
            self.send_response(200)
        rest = content[start:]
        if "gzip" in self.headers.get("Accept-Encoding", ""):  # common if the client accepts it
            rest = gzip.compress(rest)
            self.send_header("Content-Encoding", "gzip")
        if (length := self.server.content_length) is not None:
            self.send_header("Content-Length", str(len(rest)) if length == "true" else length)
        self.end_headers()
        self.wfile.write(rest[: self.server.cuts.pop(0)] if self.server.cuts else rest)

    def log_message(self, *_: object) -> None:
        pass


def remote(name: str, content: bytes, *urls: str) -> RemoteFile:
    """Describe this content as a published file."""
    return RemoteFile(name, len(content), hashlib.sha256(content).hexdigest(), urls)


def tar_gz(files: dict[str, bytes]) -> bytes:
    """Pack these files into an archive."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz", compresslevel=1) as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return packed.getvalue()


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        yield running


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Use an empty cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("DRAW_DATA", raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    return tmp_path / "cache" / "draw"
