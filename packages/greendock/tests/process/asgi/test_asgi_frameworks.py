"""Frameworks on the ``asgi`` worker, through Nginx."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from dataclasses import dataclass

import httpx
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from tests.process.asgi.frameworks import FRAMEWORKS
from tests.process.proxy.support import Proxy
from tests.support import Server, local_nginx, serving, wait_for


@dataclass
class Site:
    """One framework's site behind Nginx."""

    server: Server
    proxy: Proxy


@pytest.fixture(scope="module", params=FRAMEWORKS)
def site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp(request.param)
    with serving(folder, FRAMEWORKS[request.param], GUNICORN_WORKER_CLASS="asgi", WEB_CONCURRENCY="1") as server:
        proxy = Proxy(folder / "proxy", local_nginx(), UPSTREAM=f"127.0.0.1:{server.port}")
        try:
            yield Site(server, proxy.start())
        finally:
            proxy.close()


def test_the_application_knows_the_client_and_the_scheme(site: Site) -> None:
    answer = site.proxy.get().json()
    assert (answer["client"], answer["scheme"]) == ("127.0.0.1", "http")
    assert answer["url"].startswith(f"http://127.0.0.1:{site.proxy.port}")


def test_a_hundred_requests_on_one_connection_are_answered(site: Site) -> None:
    with httpx.Client(base_url=site.proxy.url, timeout=10) as client:
        assert {client.get("/").status_code for _ in range(100)} == {200}


def test_a_websocket_echoes_and_ends(site: Site) -> None:
    with connect(site.proxy.url.replace("http", "ws") + "/ws") as socket:
        for number in range(20):
            socket.send(f"message {number}")
            assert socket.recv(timeout=10) == f"message {number}"


def test_events_arrive_one_by_one_and_a_websocket_after_them_ends_at_once(site: Site) -> None:
    with httpx.Client(base_url=site.proxy.url, timeout=10) as client, client.stream("GET", "/events") as response:
        assert response.headers["Content-Type"].startswith("text/event-stream")
        lines = response.iter_lines()
        for number in range(3):
            assert next(lines) == f"data: {number}"
            assert next(lines) == ""
            (site.server.folder / f"seen-{number}").touch()  # without this the next event does not come
        assert list(lines) == []
    with connect(site.proxy.url.replace("http", "ws") + "/ws", close_timeout=10) as socket:
        socket.send("after the stream")
        assert socket.recv(timeout=10) == "after the stream"
    assert socket.protocol.close_rcvd is not None


def test_a_background_task_runs_after_the_response(site: Site) -> None:
    assert site.proxy.request("POST", "/later", content=b"x" * 200_000).json() == {"size": 200_000}
    wait_for((site.server.folder / "after").exists, "the task has run")


def test_a_reload_closes_websockets_with_1012_through_nginx_and_the_client_connects_again(site: Site) -> None:
    url = site.proxy.url.replace("http", "ws") + "/ws"
    with connect(url) as socket:
        socket.send("before")
        socket.recv(timeout=10)
        site.server.signal(signal.SIGHUP)
        with pytest.raises(ConnectionClosed) as closed:
            socket.recv(timeout=30)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1012
    with connect(url) as again:
        again.send("after")
        assert again.recv(timeout=10) == "after"
    assert "Traceback" not in site.server.log
