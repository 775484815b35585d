"""The ``json-logs`` logger: one object a line, whatever a client sends."""

from __future__ import annotations

import http.client
import json
import signal
import socket
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote

import pytest

from tests import ecs
from tests.support import Server, wait_for

Serve = Callable[..., Server]

FLASK = """
import logging
from flask import Flask, request
app = Flask(__name__)
@app.get("/boom/<path:text>")
def boom(text):
    raise ValueError(text)
@app.route("/", defaults={"text": ""}, methods=["GET", "POST", "BREW"])
@app.route("/<path:text>")
def any(text):
    logging.getLogger("shop").warning("asked for %s by %s", text, request.headers.get("User-Agent"))
    return "ok"
"""
ASGI = """
async def app(scope, receive, send):
    await send({"type": "http.response.start", "status": 201, "headers": []})
    await send({"type": "http.response.body", "body": b"hello"})
"""
FORGED = '{"@timestamp":"2026-01-01T00:00:00Z","message":"forged","event":{"dataset":"gunicorn.access"}}'


def start(serve: Serve, source: str = FLASK, **environment: str) -> Server:
    settings = {"GUNICORN_LOGGER_CLASS": "json-logs", "GUNICORN_ACCESSLOG": "-", "WEB_CONCURRENCY": "1"}
    return serve(source, **(settings | environment))


def records(server: Server) -> list[dict[str, Any]]:
    """Parse every line of both logs, each of which Elasticsearch must take."""
    parsed = [json.loads(line) for line in server.log.split("\n") if line]
    assert [fault for record in parsed for fault in ecs.faults(record)] == []
    return parsed


def access(server: Server, count: int) -> list[dict[str, Any]]:
    def found() -> list[dict[str, Any]]:
        return [record for record in records(server) if record["event"]["dataset"] == "gunicorn.access"]

    wait_for(lambda: len(found()) >= count, f"{count} lines of access log")
    return found()


def test_the_access_log_has_the_schemas_fields(serve: Serve) -> None:
    server = start(serve)
    headers = {"User-Agent": "tester", "Referer": "http://x/", "X-Request-ID": "from-the-proxy"}
    assert server.get("/a?b=c", **headers)[0] == 200
    (record,) = access(server, 1)
    assert record["message"] == "GET /a?b=c 200"
    assert record["http"]["request"] == {"method": "GET", "id": "from-the-proxy", "referrer": "http://x/"}
    assert record["http"]["response"] == {"status_code": 200, "body": {"bytes": 2}}
    assert record["http"]["version"] == "1.1"
    assert record["url"] == {"original": "/a?b=c", "scheme": "http"}
    assert record["source"] == {"ip": "127.0.0.1"}
    assert record["user_agent"] == {"original": "tester"}
    assert record["event"]["duration"] > 0
    assert record["log.level"] == "info"
    assert record["ecs.version"]


def test_an_asgi_workers_access_log_has_them_too(serve: Serve) -> None:
    server = start(serve, ASGI, GUNICORN_WORKER_CLASS="request-id-asgi", GUNICORN_ASGI_LIFESPAN="off")
    server.get("/a", **{"X-Request-ID": "not well-formed"})
    (record,) = access(server, 1)
    assert record["http"]["response"] == {"status_code": 201, "body": {"bytes": 5}}
    assert len(record["http"]["request"]["id"]) == 32


def test_every_record_of_a_request_has_its_id(serve: Serve) -> None:
    server = start(serve, GUNICORN_WORKER_CLASS="request-id")
    server.get("/boom/now", **{"X-Request-ID": "the-failing-one"})
    access(server, 1)
    mine = [r for r in records(server) if r.get("http", {}).get("request", {}).get("id") == "the-failing-one"]
    assert sorted(r["event"]["dataset"] for r in mine) == ["application", "gunicorn.access"]
    (failure,) = [r for r in mine if "error" in r]
    assert failure["error"]["type"] == "ValueError"
    assert "in boom" in failure["error"]["stack_trace"]


def test_health_checks_are_left_out(serve: Serve) -> None:
    server = start(serve, GREENDOCK_HEALTH_PATH="/am-i-well?really=1")
    server.health()
    for path in ("/healthz", "/livez", "/readyz", "/am-i-well", "/shown"):
        server.get(path)
    assert [record["url"]["original"] for record in access(server, 1)] == ["/shown"]


NASTY = [
    f"/x%0A{FORGED.replace(' ', '%20')}%0A",
    "/%22,%22message%22:%22forged",
    "/%0d%0a%00%1b[31m%c2%85%e2%80%a8%e2%80%a9%ff%fe%ed%a0%80",
    f"/boom/%0A{FORGED.replace(' ', '%20')}",
    "/%25s%25d%(message)s{0}",
]


@pytest.mark.parametrize("worker_class", ["sync", "gthread", "lean", "request-id"])
def test_nothing_a_client_sends_forges_a_line(serve: Serve, worker_class: str) -> None:
    server = start(serve, GUNICORN_WORKER_CLASS=worker_class)
    for target in NASTY:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
        connection.putrequest("GET", target)
        connection.putheader("User-Agent", FORGED.encode() + b'\xff\xc2\x85\t"\\')
        connection.putheader("X-Request-ID", FORGED)
        connection.putheader("Referer", '","message":"forged')
        connection.endheaders()
        connection.getresponse().read()
    for raw in (
        b"GET / HTTP/1.1\r\nHost: x\r\nBad\x01Header: " + FORGED.encode() + b"\r\n\r\n",
        b"GET /\x0b" + FORGED.replace(" ", "").encode() + b" HTTP/1.1\r\n\r\n",
        FORGED.encode() + b"\r\n\r\n",
        b"\x16\x03\x01\n" + FORGED.encode() + b"\n\n\r\n\r\n",
    ):
        with socket.create_connection(("127.0.0.1", server.port), timeout=30) as client:
            client.sendall(raw)
            client.shutdown(socket.SHUT_WR)
            while client.recv(4096):
                pass
    found = access(server, len(NASTY))
    assert {r["url"]["original"] for r in found} >= set(NASTY)
    for record in records(server):
        assert record["message"] != "forged"
        assert record["process"]["pid"]
        assert FORGED not in str(record.get("http", {}).get("request", {}).get("id"))
    assert all("\r" not in line and "\x1b" not in line and line.isascii() for line in server.log.split("\n"))
    assert any(unquote(FORGED) in record["message"] for record in records(server))  # the test did reach the log


def test_a_reload_neither_doubles_lines_nor_loses_the_format(serve: Serve) -> None:
    server = start(serve)
    before = server.workers()
    server.get("/before")
    (server.folder / ".env").write_text("LOG_LEVEL=error\n")
    server.signal(signal.SIGHUP)
    wait_for(lambda: not set(before) & set(server.workers()), "new workers")
    server.wait_ready()
    server.get("/after")
    server.get("/boom/after")
    access(server, 3)
    messages = [record["message"] for record in records(server)]
    assert messages.count("GET /after 200") == messages.count("GET /boom/after 500") == 1
    assert len([text for text in messages if text.startswith("asked for before")]) == 1
    assert len([text for text in messages if text.startswith("asked for after")]) == 0  # a warning: below the new level
    assert len([text for text in messages if text.startswith("Exception on /boom/after")]) == 1


def test_a_failing_hook_is_named_in_the_record_of_the_request_it_refused(serve: Serve) -> None:
    source = FLASK + "\ndef guard(worker, request):\n    raise PermissionError('not today')\n"
    server = start(serve, source, GUNICORN_PRE_REQUEST="wsgi:guard")
    assert server.get("/")[0] == 500
    failure = wait_for(lambda: [r for r in records(server) if "error" in r], "the failure")[0]
    assert "Hook failed: pre_request hook wsgi:guard" in failure["error"]["stack_trace"]
