"""WebSockets on the ``asgi`` worker."""

from __future__ import annotations

import json
import os
import threading
import urllib.request
from collections.abc import Callable

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from greendock.contrib.asgi.websocket import SEAMS, WebSocketsSansIOProtocol
from tests.process.asgi.client import Client, get
from tests.support import Server, free_port, wait_for

Start = Callable[..., Server]


def test_uvicorn_has_the_seams() -> None:
    assert [name for name in SEAMS if not callable(getattr(WebSocketsSansIOProtocol, name, None))] == []


def test_messages_go_both_ways_and_the_application_learns_of_the_end(start: Start) -> None:
    server = start()
    with connect(f"ws://127.0.0.1:{server.port}/ws", subprotocols=["chat"]) as socket:  # type: ignore[list-item]
        assert socket.subprotocol == "chat"
        for message in ("hello", b"\x00\xff", "ä" * 100_000, os.urandom(500_000)):
            socket.send(message)
            assert socket.recv() == message
    server.wait_log("websocket ended with 1000")


def test_the_scope_has_the_client_the_scheme_and_the_lifespans_state(start: Start) -> None:
    server = start(GUNICORN_ROOT_PATH="/mounted")
    headers = {"X-Forwarded-For": "203.0.113.7", "X-Forwarded-Proto": "https", "X-Custom": "mine"}
    with connect(f"ws://127.0.0.1:{server.port}/scope?x=1", additional_headers=headers) as socket:
        seen = json.loads(socket.recv())
    assert seen.pop("asgi")["version"] == "3.0"
    assert seen == {
        "type": "websocket",
        "http_version": "1.1",
        "server": ["127.0.0.1", server.port],
        "client": ["203.0.113.7", 0],
        "scheme": "wss",
        "path": "/scope",
        "raw_path": "/scope",
        "root_path": "/mounted",
        "query_string": "x=1",
        "subprotocols": [],
        "state": {"pool": "a pool"},
        "custom": "mine",
    }


def test_a_handshake_the_application_refuses_is_a_403(start: Start) -> None:
    server = start()
    with pytest.raises(InvalidStatus) as refused:
        connect(f"ws://127.0.0.1:{server.port}/refused")
    assert refused.value.response.status_code == 403


def test_a_handshake_without_a_key_is_refused(start: Start) -> None:
    server = start()
    client = Client(server.port, get("/ws", "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"))
    assert client.reply()[0] == 400


def test_a_message_longer_than_the_setting_is_refused_with_1009(start: Start) -> None:
    server = start(GUNICORN_WEBSOCKET_MAX_MESSAGE_SIZE="1000")
    with connect(f"ws://127.0.0.1:{server.port}/ws") as socket:
        socket.send("x" * 1001)
        with pytest.raises(ConnectionClosed) as closed:
            socket.recv(timeout=30)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1009


HANDSHAKE = get(
    "/ws",
    *("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"),
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
)


def test_a_flood_of_pings_blocks_nobody_else(start: Start) -> None:
    server = start(GUNICORN_TIMEOUT="1")
    before = server.workers()
    client = Client(server.port, HANDSHAKE)
    client.until(b"\r\n\r\n")
    count = 500_000
    flood = threading.Thread(target=client.send, args=(b"\x89\x80\0\0\0\0" * count,))
    flood.start()
    answers = 0
    while answers < 2 * count:  # without the masks, a pong is two bytes
        answers += len(client.socket.recv(65536))
    flood.join()
    assert server.get()[0] == 200
    assert server.workers() == before
    assert "was blocked" not in server.log


def test_a_client_that_pings_and_never_reads_is_read_no_further(start: Start) -> None:
    server = start()
    client = Client(server.port, HANDSHAKE)
    client.until(b"\r\n\r\n")
    client.socket.settimeout(1)
    pings = (b"\x89\xfd\0\0\0\0" + b"x" * 125) * 8000
    with pytest.raises(TimeoutError):
        client.send(pings * 64)  # more than the buffers of both sides hold
    assert server.get()[0] == 200
    client.socket.settimeout(30)
    assert client.socket.recv(2) == b"\x8a\x7d"


def test_an_upgrade_to_something_else_is_an_ordinary_request(start: Start) -> None:
    server = start()
    assert Client(server.port, get("/", "Connection: Upgrade", "Upgrade: h2c")).reply()[0] == 200


def test_hooks_and_the_access_log_know_of_a_websocket_when_it_has_ended(start: Start) -> None:
    server = start(GUNICORN_ACCESSLOG="-")
    with connect(f"ws://127.0.0.1:{server.port}/ws?a=1") as socket:
        socket.send("x")
        socket.recv()
        assert "GET /ws" not in server.log
    server.wait_log('"GET /ws?a=1 HTTP/1.1" 101 ')


def test_open_websockets_are_counted(start: Start) -> None:
    address = f"127.0.0.1:{free_port()}"
    server = start(GREENDOCK_PLUGINS="metrics", GREENDOCK_METRICS_BIND=address)

    def open_now(count: int) -> bool:
        try:
            with urllib.request.urlopen(f"http://{address}/metrics", timeout=30) as answer:
                return f"gunicorn_websockets_open {count}.0" in answer.read().decode()
        except OSError:
            return False

    with connect(f"ws://127.0.0.1:{server.port}/ws"):
        wait_for(lambda: open_now(1), "one open WebSocket")
    wait_for(lambda: open_now(0), "no open WebSocket")
