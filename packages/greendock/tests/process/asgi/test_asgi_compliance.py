"""The cases of the ASGI compliance suite in Gunicorn's repository (tests/docker/asgi_compliance), as far as no other
test here has them. Left out: those of TLS and HTTP/2, which are Nginx's, and those of their own application only. What
the suite itself says of this worker behind our Nginx is in docs/measurements.md.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import httpx
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from tests.process.asgi.conftest import SOURCE
from tests.process.proxy.support import Proxy
from tests.support import Server, local_nginx, serving


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    settings = {"GUNICORN_WORKER_CLASS": "asgi", "WEB_CONCURRENCY": "2"}
    with serving(tmp_path_factory.mktemp("compliance"), SOURCE, **settings) as server:
        yield server


@pytest.fixture(scope="module", params=["directly", "through Nginx"])
def site(request: pytest.FixtureRequest, server: Server) -> Iterator[httpx.Client]:
    """A client of the server, or of Nginx in front of it."""
    if request.param == "directly":
        with httpx.Client(base_url=f"http://127.0.0.1:{server.port}", timeout=30) as client:
            yield client
        return
    proxy = Proxy(server.folder / "proxy", local_nginx(), UPSTREAM=f"127.0.0.1:{server.port}")
    try:
        proxy.start()
        with httpx.Client(base_url=proxy.url, timeout=30) as client:
            yield client
    finally:
        proxy.close()


def websocket_url(site: httpx.Client, path: str) -> str:
    return str(site.base_url).rstrip("/").replace("http", "ws", 1) + path


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_methods(site: httpx.Client, method: str) -> None:
    assert site.request(method, "/scope").json()["method"] == method


def test_head_has_no_body(site: httpx.Client) -> None:
    answer = site.head("/unread")
    assert (answer.status_code, answer.content) == (200, b"")


@pytest.mark.parametrize(
    "status", [200, 201, 202, 204, 301, 302, 303, 304, 307, 308, 400, 401, 403, 404, 405, 418, 422, 500, 501, 502, 503]
)
def test_statuses(site: httpx.Client, status: int) -> None:
    answer = site.get(f"/status?{status}")
    assert answer.status_code == status
    if 300 < status < 400:
        assert answer.headers["Location"].endswith("/elsewhere")


@pytest.mark.parametrize("size", [0, 1, 65535, 65536, 65537, 1024 * 1024])
def test_bodies_are_echoed(site: httpx.Client, size: int) -> None:
    body = os.urandom(size)
    assert site.post("/echo", content=body).content == body


def test_a_body_of_unknown_length_is_echoed(site: httpx.Client) -> None:
    assert site.post("/echo", content=iter([b"a" * 70_000, b"b" * 70_000])).content == b"a" * 70_000 + b"b" * 70_000


def test_cookies_come_and_several_go(site: httpx.Client) -> None:
    answer = httpx.get(str(site.base_url).rstrip("/") + "/cookies", headers={"Cookie": "session=1; theme=dark"})
    assert answer.text == "session=1; theme=dark"
    assert answer.headers.get_list("set-cookie") == ["a=1", "b=2; Path=/"]


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        ("/a?name=test", "/a", "name=test"),
        ("/a?a=1&b=2&a=3", "/a", "a=1&b=2&a=3"),
        ("/a?name=hello%20world", "/a", "name=hello%20world"),
        ("/%E4%B8%96/x", "/世/x", ""),
        ("/a%2Fb", "/a/b", ""),
    ],
)
def test_paths_are_decoded_and_queries_are_not(server: Server, target: str, path: str, query: str) -> None:
    seen = json.loads(server.get(target)[1])
    assert (seen["path"], seen["query_string"], seen["raw_path"]) == (path, query, target.partition("?")[0])


def test_a_large_response_arrives_whole(site: httpx.Client) -> None:
    assert len(site.get("/large").content) == 64 * 1024 * 1024


@pytest.mark.parametrize("sizes", [(1,), (100, 500, 200), (65536,) * 16])
def test_streams_of_any_pieces_arrive_whole(site: httpx.Client, sizes: tuple[int, ...]) -> None:
    answer = site.get("/sizes?" + ",".join(map(str, sizes)))
    assert answer.content == b"x" * sum(sizes)
    assert "Content-Length" not in answer.headers


def test_a_body_is_answered_while_it_arrives(site: httpx.Client) -> None:
    body = os.urandom(300_000)
    assert site.post("/echo-stream", content=body).content == body


def test_events_have_the_form_of_server_sent_events(site: httpx.Client) -> None:
    answer = site.get("/ticks?5")
    assert answer.headers["Content-Type"].startswith("text/event-stream")
    assert answer.text == "".join(f"id: {number}\nevent: message\ndata: {{}}\n\n" for number in range(5))


def test_each_request_has_a_copy_of_the_lifespans_state(site: httpx.Client) -> None:
    assert [site.get("/changes-state").json() for _ in range(5)] == [["pool"]] * 5


def test_an_error_leaves_the_server_serving(site: httpx.Client) -> None:
    assert [site.get(path).status_code for path in ("/boom", "/unread", "/boom", "/unread")] == [500, 200, 500, 200]


def test_many_requests_at_once(site: httpx.Client) -> None:
    bodies = [os.urandom(1000) for _ in range(100)]
    with ThreadPoolExecutor(20) as pool:
        assert list(pool.map(lambda body: site.post("/echo", content=body).content, bodies)) == bodies


def test_requests_streams_errors_and_websockets_at_once(site: httpx.Client) -> None:
    def echoes(number: int) -> bool:
        with connect(websocket_url(site, "/ws")) as socket:
            socket.send(str(number))
            return socket.recv(timeout=30) == str(number)

    def one(number: int) -> bool:
        path, status = [("/unread", 200), ("/stream", 200), ("/status?500", 500), ("/status?404", 404)][number % 4]
        return site.get(path).status_code == status

    with ThreadPoolExecutor(20) as pool:
        assert all(pool.map(lambda number: echoes(number) if number % 5 == 0 else one(number), range(100)))


@pytest.mark.parametrize("message", ["", "Hello, 世界! 😀", b"", bytes(range(256)) * 100, "x" * 65536])
def test_websocket_messages_are_echoed(site: httpx.Client, message: str | bytes) -> None:
    with connect(websocket_url(site, "/ws")) as socket:
        socket.send(message)
        assert socket.recv(timeout=30) == message


def test_a_hundred_messages_sent_at_once_come_back_in_order(site: httpx.Client) -> None:
    with connect(websocket_url(site, "/ws")) as socket:
        for number in range(100):
            socket.send(f"message {number}")
        assert [socket.recv(timeout=30) for _ in range(100)] == [f"message {number}" for number in range(100)]


def test_a_message_in_fragments_is_one_message(site: httpx.Client) -> None:
    with connect(websocket_url(site, "/ws")) as socket:
        socket.send(["one, ", "two, ", "three"])
        assert socket.recv(timeout=30) == "one, two, three"


def test_a_ping_is_answered(site: httpx.Client) -> None:
    with connect(websocket_url(site, "/ws")) as socket:
        assert socket.ping().wait(30)


@pytest.mark.parametrize("offered", [["json"], ["wamp", "json"], None])
def test_subprotocols(site: httpx.Client, offered: list[str] | None) -> None:
    with connect(websocket_url(site, "/ws"), subprotocols=offered) as socket:  # type: ignore[arg-type]
        assert socket.subprotocol == (offered[0] if offered else None)


@pytest.mark.parametrize(("code", "reason"), [(1000, ""), (1001, ""), (1002, ""), (1000, "goodbye"), (4001, "own")])
def test_close_codes_and_reasons(site: httpx.Client, code: int, reason: str) -> None:
    with connect(websocket_url(site, f"/close?{code}&{reason}")) as socket, pytest.raises(ConnectionClosed) as closed:
        socket.recv(timeout=30)
    assert closed.value.rcvd is not None
    assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (code, reason)


def test_fifty_websockets_at_once(site: httpx.Client) -> None:
    with ExitStack() as stack:
        sockets = [stack.enter_context(connect(websocket_url(site, "/ws"))) for _ in range(50)]
        for number, socket in enumerate(sockets):
            socket.send(str(number))
        assert [socket.recv(timeout=30) for socket in sockets] == [str(number) for number in range(50)]
