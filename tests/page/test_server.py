"""The server serves the files of its folder, and only to this computer."""

import http.client
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from draw.errors import ConfigError
from draw.page import PageServer
from draw.page.server import HEADERS, POLICY

SECRET = "not to be served"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[PageServer]:
    """Serve a folder with a few files and links that lead out of it, next to a secret file."""
    (tmp_path / "secret.txt").write_text(SECRET)
    site = tmp_path / "site"
    (site / "views").mkdir(parents=True)
    (site / "index.html").write_text("<p>hello")
    (site / "main.js").write_text("export {}")
    (site / "views" / "a b.json").write_text("{}")
    (site / "link.txt").symlink_to(tmp_path / "secret.txt")
    (site / "up").symlink_to(tmp_path)
    server = PageServer(site)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def request(
    server: PageServer, path: str, method: str = "GET", **headers: str
) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=30)
    try:
        connection.putrequest(method, path, skip_host="Host" in headers)
        for name, value in headers.items():
            connection.putheader(name, value)
        connection.endheaders()
        response = connection.getresponse()
        policy = {"Content-Security-Policy": POLICY + "'none'"}
        for name, value in (HEADERS | policy).items():
            assert response.getheader(name) == value
        return response.status, response.read()
    finally:
        connection.close()


def raw(server: PageServer, data: bytes) -> bytes:
    """Send bytes and return everything that the server answers."""
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=30) as line:
        line.sendall(data)
        line.shutdown(socket.SHUT_WR)
        received = b""
        while chunk := line.recv(1 << 16):
            received += chunk
        return received


@pytest.mark.parametrize(
    ("path", "kind", "content"),
    [
        ("/", "text/html; charset=utf-8", b"<p>hello"),
        ("/index.html?x=1", "text/html; charset=utf-8", b"<p>hello"),
        ("//index.html", "text/html; charset=utf-8", b"<p>hello"),
        ("/main.js", "text/javascript; charset=utf-8", b"export {}"),
        ("/views/a%20b.json", "application/json", b"{}"),
    ],
)
def test_it_serves_its_files(server, path, kind, content):
    assert request(server, path) == (200, content)
    assert request(server, path, "HEAD") == (200, b"")
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=30)
    connection.request("GET", path)
    response = connection.getresponse()
    assert response.getheader("Content-Type") == kind
    assert int(response.getheader("Content-Length")) == len(response.read())
    assert response.getheader("Server") == "draw "
    sock = connection.sock
    assert sock is not None
    connection.request("HEAD", path)
    assert connection.getresponse().status == 200
    assert connection.sock is sock  # not a new connection
    connection.close()


@pytest.mark.parametrize(
    "path",
    [
        *("/secret.txt", "/nothing", "/views", "/views/", "/./index.html", "/index"),
        *("/../secret.txt", "/views/../../secret.txt", "/%2e%2e/secret.txt", "/..%2fsecret.txt"),
        *("/%252e%252e/secret.txt", "/..\\secret.txt", "/..%5csecret.txt", "/%00", "/main.js%00"),
        *("/link.txt", "/up/secret.txt", "/up/", "/etc/passwd", "//etc/passwd", "*", "/%ff%fe"),
        *("/" + "a/" * 9_000, "/main.js/", "/views/a b.json/../../secret.txt"),
        *("/views/..%00/secret.txt", "/%0d%0aX-Injected:%20x", "/../site/main.js", "/main.js%20"),
    ],
)
def test_it_serves_nothing_else(server, path):
    line = f"GET {path} HTTP/1.0\r\nHost: 127.0.0.1:{server.server_port}\r\n\r\n"
    answer = raw(server, line.encode("latin-1"))
    assert answer.startswith((b"HTTP/1.1 404 ", b"HTTP/1.1 400 "))
    assert SECRET.encode() not in answer


def test_absolute_urls_are_looked_up_by_their_path(server):
    host = f"127.0.0.1:{server.server_port}"
    good = raw(server, f"GET http://{host}/main.js HTTP/1.0\r\nHost: {host}\r\n\r\n".encode())
    assert good.endswith(b"export {}")
    bad = raw(server, f"GET file:///etc/passwd HTTP/1.0\r\nHost: {host}\r\n\r\n".encode())
    assert bad.startswith(b"HTTP/1.1 404 ")


@pytest.mark.parametrize(
    "host",
    [
        *("evil.example", "evil.example:80", "localhost.evil", "[", "", "127.0.0.1.evil.example"),
        *("evil@127.0.0.1", "127.0.0.1@evil", "[::1]", "0.0.0.0", "127.1", "localhost."),
    ],
)
def test_other_host_names_are_rejected(server, host):
    assert request(server, "/", Host=host)[0] == 421


def test_a_request_without_a_host_is_rejected(server):
    assert raw(server, b"GET / HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.1 421 ")


@pytest.mark.parametrize("host", ["localhost:9000", "127.0.0.1", "LOCALHOST"])
def test_local_host_names_are_accepted_with_any_port(server, host):
    assert request(server, "/", Host=host)[0] == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "BREW"])
def test_only_get_and_head_are_supported(server, method):
    assert request(server, "/", method)[0] == 501


@pytest.mark.parametrize(
    "data",
    [
        *(b"", b"\r\n\r\n", b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"GET / x y z\r\n\r\n"),
        *(b"\x00\xff\xfe" * 100, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"GET /"),
        *(b"GET / HTTP/1.0\r\n" + b"X: y\r\n" * 500 + b"\r\n", b"GET /" + b"a" * 70_000),
        b"GET / HTTP/1.0\r\nX: " + b"y" * 70_000 + b"\r\n\r\n",
        b"GET / HTTP/1.0\r\nnonsense\r\n",
    ],
)
def test_malformed_requests_do_no_harm(server, capfd, data):
    answer = raw(server, data)
    assert b"hello" not in answer
    assert capfd.readouterr() == ("", "")
    assert request(server, "/") == (200, b"<p>hello")


def test_slow_clients_time_out_and_do_not_block_others(server, monkeypatch):
    monkeypatch.setattr(server.RequestHandlerClass, "timeout", 0.3)
    address = ("127.0.0.1", server.server_port)
    slow = [socket.create_connection(address, timeout=30) for _ in range(10)]
    for line in slow:
        line.sendall(b"GET / HT")
    assert request(server, "/") == (200, b"<p>hello")
    for line in slow:
        assert line.recv(100) == b""  # closed without an answer
        line.close()


def test_a_client_that_stops_reading_times_out(server, monkeypatch, capfd):
    large = server.files["/main.js"]
    large.write_bytes(b" " * 20_000_000)
    monkeypatch.setattr(server.RequestHandlerClass, "timeout", 0.3)
    host = f"127.0.0.1:{server.server_port}"
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=30) as line:
        line.sendall(f"GET /main.js HTTP/1.0\r\nHost: {host}\r\n\r\n".encode())
        assert request(server, "/") == (200, b"<p>hello")
        time.sleep(1)
        received = 0
        try:
            while chunk := line.recv(1 << 20):
                received += len(chunk)
        except ConnectionResetError:
            pass
    assert received < 20_000_000
    assert capfd.readouterr().err == ""


def test_a_deleted_file_is_not_found(server):
    server.files["/main.js"].unlink()
    assert request(server, "/main.js")[0] == 404


def test_it_listens_only_on_the_loopback_address(server):
    assert server.socket.getsockname()[0] == "127.0.0.1"
    hexadecimal = f"{server.server_port:04X}"
    listening = [
        row.split()[1]
        for table in ("tcp", "tcp6")
        if (path := Path("/proc/net") / table).exists()
        for row in path.read_text().splitlines()[1:]
        if row.split()[3] == "0A" and row.split()[1].endswith(f":{hexadecimal}")
    ]
    assert listening in ([], [f"0100007F:{hexadecimal}"])


def test_a_port_in_use_is_reported(server):
    with pytest.raises(ConfigError, match=f"port {server.server_port} cannot be used"):
        PageServer(next(iter(server.files.values())).parent, server.server_port)


def test_the_page_declares_the_same_security_policy(folder):
    """For hosts without this header; frame-ancestors has no effect in a page."""
    stated = (folder / "index.html").read_text().split('Policy" content="')[1].split('"')[0]
    policy = POLICY.removesuffix("; frame-ancestors ")
    assert stated == policy


@pytest.mark.parametrize("origins", ["*", "http://localhost:8888 https://example.org"])
def test_sites_that_may_embed_the_page(server, origins):
    folder = next(iter(server.files.values())).parent
    with PageServer(folder, frame_ancestors=origins) as other:
        assert other.headers["Content-Security-Policy"].endswith(f"; frame-ancestors {origins}")


@pytest.mark.parametrize("origins", ["*; script-src *", "*\r\nX: y", "a, b"])
def test_origins_cannot_change_the_policy(server, origins):
    with pytest.raises(ConfigError, match="give origins separated by spaces"):
        PageServer(next(iter(server.files.values())).parent, frame_ancestors=origins)
