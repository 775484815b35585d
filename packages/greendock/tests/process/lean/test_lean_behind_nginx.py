"""lean behind the template's own Nginx: whatever a browser or a client does there, both sides stay in step."""

from __future__ import annotations

import hashlib
import http.client
import os
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import websockets.sync.client

from tests.process.proxy.conftest import APPLICATION, gunicorn
from tests.process.proxy.support import Proxy, Record, background
from tests.support import DEADLINE, local_nginx

MIB = os.urandom(1 << 20)
SHA = hashlib.sha256(MIB).hexdigest()

# What flask-sock and simple-websocket do under Gunicorn: take the socket, speak for themselves, and leave by
# StopIteration. wsproto keeps the protocol.
WEBSOCKET = (
    APPLICATION
    + """

import wsproto, wsproto.events

http_app = app

def app(environ, start_response):
    if environ["PATH_INFO"] == "/port":
        port = str(environ["gunicorn.socket"].getpeername()[1])  # Nginx's; REMOTE_PORT is the client's
        start_response("200 OK", [("Content-Length", str(len(port)))])
        return [port.encode()]
    if environ["PATH_INFO"] != "/ws":
        return http_app(environ, start_response)
    sock = environ["gunicorn.socket"]
    connection = wsproto.WSConnection(wsproto.ConnectionType.SERVER)
    fields = [(name[5:].replace("_", "-").lower().encode(), value.encode())
              for name, value in environ.items() if name.startswith("HTTP_")]
    connection.initiate_upgrade_connection(fields, environ["RAW_URI"])
    while connection.state.name != "CLOSED":
        for event in connection.events():
            if isinstance(event, wsproto.events.Request):
                sock.sendall(connection.send(wsproto.events.AcceptConnection()))
            elif isinstance(event, wsproto.events.Message):
                sock.sendall(connection.send(event))
            elif isinstance(event, wsproto.events.CloseConnection):
                sock.sendall(connection.send(event.response()))
        if connection.state.name != "CLOSED":
            connection.receive_data(sock.recv(65536) or None)
    raise StopIteration()
"""
)


@pytest.fixture(scope="module")
def site() -> Iterator[SimpleNamespace]:
    """One lean worker with two threads, behind an Nginx that buffers uploads and one that does not."""
    with tempfile.TemporaryDirectory(prefix="lean-") as name:
        folder = Path(name)
        (folder / "record").mkdir()
        server = gunicorn(
            folder / "app", folder / "record", GUNICORN_WORKER_CLASS="lean", GUNICORN_THREADS="2", GUNICORN_TIMEOUT="20"
        )
        server.write_app(WEBSOCKET)
        proxies = {
            buffering: Proxy(
                folder / f"proxy-{buffering}",
                local_nginx(),
                UPSTREAM=f"127.0.0.1:{server.port}",
                PROXY_REQUEST_BUFFERING=buffering,
            )
            for buffering in ("on", "off")
        }
        try:
            for proxy in proxies.values():
                (proxy.folder / "static" / "file.txt").write_bytes(b"0123456789")
                proxy.start()
            server.wait_ready()
            yield SimpleNamespace(server=server, on=proxies["on"], off=proxies["off"], record=Record(folder / "record"))
            assert "Traceback" not in server.log
        finally:
            for proxy in proxies.values():
                proxy.close()
            server.close()


@pytest.fixture(params=["on", "off"])
def proxy(request: pytest.FixtureRequest, site: SimpleNamespace) -> Proxy:
    """Each of the two, by whether it buffers what is uploaded."""
    return getattr(site, request.param)


def test_a_get_carries_the_proxys_headers(site: SimpleNamespace) -> None:
    answer = site.on.get("/a%20b?c=d", headers={"X-Request-ID": "from-the-client"})
    seen = answer.json()
    assert answer.status_code == 200
    assert (seen["path"], seen["uri"], seen["headers"]["X-Request-Id"]) == ("/a b", "/a%20b?c=d", "from-the-client")
    assert answer.headers["X-Request-ID"] == "from-the-client"


def test_nginx_keeps_its_connections(site: SimpleNamespace) -> None:
    assert len({site.on.get("/port").text for _ in range(20)}) < 10  # one for each of Nginx's workers


def test_uploads_arrive_whole_with_a_length_and_in_chunks(proxy: Proxy) -> None:
    def chunks() -> Iterator[bytes]:
        for start in range(0, len(MIB), 100_000):
            yield MIB[start : start + 100_000]

    for content in (MIB, chunks()):
        seen = proxy.request("POST", "/upload", content=content).json()
        assert (seen["length"], seen["sha256"]) == (len(MIB), SHA)


def test_an_upload_the_application_does_not_read_is_answered(proxy: Proxy) -> None:
    for content in (b"x" * 100, MIB, b"x" * 1000, MIB):
        assert proxy.request("POST", "/unread", content=content).text == "ok"
        assert proxy.get("/").status_code == 200


def test_a_client_that_waits_for_100_continue_gets_it(proxy: Proxy) -> None:
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=DEADLINE) as client:
        client.sendall(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n")
        received = b""
        while b"100 Continue\r\n\r\n" not in received:
            more = client.recv(1000)
            assert more, received
            received += more
        client.sendall(b"ok")
        response = http.client.HTTPResponse(client)
        response.begin()
        assert (response.status, b'"length": 2' in response.read()) == (200, True)


@pytest.mark.parametrize(
    ("method", "target", "status", "length"),
    [
        ("HEAD", "/", 200, None),
        ("HEAD", "/big?bytes=6553600", 200, 6553600),
        ("GET", "/?status=204+No+Content", 204, None),
        ("GET", "/?status=304+Not+Modified&!ETag=%22a%22", 304, None),
        ("DELETE", "/?status=404+Not+Found", 404, None),
        ("GET", "/?status=500+Broken", 500, None),
    ],
)
def test_an_answer_without_a_body_or_with_an_error_leaves_the_connection_in_step(
    proxy: Proxy, method: str, target: str, status: int, length: int | None
) -> None:
    for _ in range(3):  # Nginx asks again on the same connection: what was left on it would be the next answer
        answer = proxy.request(method, target)
        assert answer.status_code == status
        if method == "HEAD" or status in (204, 304):
            assert answer.content == b""
        if length:
            assert int(answer.headers["Content-Length"]) == length
        assert proxy.get("/next").json()["path"] == "/next"


def test_static_files_and_parts_of_them_do_not_reach_it(site: SimpleNamespace) -> None:
    answer = site.on.get("/static/file.txt", headers={"Range": "bytes=2-4"})
    assert (answer.status_code, answer.content, answer.headers["Content-Range"]) == (206, b"234", "bytes 2-4/10")
    assert site.record.count("/static/file.txt") == 0


def test_text_is_compressed_for_whoever_takes_it(site: SimpleNamespace) -> None:
    plain, packed = (
        site.on.get("/?padding=5000", headers={"Accept-Encoding": coding}) for coding in ("identity", "gzip")
    )
    assert "Content-Encoding" not in plain.headers
    assert packed.headers["Content-Encoding"] == "gzip"
    assert packed.json()["padding"] == plain.json()["padding"]


def test_a_large_response_arrives_whole(proxy: Proxy) -> None:
    assert proxy.get("/big?bytes=33554432").content == b"x" * 33554432


def test_events_arrive_one_by_one(site: SimpleNamespace) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", site.on.port, timeout=DEADLINE)
    connection.request("GET", "/sse?gate=second")
    response = connection.getresponse()
    assert response.read1(100).strip() == b"data: one"
    site.record.open("second")
    assert response.read().strip() == b"data: two"


def test_clients_that_go_away_during_a_response_free_their_threads(site: SimpleNamespace) -> None:
    for number in range(4):  # twice as many as threads
        with socket.create_connection(("127.0.0.1", site.on.port), timeout=DEADLINE) as client:
            client.sendall(f"GET /big?bytes=4294967296&n={number} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            assert client.recv(1000).startswith(b"HTTP/1.1 200")
    assert site.on.get("/").status_code == 200


def test_clients_that_go_away_during_an_upload_free_their_threads(proxy: Proxy) -> None:
    for _ in range(4):
        with socket.create_connection(("127.0.0.1", proxy.port), timeout=DEADLINE) as client:
            client.sendall(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 100_000)
    assert proxy.get("/").status_code == 200


def test_a_request_that_takes_its_time_does_not_hold_up_the_others(site: SimpleNamespace) -> None:
    with background(site.on.get, "/hold?gate=long") as answers:
        site.record.wait_held("long")
        assert all(site.on.get("/").status_code == 200 for _ in range(20))
        site.record.open("long")
    assert answers[0].status_code == 200


def test_a_websocket_of_an_application_that_takes_the_socket_carries_messages_both_ways(proxy: Proxy) -> None:
    with websockets.sync.client.connect(f"ws://127.0.0.1:{proxy.port}/ws", compression=None) as client:
        for message in ("one", b"\0" * 100_000, "three"):
            client.send(message)
            assert client.recv(DEADLINE) == message
    assert proxy.get("/").status_code == 200
