"""How the ``asgi`` worker ends: everything under way gets an orderly end."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from tests.process.asgi.client import Client, get, post
from tests.support import Server, wait_for

Start = Callable[..., Server]


def test_a_request_under_way_is_answered_and_the_lifespan_ends_after_it(start: Start) -> None:
    server = start()
    client = Client(server.port, post("/wait", b"body"))
    wait_for((server.folder / "arrived").exists, "the request is being handled")
    server.signal(signal.SIGTERM)
    server.wait_log("Handling signal: term")
    (server.folder / "go").touch()
    status, headers, _ = client.reply()
    assert (status, headers["Connection"]) == (200, "close")
    assert server.wait_exit() == 0
    assert server.log.index("request ends") < server.log.index("shutdown begins")


def test_a_late_request_on_a_kept_connection_is_answered_with_connection_close(start: Start) -> None:
    server = start()
    busy = Client(server.port, get("/wait"))
    wait_for((server.folder / "arrived").exists, "the request is being handled")
    kept = Client(server.port, get("/"))
    assert kept.reply()[1]["Connection"] is None
    server.signal(signal.SIGTERM)
    refused(server)
    kept.send(post("/echo", b"late"))
    status, headers, body = kept.reply()
    assert (status, headers["Connection"], body) == (200, "close", b"late")
    assert kept.rest() == b""
    (server.folder / "go").touch()
    assert busy.reply()[0] == 200
    assert server.wait_exit() == 0


def refused(server: Server) -> None:
    def is_refused() -> bool:
        try:
            Client(server.port).socket.close()
        except ConnectionRefusedError:
            return True
        return False

    wait_for(is_refused, "new connections are refused")


def test_idle_connections_do_not_hold_the_worker_until_graceful_timeout(start: Start) -> None:
    server = start(GUNICORN_GRACEFUL_TIMEOUT="36")
    kept = [Client(server.port, get("/")) for _ in range(3)]
    for client in kept:
        client.reply()
    silent = Client(server.port)
    server.signal(signal.SIGTERM)
    assert server.wait_exit() == 0
    assert [client.rest() for client in (*kept, silent)] == [b""] * 4


@pytest.mark.parametrize("by", ["term", "hup"])
def test_a_websocket_is_closed_with_1012(start: Start, by: str) -> None:
    server = start(GUNICORN_GRACEFUL_TIMEOUT="36")
    with connect(f"ws://127.0.0.1:{server.port}/ws") as socket:
        socket.send("hello")
        assert socket.recv() == "hello"
        before = set(server.workers())
        server.signal(signal.SIGTERM if by == "term" else signal.SIGHUP)
        with pytest.raises(ConnectionClosed) as closed:
            socket.recv(timeout=30)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1012
    server.wait_log("websocket ended with 1012")
    if by == "term":
        assert server.wait_exit() == 0
    else:
        wait_for(lambda: not before & set(server.workers()), "the old worker is gone")
    assert "Traceback" not in server.log


def test_a_handshake_under_way_at_a_stop_is_finished_and_then_closed_with_1012(start: Start) -> None:
    server = start()
    handshake = get(
        "/slow-accept",
        *("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"),
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    )
    client = Client(server.port, handshake)
    wait_for((server.folder / "arrived").exists, "the handshake is being handled")
    server.signal(signal.SIGTERM)
    refused(server)
    (server.folder / "go").touch()
    answer = client.until(b"\x88\x02\x03\xf4")  # a close frame with 1012
    assert answer.startswith(b"HTTP/1.1 101 ")
    client.socket.close()
    assert server.wait_exit() == 0


def test_an_event_stream_ends_in_order_after_a_whole_event(start: Start) -> None:
    server = start(GUNICORN_GRACEFUL_TIMEOUT="36")
    client = Client(server.port, get("/events"))
    client.until(b"data: 1")
    server.signal(signal.SIGTERM)
    rest = client.rest()
    assert rest.endswith(b"\n\r\n0\r\n\r\n"), rest
    assert server.wait_exit() == 0
    server.wait_log("events end in")
    assert "Traceback" not in server.log


def test_an_event_stream_that_waits_for_its_next_event_ends_too(start: Start) -> None:
    server = start(GUNICORN_GRACEFUL_TIMEOUT="36")
    client = Client(server.port, get("/one-event"))
    begun = client.until(b"data: 0\n\n")
    server.signal(signal.SIGTERM)
    assert (begun + client.rest()).endswith(b"\n\n\r\n0\r\n\r\n")


def test_an_event_stream_of_a_framework_ends_too(serve: Callable[..., Server]) -> None:
    source = """
import asyncio
from starlette.applications import Starlette
from starlette.responses import StreamingResponse
from starlette.routing import Route
async def ticks():
    while True:
        yield "data: tick\\n\\n"
        await asyncio.sleep(0.02)
async def events(request):
    return StreamingResponse(ticks(), media_type="text/event-stream")
app = Starlette(routes=[Route("/", events)])
"""
    server = serve(source, GUNICORN_WORKER_CLASS="asgi", GUNICORN_GRACEFUL_TIMEOUT="36")
    client = Client(server.port, get("/"))
    begun = client.until(b"tick")
    server.signal(signal.SIGTERM)
    assert (begun + client.rest()).endswith(b"\n\n\r\n0\r\n\r\n")
    assert server.wait_exit() == 0
    assert "Traceback" not in server.log


def test_a_background_task_of_an_answered_request_is_finished(start: Start) -> None:
    server = start()
    assert server.get("/background")[0] == 200
    server.signal(signal.SIGTERM)
    assert server.wait_exit() == 0
    assert server.log.index("background task done") < server.log.index("shutdown begins")


def test_a_request_that_never_ends_is_cut_off_and_the_lifespan_still_ends(start: Start) -> None:
    server = start(GUNICORN_GRACEFUL_TIMEOUT="2")
    client = Client(server.port, get("/forever"))
    wait_for((server.folder / "arrived").exists, "the request is being handled")
    server.signal(signal.SIGTERM)
    assert server.wait_exit() == 0
    assert client.rest().startswith(b"HTTP/1.1 500 ")
    assert "Not answered within graceful_timeout: GET /forever" in server.log
    assert "shutdown begins" in server.log


def test_a_lifespan_that_never_ends_is_left(start: Start) -> None:
    server = start(LIFESPAN="stays", GUNICORN_GRACEFUL_TIMEOUT="2")
    server.signal(signal.SIGTERM)
    assert server.wait_exit() == 0
    assert "lifespan.shutdown did not end within graceful_timeout; it waits in " in server.log


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGQUIT])
def test_int_and_quit_stop_at_once(start: Start, number: signal.Signals) -> None:
    server = start(GUNICORN_GRACEFUL_TIMEOUT="36")
    Client(server.port, get("/wait"))
    wait_for((server.folder / "arrived").exists, "the request is being handled")
    server.signal(number)
    assert server.wait_exit() == 0
    assert "request ends" not in server.log


def test_a_worker_whose_parent_is_gone_stops(start: Start) -> None:
    server = start()
    (worker,) = server.workers()
    os.kill(server.pid, signal.SIGKILL)
    server.wait_exit()
    wait_for(lambda: not Path(f"/proc/{worker}").exists(), "the worker has ended")
    assert "shutdown begins" in server.log


def test_max_requests_replaces_the_worker_after_its_requests(start: Start) -> None:
    server = start(GUNICORN_MAX_REQUESTS="3")
    before = set(server.workers())
    client = Client(server.port)
    answers = []
    for _ in range(3):
        client.send(post("/echo", b"x"))
        answers.append(client.reply()[1]["Connection"])
    assert answers == [None, None, "close"]
    wait_for(lambda: server.workers() and not before & set(server.workers()), "a new worker")
    assert "Autorestarting worker after current request" in server.log
    assert "shutdown begins" in server.log
