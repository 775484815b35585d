"""How the ``asgi`` worker begins: ready when the application's lifespan has started; and what holds it up later."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable
from contextlib import suppress
from http.client import HTTPException

import pytest

from tests.process.asgi.client import Client, get
from tests.support import Server, wait_for

Start = Callable[..., Server]


def test_it_is_ready_when_lifespan_startup_is_complete(start: Start) -> None:
    server = start(LIFESPAN="hangs", wait=False)
    server.wait_log("Booting worker")
    assert server.health()["reason"] == "starting: 0/1 workers booted"
    (server.folder / "go").touch()
    server.wait_ready("1/1")
    assert "startup complete" in server.log


def test_a_reload_waits_for_lifespan_startup_before_the_old_workers_end(start: Start) -> None:
    server = start()
    before = server.workers()
    server.write_app(server.folder.joinpath("wsgi.py").read_text().replace('os.environ.get("LIFESPAN", "")', '"hangs"'))
    server.signal(signal.SIGHUP)
    wait_for(lambda: len(server.workers()) == 2, "the new worker")
    assert server.get()[0] == 200
    assert before[0] in server.workers()
    (server.folder / "go").touch()
    wait_for(lambda: before[0] not in server.workers(), "the old worker ends")
    server.wait_ready("1/1")


def test_a_startup_that_fails_ends_the_server_and_says_why(start: Start) -> None:
    server = start(LIFESPAN="fails", wait=False)
    assert server.wait_exit() == 3
    assert "lifespan.startup failed: no database at db:5432" in server.log
    assert "never" not in server.health()["reason"]
    assert not server.health()["ready"]


def test_a_startup_that_raises_is_an_application_without_lifespan_unless_it_must_have_one(start: Start) -> None:
    server = start(LIFESPAN="raises")
    assert "The application has no lifespan (KeyError: 'no such database')" in server.log
    assert server.get()[0] == 200
    strict = start(LIFESPAN="raises", GUNICORN_ASGI_LIFESPAN="on", wait=False)
    assert strict.wait_exit() == 3
    assert "lifespan.startup failed" in strict.log
    assert "no such database" in strict.log


def test_lifespan_off_asks_nothing(start: Start) -> None:
    server = start(GUNICORN_ASGI_LIFESPAN="off")
    assert "startup complete" not in server.log


def test_a_startup_that_hangs_is_ended_at_the_boot_deadline_and_the_log_says_where(start: Start) -> None:
    server = start(LIFESPAN="hangs", GREENDOCK_BOOT_TIMEOUT="1", wait=False)
    server.wait_log("lifespan.startup takes longer than 0.8 s; it waits in ")
    assert re.search(r"it waits in .*/wsgi.py:\d+ in app > .*/wsgi.py:\d+ in lifespan > ", server.log)
    server.wait_log("Timeout (0:00:01)!")
    assert server.health()["reason"] == "starting: 0/1 workers booted"


def test_a_reload_onto_a_startup_that_fails_leaves_the_old_workers_serving(start: Start) -> None:
    server = start()
    before = server.workers()
    server.write_app(server.folder.joinpath("wsgi.py").read_text().replace('os.environ.get("LIFESPAN", "")', '"fails"'))
    server.signal(signal.SIGHUP)
    server.wait_log("Reload failed, the old workers go on")
    assert server.workers() == before
    assert server.get()[0] == 200


def test_an_event_loop_that_is_blocked_for_longer_than_timeout_is_found_and_the_worker_replaced(start: Start) -> None:
    server = start(GUNICORN_TIMEOUT="1")
    before = set(server.workers())
    Client(server.port, get("/block"))
    wait_for(lambda: server.workers() and not before & set(server.workers()), "a new worker")
    assert "The event loop was blocked for longer than timeout" in server.log
    assert "in block_here" in server.log
    server.wait_ready("1/1")
    assert server.get()[0] == 200


def test_a_request_that_waits_for_longer_than_timeout_blocks_nothing(start: Start) -> None:
    server = start(GUNICORN_TIMEOUT="1")
    before = server.workers()
    waiting = Client(server.port, get("/wait"))
    other = Client(server.port, get("/background"))
    other.reply()
    server.wait_log("background task done")
    (worker,) = server.workers()
    for _ in range(3):  # as many seconds as three of these take
        assert server.get("/background")[0] == 200
        server.wait_log("background task done", count=server.log.count("background task done") + 1)
    (server.folder / "go").touch()
    assert waiting.reply()[0] == 200
    assert server.workers() == before == [worker]


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_both_event_loops_serve_and_stop(start: Start, loop: str) -> None:
    server = start(GUNICORN_ASGI_LOOP=loop)
    assert server.get("/echo", "POST", b"x" * 100_000) == (200, "x" * 100_000)
    server.signal(signal.SIGTERM)
    assert server.wait_exit() == 0
    assert "shutdown begins" in server.log


def test_the_other_workers_have_names_of_their_own(start: Start) -> None:
    for name, server_says in (("asgi", "AsgiWorker"), ("gunicorn-asgi", "ASGIWorker"), ("uvicorn", "UvicornWorker")):
        server = start(GUNICORN_WORKER_CLASS=name)
        assert f"Using worker: {server_says}" in server.log
        assert server.get("/echo", "POST", b"hello") == (200, "hello")


def test_what_the_proxy_does_is_refused_at_start(start: Start) -> None:
    server = start(GUNICORN_PROXY_PROTOCOL="v1", wait=False)
    assert server.wait_exit() == 2
    assert "GUNICORN_PROXY_PROTOCOL='v1' (from process environment): the PROXY protocol is Nginx's job" in server.log


def test_a_changed_file_restarts_the_worker_and_a_syntax_error_is_shown_until_it_is_corrected(start: Start) -> None:
    server = start(GUNICORN_RELOAD="true", GUNICORN_RELOAD_ENGINE="poll")
    source = (server.folder / "wsgi.py").read_text()

    def answers(status: int, text: str) -> bool:
        with suppress(OSError, HTTPException):
            seen, body = server.get()
            return seen == status and text in body
        return False

    server.write_app(source.replace('b"not read"', 'b"read anew"'))
    wait_for(lambda: answers(200, "read anew"), "the new code answers")
    server.write_app(source + "\nthis is no Python\n")
    wait_for(lambda: answers(500, "syntax error"), "the error is shown")
    server.write_app(source)
    wait_for(lambda: answers(200, "not read"), "the corrected code answers")
