"""The ``drain`` worker beside Gunicorn's gthread: what becomes of connections the kernel has queued at a stop."""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Callable

import pytest

from tests.support import Server, wait_for

Serve = Callable[..., Server]

WAITS = """
import os, time, pathlib
def app(environ, start_response):
    environ["wsgi.input"].read()
    pathlib.Path("arrived").touch()
    while not pathlib.Path("go").exists():
        time.sleep(0.01)
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]
"""
ASGI = """
import asyncio, pathlib
async def app(scope, receive, send):
    while (await receive())["more_body"]:
        pass
    pathlib.Path("arrived").touch()
    while not pathlib.Path("go").exists():
        await asyncio.sleep(0.01)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})
"""
CLIENTS = 24
CONNECTIONS = 4  # the worker's own; the rest waits in the kernel's queue


def waits(worker_class: str) -> str:
    return ASGI if worker_class == "asgi" else WAITS


class Post:
    """A POST on a connection of its own."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=30)
        self.socket.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody")

    def answered(self) -> bool:
        try:
            with self.socket:
                return self.socket.recv(64).startswith(b"HTTP/1.1 200")
        except ConnectionError:
            return False


@pytest.mark.parametrize(
    ("worker_class", "loses"),
    [("gthread", True), ("drain", False), ("lean", False), ("request-id", False), ("asgi", False)],
)
def test_posts_queued_at_a_stop_are_lost_by_gthread_and_answered_by_drain(
    serve: Serve, worker_class: str, loses: bool
) -> None:
    server = serve(
        waits(worker_class),
        GUNICORN_WORKER_CLASS=worker_class,
        **({} if worker_class == "asgi" else {"GUNICORN_THREADS": "2"}),
        GUNICORN_WORKER_CONNECTIONS=str(CONNECTIONS),
        WEB_CONCURRENCY="1",
    )
    sent = [Post(server.port) for _ in range(CLIENTS)]
    wait_for((server.folder / "arrived").exists, "a request is being handled")
    answers: list[bool] = []
    readers = [threading.Thread(target=lambda post=post: answers.append(post.answered())) for post in sent]
    for reader in readers:
        reader.start()
    server.signal(signal.SIGTERM)
    server.wait_log("Handling signal: term")
    (server.folder / "go").touch()
    assert server.wait_exit() == 0
    for reader in readers:
        reader.join()
    lost = answers.count(False)
    assert lost > 0 if loses else lost == 0, lost


@pytest.mark.parametrize("worker_class", ["drain", "lean", "asgi"])
def test_a_client_that_comes_after_the_stop_is_refused_while_requests_are_still_served(
    serve: Serve, worker_class: str
) -> None:
    # The graceful timeout is long: clients are refused before it has passed, not because of it.
    server = serve(
        waits(worker_class), GUNICORN_WORKER_CLASS=worker_class, WEB_CONCURRENCY="2", GUNICORN_GRACEFUL_TIMEOUT="36"
    )
    post = Post(server.port)
    wait_for((server.folder / "arrived").exists, "a request is being handled")
    server.signal(signal.SIGTERM)

    def refused() -> bool:
        try:
            Post(server.port).socket.close()
        except ConnectionRefusedError:
            return True
        return False

    wait_for(refused, "connections are refused")
    assert server.process is not None
    assert server.process.poll() is None
    (server.folder / "go").touch()
    assert post.answered()
    assert server.wait_exit() == 0


def test_a_drain_ends_with_the_graceful_timeout(serve: Serve) -> None:
    server = serve(WAITS, GUNICORN_WORKER_CLASS="drain", WEB_CONCURRENCY="1", GUNICORN_GRACEFUL_TIMEOUT="1")
    post = Post(server.port)
    wait_for((server.folder / "arrived").exists, "a request is being handled")
    server.signal(signal.SIGTERM)
    assert server.wait_exit() == 0
    assert not post.answered()


@pytest.mark.parametrize(
    ("worker_class", "max_requests"),
    [("drain", 0), ("asgi", 0), ("asgi", 200)],
    ids=["drain", "asgi", "asgi, recycled"],
)
def test_fresh_connections_lose_nothing_while_workers_are_replaced(
    serve: Serve, worker_class: str, max_requests: int
) -> None:
    server = serve(waits(worker_class), GUNICORN_WORKER_CLASS=worker_class, GUNICORN_MAX_REQUESTS=str(max_requests))
    (server.folder / "go").touch()
    stop = threading.Event()
    answers: list[bool] = []

    def load() -> None:
        while not stop.is_set():
            answers.append(Post(server.port).answered())

    clients = [threading.Thread(target=load) for _ in range(4)]
    for client in clients:
        client.start()
    for _ in range(2):
        before = set(server.workers())
        if not max_requests:
            server.signal(signal.SIGHUP)
        wait_for(lambda before=before: not before & set(server.workers()), "new workers")
    stop.set()
    for client in clients:
        client.join()
    assert answers
    assert all(answers)
