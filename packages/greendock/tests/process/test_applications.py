"""Other frameworks run with the settings that the examples name."""

from __future__ import annotations

import json
import shutil
import signal
import sys
from pathlib import Path

import httpx
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from tests.process.proxy.support import Proxy
from tests.support import ROOT, Server, local_nginx, serving, wait_for


@pytest.mark.parametrize(
    ("example", "environment"),
    [
        ("django", {"APP_MODULE": "app.main:application"}),
        ("fastapi", {"APP_MODULE": "app.main:app", "GUNICORN_WORKER_CLASS": "asgi"}),
    ],
)
def test_the_example_is_served(tmp_path: Path, example: str, environment: dict[str, str]) -> None:
    shutil.copytree(ROOT / "examples" / example / "app", tmp_path / "app")
    server = Server(tmp_path, DATABASE=str(tmp_path / "notes.db"), **environment)
    try:
        server.start().wait_ready("2/2")
        assert (
            server.get() == (200, f'{{"framework":"{example}"}}') or server.get()[1] == f'{{"framework": "{example}"}}'
        )
    finally:
        server.close()


def test_the_fastapi_example_stores_sends_events_echoes_and_closes_its_pool(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "examples" / "fastapi" / "app", tmp_path / "app")
    server = Server(
        tmp_path, APP_MODULE="app.main:app", GUNICORN_WORKER_CLASS="asgi", DATABASE=str(tmp_path / "notes.db")
    )
    url = f"127.0.0.1:{server.port}"
    try:
        server.start().wait_ready("2/2")
        assert httpx.post(f"http://{url}/notes", json={"text": "first"}).status_code == 201
        assert httpx.get(f"http://{url}/notes").json() == [{"text": "first"}]
        with connect(f"ws://{url}/ws") as socket, httpx.stream("GET", f"http://{url}/events", timeout=30) as events:
            lines = events.iter_lines()
            assert [next(lines) for _ in range(3)] == ["id: 1", "data: first", ""]
            socket.send("hello")
            assert socket.recv(timeout=30) == "hello"
            server.signal(signal.SIGTERM)
            assert list(lines) == []
            with pytest.raises(ConnectionClosed):
                socket.recv(timeout=30)
        assert server.wait_exit() == 0
        assert server.log.count("The pool is closed") == 2
        assert "Traceback" not in server.log
    finally:
        server.close()


def test_the_sample_run_as_a_module_is_ready_reloads_and_stops_as_under_the_command_line(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "app", tmp_path / "app")
    server = Server(tmp_path, (sys.executable, "-m", "app"), APP_MODULE="app.main:app")
    try:
        server.start().wait_ready("2/2")
        before = set(server.workers())
        assert server.get("/livez") == (200, "ok\n")
        server.signal(signal.SIGHUP)
        wait_for(lambda: not before & set(server.workers()), "new workers")
        server.wait_ready("2/2")
        server.signal(signal.SIGTERM)
        assert server.wait_exit() == 0
    finally:
        server.close()


SAYS_WHO = """
import django, fastapi, flask
from django.conf import settings
from django.core.handlers.wsgi import WSGIHandler
from django.http import JsonResponse
from django.urls import path

settings.configure(ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__)
def by_django(request):
    return JsonResponse([request.META["REMOTE_ADDR"], request.scheme, request.get_host()], safe=False)
urlpatterns = [path("django", by_django)]
django.setup()
of_django = WSGIHandler()

of_flask = flask.Flask(__name__)
@of_flask.get("/flask")
def by_flask():
    return flask.jsonify([flask.request.remote_addr, flask.request.scheme, flask.request.host])

def app(environ, start_response):
    return (of_flask if environ["PATH_INFO"] == "/flask" else of_django)(environ, start_response)

asgi = fastapi.FastAPI()
@asgi.get("/fastapi")
def by_fastapi(request: fastapi.Request):
    return [request.client.host, request.url.scheme, request.url.netloc]
"""
WSGI_CLASSES = ("lean", "gthread", "sync", "drain", "request-id")


@pytest.mark.parametrize("worker_class", WSGI_CLASSES)
@pytest.mark.parametrize("trusted", [True, False])
def test_the_client_is_who_a_trusted_proxy_says_in_every_worker_class_and_framework(
    tmp_path: Path, worker_class: str, trusted: bool
) -> None:
    proxies = "127.0.0.1" if trusted else "10.9.9.9"
    headers = {"Host": "shop.example:8443", "X-Forwarded-Proto": "https"}
    with serving(
        tmp_path, SAYS_WHO, GUNICORN_WORKER_CLASS=worker_class, FORWARDED_ALLOW_IPS=proxies, WEB_CONCURRENCY="1"
    ) as server:
        for client in ("203.0.113.9", "2001:db8::9"):
            for framework in ("django", "flask"):
                told = server.get(f"/{framework}", **headers, **{"X-Forwarded-For": f"6.6.6.6, {client}"})[1]
                scheme, address = ("https", client) if trusted else ("http", "127.0.0.1")
                assert json.loads(told) == [address, scheme, "shop.example:8443"], (framework, client)


@pytest.mark.parametrize(
    ("worker_class", "module", "frameworks"),
    [
        ("lean", "wsgi:app", ("django", "flask")),
        ("gthread", "wsgi:app", ("flask",)),
        ("asgi", "wsgi:asgi", ("fastapi",)),
    ],
)
def test_the_client_is_named_through_nginx_behind_no_and_behind_another_proxy(
    tmp_path: Path, worker_class: str, module: str, frameworks: tuple[str, ...]
) -> None:
    options = {"GUNICORN_WORKER_CLASS": worker_class, "APP_MODULE": module, "WEB_CONCURRENCY": "1"}
    with serving(tmp_path / "app", SAYS_WHO, **options) as server:
        upstream = f"127.0.0.1:{server.port}"
        alone = Proxy(tmp_path / "alone", local_nginx(), UPSTREAM=upstream, SERVER_NAMES="any")
        behind = Proxy(
            tmp_path / "behind",
            local_nginx(),
            UPSTREAM=upstream,
            SERVER_NAMES="any",
            TRUSTED_PROXIES="127.0.0.1,10.0.0.0/8",
        )
        try:
            alone.start()
            behind.start()
            for framework in frameworks:
                for client in ("203.0.113.9", "2001:db8::9"):
                    said = {"Host": "shop.example", "X-Forwarded-For": f"6.6.6.6, {client}, 10.0.0.7"}
                    said |= {"X-Forwarded-Proto": "https", "X-Real-IP": "6.6.6.6", "Forwarded": "for=6.6.6.6"}
                    assert alone.get(f"/{framework}", headers=said).json()[:2] == ["127.0.0.1", "http"]
                    assert behind.get(f"/{framework}", headers=said).json() == [client, "https", "shop.example"]
        finally:
            alone.close()
            behind.close()
