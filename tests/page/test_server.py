"""The server of the page: its folder and nothing else, to this computer and no other."""

import http.client
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from draw.errors import ConfigError
from draw.page import HEADERS, PageServer
from tests.fuzz.mutations import damaged

SECRET = "not for the reader"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[PageServer]:
    """A folder with a few files, a link out of it, and secrets beside it."""
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


def ask(server: PageServer, path: str, method: str = "GET", **headers: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=30)
    try:
        connection.putrequest(method, path, skip_host="Host" in headers)
        for name, value in headers.items():
            connection.putheader(name, value)
        connection.endheaders()
        answer = connection.getresponse()
        for name, value in HEADERS.items():
            assert answer.getheader(name) == value
        return answer.status, answer.read()
    finally:
        connection.close()


def raw(server: PageServer, request: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=30) as line:
        line.sendall(request)
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
    assert ask(server, path) == (200, content)
    assert ask(server, path, "HEAD") == (200, b"")
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=30)
    connection.request("GET", path)
    answer = connection.getresponse()
    assert answer.getheader("Content-Type") == kind
    assert int(answer.getheader("Content-Length")) == len(answer.read())
    assert answer.getheader("Server") == "draw "
    connection.close()


@pytest.mark.parametrize(
    "path",
    [
        *("/secret.txt", "/nothing", "/views", "/views/", "/./index.html", "/index"),
        *("/../secret.txt", "/views/../../secret.txt", "/%2e%2e/secret.txt", "/..%2fsecret.txt"),
        *("/%252e%252e/secret.txt", "/..\\secret.txt", "/..%5csecret.txt", "/%00", "/main.js%00"),
        *("/link.txt", "/up/secret.txt", "/up/", "/etc/passwd", "//etc/passwd", "*", "/%ff%fe"),
        *("/" + "a/" * 9_000, "/main.js/", "/views/a b.json/../../secret.txt"),
        *("/%2e%2e%2fsecret.txt", "/%c0%ae%c0%ae/secret.txt", "/%uff0e%uff0e/secret.txt"),
        *(
            "/%252e%252e%252fsecret.txt",
            "/..%255csecret.txt",
            "/..;/secret.txt",
            "/....//secret.txt",
        ),
        *("/views/..%00/secret.txt", "/%0d%0aX-Injected:%20x", "/../site/main.js", "/main.js%20"),
    ],
)
def test_it_serves_nothing_else(server, path):
    line = f"GET {path} HTTP/1.0\r\nHost: 127.0.0.1:{server.server_port}\r\n\r\n"
    answer = raw(server, line.encode("latin-1"))
    assert answer.startswith((b"HTTP/1.0 404 ", b"HTTP/1.0 400 "))
    assert SECRET.encode() not in answer


def test_absolute_addresses_are_looked_up_by_their_path(server):
    host = f"127.0.0.1:{server.server_port}"
    good = raw(server, f"GET http://{host}/main.js HTTP/1.0\r\nHost: {host}\r\n\r\n".encode())
    assert good.endswith(b"export {}")
    bad = raw(server, f"GET file:///etc/passwd HTTP/1.0\r\nHost: {host}\r\n\r\n".encode())
    assert bad.startswith(b"HTTP/1.0 404 ")


@pytest.mark.parametrize(
    "host",
    [
        *("evil.example", "evil.example:80", "localhost.evil", "[", "", "127.0.0.1.evil.example"),
        *("evil@127.0.0.1", "127.0.0.1@evil", "[::1]", "0.0.0.0", "127.1", "localhost."),
    ],
)
def test_another_sites_name_for_this_computer_is_refused(server, host):
    assert ask(server, "/", Host=host)[0] == 421


def test_a_request_that_names_no_host_is_refused(server):
    assert raw(server, b"GET / HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.0 421 ")


@pytest.mark.parametrize("host", ["localhost:9000", "127.0.0.1", "LOCALHOST"])
def test_our_own_name_is_heard_at_any_port_as_one_may_be_forwarded(server, host):
    assert ask(server, "/", Host=host)[0] == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "BREW"])
def test_it_only_reads(server, method):
    assert ask(server, "/", method)[0] == 501


@pytest.mark.parametrize(
    "request_",
    [
        *(b"", b"\r\n\r\n", b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"GET / x y z\r\n\r\n"),
        *(b"\x00\xff\xfe" * 100, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"GET /"),
        *(b"GET / HTTP/1.0\r\n" + b"X: y\r\n" * 500 + b"\r\n", b"GET /" + b"a" * 70_000),
        b"GET / HTTP/1.0\r\nX: " + b"y" * 70_000 + b"\r\n\r\n",
        b"GET / HTTP/1.0\r\nnonsense\r\n",
    ],
)
def test_it_survives_what_is_no_request(server, request_):
    answer = raw(server, request_)
    assert b"hello" not in answer
    assert ask(server, "/") == (200, b"<p>hello")


GOOD = (
    b"GET /main.js HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n\r\n",
    b"HEAD /views/a%20b.json?x=1#y HTTP/1.0\r\nHost: 127.0.0.1:80\r\nRange: bytes=0-1\r\n\r\n",
)


@settings(
    max_examples=30,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(request_=damaged(GOOD))
def test_no_damage_to_a_request_gives_more_than_a_file_or_an_error(server, capfd, request_):
    answer = raw(server, request_)
    assert SECRET.encode() not in answer
    if not answer.startswith((b"HTTP/1.0 200 ", b"HTTP/1.0 4", b"HTTP/1.0 5")):  # or HTTP/0.9
        assert answer in (b"", b"export {}", b"{}", b"<p>hello") or b"Error code: 4" in answer
    assert capfd.readouterr() == ("", "")


def test_slow_readers_hold_up_no_one_and_are_given_up(server, monkeypatch):
    monkeypatch.setattr(server.RequestHandlerClass, "timeout", 0.3)
    address = ("127.0.0.1", server.server_port)
    slow = [socket.create_connection(address, timeout=30) for _ in range(40)]
    for line in slow:
        line.sendall(b"GET / HT")
    assert ask(server, "/") == (200, b"<p>hello")
    for line in slow:
        assert line.recv(100) == b""  # closed, without a word
        line.close()


def test_a_reader_that_stops_reading_is_given_up(server, monkeypatch, capfd):
    large = server.files["/main.js"]
    large.write_bytes(b" " * 50_000_000)
    monkeypatch.setattr(server.RequestHandlerClass, "timeout", 0.3)
    host = f"127.0.0.1:{server.server_port}"
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=30) as line:
        line.sendall(f"GET /main.js HTTP/1.0\r\nHost: {host}\r\n\r\n".encode())
        assert ask(server, "/") == (200, b"<p>hello")
        threading.Event().wait(1)
        received = 0
        try:
            while chunk := line.recv(1 << 20):
                received += len(chunk)
        except ConnectionResetError:
            pass
    assert received < 50_000_000
    assert capfd.readouterr().err == ""


def test_a_file_that_has_gone_is_not_found(server):
    server.files["/main.js"].unlink()
    assert ask(server, "/main.js")[0] == 404


def test_it_listens_on_the_loopback_address_alone(server):
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


def test_a_port_that_is_taken_is_told(server):
    with pytest.raises(ConfigError, match=f"port {server.server_port} cannot be used"):
        PageServer(next(iter(server.files.values())).parent, server.server_port)


def test_the_page_states_the_servers_policy_itself(folder):
    """For hosts that send no such header; frame-ancestors is of no use in a page."""
    stated = (folder / "index.html").read_text().split('Policy" content="')[1].split('"')[0]
    policy = HEADERS["Content-Security-Policy"].removesuffix("; frame-ancestors 'none'")
    assert stated == policy
