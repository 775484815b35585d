"""Workers that are replaced while clients come, by ``max_requests`` and by ``reload``: nobody notices."""

from __future__ import annotations

import http.client
import os
import threading

import pytest
from lean_server import until

from tests.process.proxy.support import Proxy
from tests.support import local_nginx, serving

# Exactly the request to /held is the last one of its worker.
LAST = """
def pre_request(worker, req):
    if req.path == "/held":
        worker.max_requests = worker.nr + 1
def post_worker_init(worker):
    worker.log.info("worker %s is ready", worker.age)
"""
WORKERS = pytest.mark.parametrize("workers", ["1", "2"])


def request(target, *fields):
    return "\r\n".join([f"GET {target} HTTP/1.1", "Host: a", *fields, "", ""]).encode()


def recycling(start, tmp_path, *args):
    """A server one of whose workers is in its last request; that request's client and that worker's pid."""
    server = start("--threads", "1", "--max-requests", "100000", *args, conf=LAST)
    before = server.pids()
    client = server.connect(request(f"/held?{tmp_path}/arrived,{tmp_path}/release"))
    until((tmp_path / "arrived").exists)
    until(lambda: "Autorestarting worker after current request." in server.log)
    return server, client, before


def test_connections_queued_when_the_only_worker_recycles_are_its_successors(start, tmp_path):
    """One thread, in a request; then, in the kernel's queue, that worker's last request, and twenty for the next."""
    conf = LAST.replace('== "/held"', '== "/held" and "arrived1" in req.query').replace("nr + 1", "nr + 2")
    server = start("--threads", "1", "--max-requests", "100000", conf=conf)
    (old,) = server.pids()
    first = server.connect(request(f"/held?{tmp_path}/arrived1,{tmp_path}/release1"))
    until((tmp_path / "arrived1").exists)
    last = server.connect(request(f"/held?{tmp_path}/arrived2,{tmp_path}/release2"))
    queued = [server.connect(request("/pid")) for _ in range(20)]
    (tmp_path / "release1").touch()
    assert first.reply().body == b"held"
    until(lambda: "Autorestarting worker after current request." in server.log)
    (tmp_path / "release2").touch()
    answer = last.reply()
    assert (answer.body, answer.headers["Connection"]) == (b"held", "close")
    for client in (first, last):
        client.close()
    answers = [client.reply() for client in queued]
    assert {answer.status for answer in answers} == {200}
    # It may have taken one or two in the moment it was told to stop.
    assert sum(answer.text != str(old) for answer in answers) > 10


def test_connections_that_come_while_one_of_two_workers_recycles_are_the_others(start, tmp_path):
    server, last, before = recycling(start, tmp_path, "-w", "2")
    answers = [server.connect(request("/pid")).reply() for _ in range(20)]
    assert {answer.status for answer in answers} == {200}
    (other,) = {int(answer.text) for answer in answers}
    assert other in before
    (tmp_path / "release").touch()
    assert last.reply().body == b"held"
    last.close()
    until(lambda: "worker 3 is ready" in server.log)
    assert len(server.pids()) == 2
    assert other in server.pids()


def test_a_request_on_a_kept_connection_is_answered_by_the_worker_that_recycles(start, tmp_path):
    server = start("--threads", "2", "--keep-alive", "60", "--max-requests", "100000", conf=LAST)
    kept = [server.connect(request("/pid")) for _ in range(5)]
    assert all(client.reply().headers["Connection"] == "keep-alive" for client in kept)
    last = server.connect(request(f"/held?{tmp_path}/arrived,{tmp_path}/release"))
    until((tmp_path / "arrived").exists)
    until(lambda: "Autorestarting worker after current request." in server.log)
    for client in kept:
        client.send(request("/pid"))
        assert client.reply().headers["Connection"] == "close"
        assert client.rest() == b""
    (tmp_path / "release").touch()
    assert last.reply().body == b"held"


def ask(port, requests, kept, lost, served):
    """Send so many requests, on a connection each or on one that is opened again only when told so."""
    conn = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    for number in range(requests):
        try:
            conn.request("POST" if number % 2 else "GET", "/digest", body=b"x" * 100 if number % 2 else None)
            response = conn.getresponse()
            served.append((response.status, response.read().split()[0]))
            if not kept:
                conn.close()
        except Exception as error:
            lost.append(error)
            conn.close()


def load(port, clients, requests, kept):
    """Ask from several threads at once; return what failed and what was answered."""
    lost, served = [], []
    threads = [threading.Thread(target=ask, args=(port, requests, kept, lost, served)) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return lost, served


@WORKERS
def test_a_stream_of_new_connections_loses_none(start, workers):
    server = start("-w", workers, "--threads", "2", "--max-requests", "25", "--max-requests-jitter", "10")
    lost, served = load(server.port, clients=4, requests=40, kept=False)
    assert lost == []
    assert set(served) == {(200, b"0"), (200, b"100")}
    assert len(served) == 160
    assert server.log.count("Autorestarting") >= 2


APP = """
import os
def app(environ, start_response):
    body = b"%d of %d" % (len(environ["wsgi.input"].read()), os.getpid())
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
"""


@WORKERS
def test_kept_connections_through_nginx_lose_nothing(tmp_path, workers):
    settings = {
        "GUNICORN_WORKER_CLASS": "lean",
        "GUNICORN_MAX_REQUESTS": "45",
        "GUNICORN_MAX_REQUESTS_JITTER": "5",
        "GUNICORN_KEEPALIVE": "75",
        "WEB_CONCURRENCY": workers,
    }
    with serving(tmp_path / "app", APP, **settings) as server:
        proxy = Proxy(tmp_path / "proxy", local_nginx(), UPSTREAM=f"127.0.0.1:{server.port}")
        try:
            proxy.start()
            lost, served = load(proxy.port, clients=4, requests=40, kept=True)
        finally:
            proxy.close()
        assert lost == []
        assert set(served) == {(200, b"0"), (200, b"100")}
        server.wait_log("Autorestarting worker", 2)


# Reloading. Texts of different lengths, because Python tells versions of a source by second and size. A change is made
# until it is noticed: a reloader that has not looked at a file yet takes what it finds first for the old version.

RELOADED = """
import pathlib, os
TEXT = {text!r} + pathlib.Path({extra!r}).read_text()
def app(environ, start_response):
    start_response("200 OK", [("Content-Length", str(len(TEXT)))])
    return [TEXT.encode()]
"""


def touched(path):
    os.utime(path)
    return True


def test_a_changed_file_restarts_the_workers(start, tmp_path):
    source, extra = tmp_path / "reloaded.py", tmp_path / "extra.txt"
    extra.write_text(" and one")

    def write(text):
        source.write_text(RELOADED.format(text=text, extra=str(extra)))

    write("old")
    server = start(
        *("--reload", "--reload-extra-file", str(extra), "--pythonpath", str(tmp_path), "-w", "2", "--threads", "2"),
        *("--reload-engine", "poll"),
        app="reloaded:app",
    )
    assert server.get("/").text == "old and one"
    busy, before = server.connect(request("/")), server.pids()
    assert busy.reply().text == "old and one"
    write("another")
    until(lambda: touched(source) and not before & server.pids() and len(server.pids()) == 2)
    assert {server.get("/").text for _ in range(8)} == {"another and one"}
    assert busy.rest() == b""
    extra.write_text(" and twenty")
    until(lambda: touched(extra) and {server.get("/").text for _ in range(8)} == {"another and twenty"})
    assert "Traceback" not in server.log


def test_a_file_that_does_not_compile_is_shown_until_it_does(start, tmp_path):
    source = tmp_path / "reloaded.py"
    source.write_text(RELOADED.format(text="fine", extra=os.devnull))
    server = start(
        *("--reload", "--reload-engine", "poll", "--pythonpath", str(tmp_path), "--threads", "2"), app="reloaded:app"
    )
    source.write_text("def app(:")
    until(lambda: touched(source) and server.get("/").status == 500)
    assert "SyntaxError" in server.get("/").text
    source.write_text(RELOADED.format(text="repaired", extra=os.devnull))
    until(lambda: touched(source) and server.get("/").text == "repaired")
