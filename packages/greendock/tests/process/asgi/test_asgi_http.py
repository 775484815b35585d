"""HTTP as the ``asgi`` worker speaks it: each row of the table in docs/asgi.md that is about requests."""

from __future__ import annotations

import http.client
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.process.asgi.client import Client, get, post
from tests.process.asgi.conftest import SOURCE
from tests.support import Server, serving, wait_for

Start = Callable[..., Server]
MIB = 1024 * 1024


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One worker that every test of this module shares."""
    settings = {"GUNICORN_WORKER_CLASS": "asgi", "WEB_CONCURRENCY": "1", "GUNICORN_ASGI_DISCONNECT_GRACE_PERIOD": "1"}
    with serving(tmp_path_factory.mktemp("shared"), SOURCE, **settings) as server:
        yield server


def scope(server: Server, request: bytes) -> dict[str, Any]:
    shown: dict[str, Any] = json.loads(Client(server.port, request).reply()[2])
    return shown


def test_the_scope_says_what_the_request_says(server: Server) -> None:
    seen = scope(server, get("/a%20b/%c3%a9?x=1&y=%20", "X-One: 1", "x-two:  2 "))
    host, port = seen.pop("client")
    assert (host, port > 0) == ("127.0.0.1", True)
    assert seen == {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": "/a b/é",
        "raw_path": "/a%20b/%c3%a9",
        "query_string": "x=1&y=%20",
        "root_path": "",
        "server": ["127.0.0.1", server.port],
        "state": {"pool": "a pool"},
        "headers": [["host", "x"], ["x-one", "1"], ["x-two", "2"]],
    }


def test_requests_on_one_connection_are_answered_one_after_the_other(server: Server) -> None:
    client = Client(server.port)
    for number in range(40):
        client.send(post("/echo", b"%d" % number))
        assert client.reply()[2] == b"%d" % number


def test_pipelined_requests_are_answered_in_order(server: Server) -> None:
    client = Client(server.port, b"".join(post("/echo", b"%d" % number) for number in range(100)))
    assert [client.reply()[2] for _ in range(100)] == [b"%d" % number for number in range(100)]


def test_a_request_in_many_pieces_is_answered(server: Server) -> None:
    client = Client(server.port)
    client.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for byte in post("/echo", b"hello"):
        client.send(bytes([byte]))
    assert client.reply()[2] == b"hello"


def test_a_body_in_chunks_arrives_whole_and_the_next_request_after_it(server: Server) -> None:
    head = b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    client = Client(
        server.port, head + b"5\r\nhello\r\n6;a=b\r\n world\r\n0\r\nX-Sum: 1\r\n\r\n" + post("/echo", b"next")
    )
    assert [client.reply()[2], client.reply()[2]] == [b"hello world", b"next"]


def test_a_body_nobody_reads_is_no_part_of_the_next_request(server: Server) -> None:
    client = Client(server.port, post("/unread", get("/boom")) + post("/echo", b"next"))
    assert [client.reply()[2], client.reply()[2]] == [b"not read", b"next"]


def test_an_answer_is_not_lost_in_a_reset_when_a_large_body_is_not_read(server: Server) -> None:
    client = Client(server.port)
    sender = threading.Thread(target=lambda: _send_what_is_taken(client, post("/unread", b"x" * (8 * MIB))))
    sender.start()
    assert client.reply()[2] == b"not read"
    sender.join()


def _send_what_is_taken(client: Client, data: bytes) -> None:
    with suppress(ConnectionError):
        client.send(data)


def test_100_continue_is_sent_when_the_application_asks_for_the_body(server: Server) -> None:
    request = post("/echo", b"", "Expect: 100-continue").replace(b"Content-Length: 0", b"Content-Length: 4")
    client = Client(server.port, request)
    assert client.until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    client.send(b"body")
    assert client.reply()[2] == b"body"


def test_without_asking_for_it_the_answer_is_final_and_the_connection_ends(server: Server) -> None:
    request = post("/unread", b"", "Expect: 100-continue").replace(b"Content-Length: 0", b"Content-Length: 4")
    client = Client(server.port, request)
    status, headers, body = client.reply()
    assert (status, headers["Connection"], body) == (200, "close", b"not read")


def test_another_expectation_is_refused(server: Server) -> None:
    assert Client(server.port, post("/echo", b"x", "Expect: gold")).reply()[0] == 417


def test_early_hints_come_before_the_response(server: Server) -> None:
    client = Client(server.port, get("/hints"))
    assert client.until(b"\r\n\r\n").startswith(
        b"HTTP/1.1 103 Early Hints\r\nlink: </style.css>; rel=preload; as=style\r\n\r\n"
    )
    old = Client(server.port, get("/hints", version="HTTP/1.0"))
    assert old.rest().startswith(b"HTTP/1.1 200 ")


def test_http_1_0_is_answered_unchunked_and_closed(server: Server) -> None:
    client = Client(server.port, get("/stream", version="HTTP/1.0"))
    head, _, body = client.rest().partition(b"\r\n\r\n")
    assert b"chunked" not in head
    assert b"connection: close" in head
    assert body == b"0\n1\n2\n"


def test_http_1_0_is_kept_alive_when_asked_and_the_length_is_known(server: Server) -> None:
    client = Client(server.port, get("/", "Connection: keep-alive", version="HTTP/1.0") * 2)
    assert [client.reply()[1]["Connection"] for _ in range(2)] == ["keep-alive", "keep-alive"]


def test_a_stream_is_sent_in_chunks_as_it_is_produced(server: Server) -> None:
    client = Client(server.port, get("/stream"))
    first = client.until(b"0\n")
    assert b"transfer-encoding: chunked" in first
    assert b"2\n" not in first
    assert client.until(b"0\r\n\r\n").count(b"\n\r\n") >= 2


def test_head_is_answered_without_a_body_and_keeps_the_connection(server: Server) -> None:
    client = Client(server.port, get("/unread").replace(b"GET", b"HEAD") + get("/unread"))
    assert client.reply("HEAD")[1]["Content-Length"] == "8"
    assert client.reply()[2] == b"not read"


@pytest.mark.parametrize("status", [204, 304])
def test_statuses_without_a_body_have_none_and_keep_the_connection(server: Server, status: int) -> None:
    client = Client(server.port, get(f"/empty?{status}") + get("/unread"))
    seen, headers, _ = client.reply()
    assert (seen, headers["Transfer-Encoding"], headers["Content-Length"]) == (status, None, None)
    assert client.reply()[2] == b"not read"


def test_the_peers_wish_to_close_is_granted(server: Server) -> None:
    client = Client(server.port, get("/", "Connection: close"))
    assert client.reply()[1]["Connection"] == "close"
    assert client.rest() == b""


@pytest.mark.parametrize("target", ["/boom", "/no-answer", "/bad-header", "/too-long", "/too-short", "/exits"])
def test_an_application_that_fails_before_its_response_is_a_500_and_a_log_line(server: Server, target: str) -> None:
    status, headers, _ = Client(server.port, get(target)).reply()
    assert (status, headers["Connection"]) == (500, "close")
    server.wait_log(f"Error handling request GET {target}")
    assert server.get()[0] == 200


def test_an_error_that_belongs_to_no_request_is_a_line_of_the_log(server: Server) -> None:
    assert server.get("/stray")[0] == 200
    server.wait_log("[ERROR] Task exception was never retrieved")
    server.wait_log("KeyError: 'nobody awaits this'")


def test_an_error_after_the_head_cuts_the_response_off(server: Server) -> None:
    data = Client(server.port, get("/boom-late")).rest()
    assert data.startswith(b"HTTP/1.1 200 ")
    assert not data.endswith(b"0\r\n\r\n")
    server.wait_log("ValueError: boom late")


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"garbage\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nA : b\r\n\r\n", 400),
        (post("/", b"x", "Transfer-Encoding: chunked"), 400),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: xyz\r\n\r\n", 501),
        (get("/" + "a" * 9000), 414),
        (get("/", "X: " + "a" * 9000), 431),
        (get("/", *(f"X-{number}: 1" for number in range(121))), 431),
    ],
)
def test_a_bad_request_is_refused_and_the_connection_closed(server: Server, data: bytes, status: int) -> None:
    client = Client(server.port, data)
    assert client.reply()[0] == status
    assert client.rest() == b""


def test_a_client_that_goes_away_is_told_of_as_http_disconnect_and_send_raises_later(server: Server) -> None:
    client = Client(server.port, get("/gone"))
    client.until(b"begun")
    client.socket.close()
    server.wait_log("the client is gone: http.disconnect")
    server.wait_log("send has raised GoneError")


def test_a_gigabyte_is_uploaded_through_little_memory(start: Start) -> None:
    server = start()
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    block = b"x" * MIB
    connection.request("POST", "/count", iter([block] * 1024), {"Content-Length": str(1024 * MIB)})
    size, peak = connection.getresponse().read().split()
    assert int(size) == 1024 * MIB
    assert int(peak) < 200 * 1024


def test_an_application_that_does_not_read_holds_the_client_back(server: Server) -> None:
    (worker,) = server.workers()
    before = resident(worker)
    client = Client(server.port)
    client.socket.settimeout(1)
    with pytest.raises(TimeoutError):
        client.send(post("/forever", bytes(64 * MIB)))
    assert resident(worker) - before < 32 * 1024


def resident(pid: int) -> int:
    """Return a process's memory in KiB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))


def test_a_slow_reader_holds_little_memory_and_gets_everything(server: Server) -> None:
    (worker,) = server.workers()
    before = resident(worker)
    client = Client(server.port, get("/large"))
    client.until(b"\r\n\r\n")
    other = Client(server.port, get("/unread"))
    assert other.reply()[2] == b"not read"
    assert resident(worker) - before < 32 * 1024
    client.send(get("/unread", "Connection: close"))
    assert client.rest().endswith(b"not read")


def test_a_peer_that_stops_reading_is_given_up(start: Start) -> None:
    server = start(GUNICORN_TIMEOUT="1")
    client = Client(server.port, get("/large"))
    server.wait_log("the peer stopped taking the response")
    assert len(client.rest()) < 64 * MIB


def test_a_body_that_stops_coming_is_given_up(start: Start) -> None:
    server = start(GUNICORN_TIMEOUT="1")
    client = Client(server.port, post("/echo", b"half").replace(b"Length: 4", b"Length: 8"))
    assert client.reply()[0] == 408
    assert client.rest() == b""


def test_a_silent_connection_and_an_idle_one_are_closed_after_keepalive(start: Start) -> None:
    server = start(GUNICORN_KEEPALIVE="2", NGINX_UPSTREAM_KEEPALIVE_TIMEOUT="1s")
    idle, silent = Client(server.port, get("/")), Client(server.port)
    idle.reply()
    assert [idle.rest(), silent.rest()] == [b"", b""]


def test_more_connections_than_worker_connections_wait_and_are_served(start: Start) -> None:
    server = start(GUNICORN_WORKER_CONNECTIONS="4")
    waiting = [Client(server.port, get("/wait")) for _ in range(12)]
    wait_for((server.folder / "arrived").exists, "the first requests are being handled")
    (server.folder / "go").touch()
    assert [client.reply()[0] for client in waiting] == [200] * 12


def test_it_serves_a_unix_socket_whose_peers_are_trusted(start: Start, tmp_path: Path) -> None:
    path = tmp_path / "socket"
    start(GUNICORN_BIND=f"unix:{path}")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(path))
        sock.sendall(get("/scope", "X-Forwarded-For: 203.0.113.7", "X-Forwarded-Proto: https", "Connection: close"))
        data = b""
        while more := sock.recv(65536):
            data += more
    seen = json.loads(data.partition(b"\r\n\r\n")[2])
    assert (seen["client"], seen["scheme"]) == (["203.0.113.7", 0], "https")


FORWARDED = ("X-Forwarded-For: 203.0.113.7, 198.51.100.1, 127.0.0.1", "X-Forwarded-Proto: https")


@pytest.mark.parametrize(
    ("allowed", "client", "scheme"),
    [
        ("127.0.0.1", "198.51.100.1", "https"),
        ("127.0.0.0/8,198.51.100.0/24", "203.0.113.7", "https"),
        ("*", "203.0.113.7", "https"),
        ("192.0.2.1", "127.0.0.1", "http"),
    ],
)
def test_client_and_scheme_are_what_trusted_proxies_say(start: Start, allowed: str, client: str, scheme: str) -> None:
    server = start(FORWARDED_ALLOW_IPS=allowed)
    seen = scope(server, get("/scope", *FORWARDED))
    assert (seen["client"][0], seen["scheme"]) == (client, scheme)


def test_root_path_is_the_settings_or_a_trusted_proxys_script_name(start: Start) -> None:
    server = start(GUNICORN_ROOT_PATH="/mounted")
    assert scope(server, get("/mounted/a"))["root_path"] == "/mounted"
    assert scope(server, get("/other/a", "SCRIPT_NAME: /other"))["root_path"] == "/other"
    stranger = start(FORWARDED_ALLOW_IPS="192.0.2.1")
    assert scope(stranger, get("/other/a", "SCRIPT_NAME: /other"))["root_path"] == ""


HOOKS = """
import pathlib
def before(worker, req):
    if req.path == "/refused-by-hook":
        raise ValueError("not today")
    print("before", req.method, req.uri, req.version, dict(req.headers).get("X-ONE"), flush=True)
def after(worker, req, environ, resp):
    length = dict(resp.headers).get("content-length")
    print("after", environ["PATH_INFO"], environ.get("HTTP_X_ONE"), resp.status, resp.sent, length, flush=True)
"""


def test_pre_request_and_post_request_get_what_they_get_from_a_wsgi_worker(start: Start, tmp_path: Path) -> None:
    (tmp_path / "hooks_of_mine.py").write_text(HOOKS)
    server = start(
        PYTHONPATH=str(tmp_path),
        GUNICORN_PRE_REQUEST="hooks_of_mine:before",
        GUNICORN_POST_REQUEST="hooks_of_mine:after",
    )
    server.get("/echo?q=1", "POST", b"hello", **{"X-One": "1"})
    server.wait_log("before POST /echo?q=1 (1, 1) 1")
    server.wait_log("after /echo 1 200 OK 5 5")
    assert server.get("/boom")[0] == 500
    server.wait_log("after /boom None 500 Internal Server Error 0 None")
    assert server.get("/refused-by-hook")[0] == 500
    server.wait_log("Hook failed: pre_request hook hooks_of_mine:before")


def test_the_access_log_has_gunicorns_atoms(start: Start) -> None:
    layout = '%(h)s "%(r)s" %(s)s %(B)s %({x-one}i)s %({x-two}o)s %(U)s?%(q)s %(m)s %(H)s'
    server = start(GUNICORN_ACCESSLOG="-", GUNICORN_ACCESS_LOG_FORMAT=layout)
    server.get("/echo?q=1", "POST", b"hello", **{"X-One": "1"})
    server.wait_log('127.0.0.1 "POST /echo?q=1 HTTP/1.1" 200 5 1 - /echo?q=1 POST HTTP/1.1')
    connection = Client(server.port, get("/gone"))
    connection.until(b"begun")
    connection.socket.close()
    server.wait_log('"GET /gone HTTP/1.1" 200 6')
