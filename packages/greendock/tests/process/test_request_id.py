"""The ``request-id`` worker classes: one id in the application, its records and the response."""

from __future__ import annotations

import http.client
import re
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from websockets.sync.client import connect

from tests.support import Server

Serve = Callable[..., Server]

WSGI = """
import logging, sys
from greendock.contrib import request_id
def app(environ, start_response):
    if environ["PATH_INFO"] == "/boom":
        raise ValueError("boom")
    logging.getLogger("shop").error("sold")
    start_response("200 OK", [("X-Request-ID", "the-application-s-own")])
    return [f"{environ['HTTP_X_REQUEST_ID']} {request_id.current()}".encode()]
"""
# The mixin on gthread: request-id is the one on lean.
ON_GTHREAD = """
from greendock.contrib.drain import DrainingThreadWorker
from greendock.contrib.request_id.threaded import RequestIdThreads
class Worker(RequestIdThreads, DrainingThreadWorker):
    pass
"""
ASGI = """
import asyncio, logging
from greendock.contrib import request_id
async def app(scope, receive, send):
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", "text": request_id.current()})
        return
    if scope["path"] == "/boom":
        raise ValueError("boom")
    await asyncio.sleep(0)
    logging.getLogger("shop").error("sold")
    given = [value.decode() for name, value in scope["headers"] if name == b"x-request-id"]
    body = f"{' and '.join(given)} {request_id.current()}".encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"X-Request-ID", b"own")]})
    await send({"type": "http.response.body", "body": body})
"""
# Log records show their id only if somebody asks: here, every handler's format does.
FORMAT = """
import logging
from gunicorn import glogging
class Logger(glogging.Logger):
    error_fmt = "%(name)s %(levelname)s id=%(request_id)s %(message)s"
    def setup(self, cfg):
        super().setup(cfg)
        logging.getLogger().handlers = self.error_log.handlers
        for log in (self.error_log, self.access_log):
            for handler in log.handlers:
                handler.setFormatter(logging.Formatter(self.error_fmt, defaults={"request_id": "none"}))
def look(worker, request):
    logging.getLogger("look").error("at %s", request.path)
"""


@pytest.fixture(params=["request-id", "on_gthread.Worker", "request-id-asgi"])
def server(request: pytest.FixtureRequest, serve: Serve, tmp_path: Path) -> Server:
    (tmp_path / "shown.py").write_text(FORMAT)
    (tmp_path / "on_gthread.py").write_text(ON_GTHREAD)
    return serve(
        ASGI if request.param == "request-id-asgi" else WSGI,
        GUNICORN_WORKER_CLASS=request.param,
        GUNICORN_ASGI_LIFESPAN="off",
        GUNICORN_LOGGER_CLASS="shown.Logger",
        GUNICORN_ACCESSLOG="-",
        GUNICORN_PRE_REQUEST="shown:look",
        PYTHONPATH=str(tmp_path),
        WEB_CONCURRENCY="1",
        # One thread, or what the one before left behind would seldom be seen.
        **({} if "asgi" in request.param else {"GUNICORN_THREADS": "1"}),
    )


def ask(server: Server, *ids: str, path: str = "/", connection: http.client.HTTPConnection | None = None) -> list[str]:
    """Return the response's ids and its body's words."""
    client = connection or http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    client.putrequest("GET", path)
    for text in ids:
        client.putheader("X-Request-ID", text)
    client.endheaders()
    response = client.getresponse()
    return [*(response.headers.get_all("X-Request-ID") or []), *response.read().decode().split()]


def test_the_proxys_id_is_in_the_application_its_context_and_the_response(server: Server) -> None:
    assert ask(server, "from.the-proxy_1") == ["from.the-proxy_1"] * 3


@pytest.mark.parametrize(
    "ids",
    [
        [],
        ["short"],
        ["x" * 129],
        ["has space in it"],
        ['quote"in-it'],
        ["-starts-with-hyphen"],
        ["twice-given-1", "twice-given-2"],
    ],
)
def test_an_id_that_is_missing_or_not_well_formed_is_replaced_everywhere(server: Server, ids: list[str]) -> None:
    answer = ask(server, *ids)
    assert len(set(answer)) == 1
    assert re.fullmatch(r"[0-9a-f]{32}", answer[0])


def test_every_record_of_a_request_carries_its_id_and_no_other(server: Server) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    ask(server, "first-request", connection=connection)
    ask(server, "second-request", path="/second", connection=connection)
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as client:
        client.sendall(b"no request\r\n\r\n")
        client.recv(100)
    ask(server, "failing-request", path="/boom")
    server.wait_log("id=failing-request", count=2)
    for name in ("first-request", "second-request"):
        assert f"shop ERROR id={name} sold" in server.log
        assert re.search(rf"gunicorn\.access INFO id={name} .*GET /", server.log)
    assert re.search(r"gunicorn\.error ERROR id=failing-request Error", server.log)
    assert "Booting worker" in server.log
    # Not the id of the request before.
    assert re.search(r"look ERROR id=(None|none|second-request) at /second", server.log)
    refused = [line for line in server.log.splitlines() if "Invalid request" in line]
    assert all("id=None" in line for line in refused)
    assert refused or "asgi" in server.environment["GUNICORN_WORKER_CLASS"]  # the ASGI worker logs none
    assert not re.search(r"id=(?!None|none).* Booting worker", server.log)


def test_concurrent_requests_do_not_mix_their_ids(server: Server) -> None:
    answers: dict[str, list[str]] = {}

    def client(number: int) -> None:
        for turn in range(20):
            name = f"client-{number}-{turn}"
            answers[name] = ask(server, name)

    clients = [threading.Thread(target=client, args=(number,)) for number in range(6)]
    for thread in clients:
        thread.start()
    for thread in clients:
        thread.join()
    assert len(answers) == 120
    assert all(answer == [name] * 3 for name, answer in answers.items())


def test_a_websocket_has_an_id_too(serve: Serve) -> None:
    server = serve(ASGI, GUNICORN_WORKER_CLASS="request-id-asgi", GUNICORN_ASGI_LIFESPAN="off", WEB_CONCURRENCY="1")
    with connect(f"ws://127.0.0.1:{server.port}/", additional_headers={"X-Request-ID": "the-websocket"}) as client:
        assert client.recv() == "the-websocket"
        assert client.response is not None
        assert client.response.headers["X-Request-ID"] == "the-websocket"
