"""The ``metrics`` plugin, scraped from live servers."""

from __future__ import annotations

import http.client
import os
import re
import signal
import socket
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from gunicorn.arbiter import Arbiter
from prometheus_client.parser import text_string_to_metric_families

from greendock.contrib.metrics.supervisor import SEAMS
from tests.support import ROOT, Server, children, free_port, wait_for

DOCS = ROOT / "docs"
Serve = Callable[..., Server]

WSGI = """
import os, pathlib, time
def app(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/boom":
        raise ValueError("boom")
    if path == "/burn":
        sum(range(5_000_000))
    if path == "/wait":
        pathlib.Path("arrived-%s" % environ["QUERY_STRING"]).touch()
        while not pathlib.Path("go").exists():
            time.sleep(0.01)
    start_response("404 Not Found" if path == "/missing" else "200 OK", [("Content-Length", "2")])
    return [b"ok"]
"""
ASGI = """
import asyncio, pathlib
async def app(scope, receive, send):
    path = scope["path"]
    if path == "/boom":
        raise ValueError("boom")
    if path == "/burn":
        sum(range(5_000_000))
    if path == "/wait":
        pathlib.Path("arrived-%s" % scope["query_string"].decode()).touch()
        while not pathlib.Path("go").exists():
            await asyncio.sleep(0.01)
    status = 404 if path == "/missing" else 200
    await send({"type": "http.response.start", "status": status, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})
"""


def start(serve: Serve, worker_class: str = "gthread", source: str = "", **environment: str) -> Server:
    asgi = "asgi" in worker_class
    settings = {
        "GREENDOCK_PLUGINS": "metrics",
        "GREENDOCK_METRICS_BIND": f"127.0.0.1:{free_port()}",
        "GUNICORN_WORKER_CLASS": worker_class,
        "GUNICORN_ASGI_LIFESPAN": "off",
    }
    return serve(source or (ASGI if asgi else WSGI), **(settings | environment))


def scrape(server: Server) -> dict[str, float]:
    """Return samples by name and labels; nothing when nobody answers."""
    try:
        with urllib.request.urlopen(
            f"http://{server.environment['GREENDOCK_METRICS_BIND']}/metrics", timeout=30
        ) as got:
            text = got.read().decode()
    except OSError:
        return {}
    return {
        sample.name + "".join(f" {value}" for _, value in sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def families(server: Server) -> set[str]:
    """Return the names of all metrics, those of counters with their ending."""
    with urllib.request.urlopen(f"http://{server.environment['GREENDOCK_METRICS_BIND']}/metrics", timeout=30) as got:
        metrics = list(text_string_to_metric_families(got.read().decode()))
    return {f"{metric.name}_total" if metric.type == "counter" else metric.name for metric in metrics if metric.samples}


def wait_scrape(server: Server, **expected: float) -> dict[str, float]:
    """Wait until all of ``expected`` is so. Names: double underscores stand for the space before a label."""
    names = {name.replace("__", " "): value for name, value in expected.items()}
    seen: dict[str, float] = {}

    def so() -> bool:
        seen.clear()
        seen.update(scrape(server))
        return all(seen.get(name, 0.0) == value for name, value in names.items())

    try:
        wait_for(so, str(names), 15)
    except AssertionError as error:
        raise AssertionError(f"{error}; {seen}\n{server.log}") from None
    return seen


def exporter(server: Server) -> int:
    """Return the exporter's pid."""
    found = [pid for pid in children(server.pid) if b"exporter" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    return found[0] if found else 0


def is_stopped(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def workers(server: Server) -> list[int]:
    return [pid for pid in server.workers() if pid != exporter(server)]


def load(server: Server, clients: int, requests: int) -> Counter[str]:
    """Send requests of several methods and results from ``clients`` threads; return what was answered."""
    kinds = [("GET", "/"), ("POST", "/"), ("GET", "/missing"), ("HEAD", "/"), ("BREW", "/"), ("XXXX", "/missing")]
    answers: Counter[str] = Counter()
    lock = threading.Lock()

    def client(number: int) -> None:
        mine: Counter[str] = Counter()
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
        for turn in range(requests):
            method, path = kinds[(number + turn) % len(kinds)]
            connection.request(method, path)
            response = connection.getresponse()
            response.read()
            mine[f"{method if len(method) < 5 and method not in ('BREW', 'XXXX') else 'other'} {response.status}"] += 1
        with lock:
            answers.update(mine)

    threads = [threading.Thread(target=client, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


@pytest.mark.parametrize("worker_class", ["sync", "gthread", "lean", "request-id", "asgi"])
def test_counts_under_load_are_exact_and_outlive_the_workers(serve: Serve, worker_class: str) -> None:
    server = start(serve, worker_class)
    expected = load(server, clients=8, requests=60)
    assert server.get("/boom")[0] == 500
    expected["GET 500"] += 1
    total = sum(expected.values())
    seen = wait_scrape(server, gunicorn_request_duration_seconds_count=total)
    counted = {name: value for name, value in seen.items() if name.startswith("gunicorn_requests_total ")}
    assert counted == {f"gunicorn_requests_total {name}": count for name, count in expected.items()}
    assert seen["gunicorn_request_duration_seconds_bucket +Inf"] == total
    assert seen["gunicorn_threads_busy"] == 0

    for worker in workers(server):
        os.kill(worker, signal.SIGKILL)
    again = wait_scrape(server, gunicorn_worker_exits_total__crash=2)
    assert {name: again[name] for name in counted} == counted
    server.wait_ready("2/2")
    expected += load(server, clients=2, requests=30)
    later = wait_scrape(server, gunicorn_request_duration_seconds_count=total + 60)
    assert all(later[f"gunicorn_requests_total {name}"] == count for name, count in expected.items())


@pytest.mark.parametrize("worker_class", ["gthread", "lean", "asgi"])
def test_busy_threads_and_workers_are_what_they_are(serve: Serve, worker_class: str) -> None:
    server = start(serve, worker_class)
    wait_scrape(server, gunicorn_ready=1, gunicorn_workers_booted=2, gunicorn_workers_target=2, gunicorn_threads_busy=0)
    waiting = [threading.Thread(target=server.get, args=(f"/wait?{number}",)) for number in range(5)]
    for thread in waiting:
        thread.start()
    wait_scrape(server, gunicorn_threads_busy=5)
    (server.folder / "go").touch()
    for thread in waiting:
        thread.join()
    wait_scrape(server, gunicorn_threads_busy=0)
    server.signal(signal.SIGTTIN)
    wait_scrape(server, gunicorn_workers_booted=3, gunicorn_workers_target=3)

    # What a killed worker was doing, nobody does any more.
    (server.folder / "go").unlink()
    stuck = socket.create_connection(("127.0.0.1", server.port))
    stuck.sendall(b"GET /wait?9 HTTP/1.1\r\nHost: x\r\n\r\n")
    wait_scrape(server, gunicorn_threads_busy=1)
    for worker in workers(server):
        os.kill(worker, signal.SIGKILL)
    wait_scrape(server, gunicorn_threads_busy=0, gunicorn_worker_exits_total__crash=3)
    stuck.close()


def test_workers_that_end_are_counted_by_reason(serve: Serve) -> None:
    server = start(serve, "sync", GUNICORN_TIMEOUT="1", GUNICORN_MAX_REQUESTS="3")
    for _ in range(3):
        server.get()  # goes to either worker; sync ends each connection
    while scrape(server).get("gunicorn_worker_exits_total max_requests", 0) < 1:
        server.get()
    server.wait_ready("2/2")
    before = scrape(server)["gunicorn_worker_exits_total timeout"]  # on a busy machine an end can take a second too
    stuck = socket.create_connection(("127.0.0.1", server.port))
    stuck.sendall(b"GET /wait?1 HTTP/1.1\r\nHost: x\r\n\r\n")
    wait_for((server.folder / "arrived-1").exists, "a worker hangs")
    wait_for(lambda: scrape(server)["gunicorn_worker_exits_total timeout"] > before, "a timeout", 15)
    stuck.close()
    (server.folder / "go").touch()
    server.wait_ready("2/2")
    server.signal(signal.SIGTTIN)
    server.wait_ready("3/3")
    before = scrape(server)["gunicorn_worker_exits_total stopped"]
    server.signal(signal.SIGTTOU)
    seen = wait_scrape(server, gunicorn_worker_exits_total__stopped=before + 1)
    assert seen["gunicorn_worker_exits_total crash"] == 0


@pytest.mark.parametrize("worker_class", ["gthread", "lean", "asgi"])
def test_what_waits_for_a_worker_and_how_long_it_waited_is_told(serve: Serve, worker_class: str) -> None:
    """The workers are stopped, so that connections wait in the kernel; then each request says when Nginx had it."""
    server = start(serve, worker_class, GREENDOCK_SLO_LATENCY="0.001")
    assert server.get(**{"X-Request-Start": f"t={time.time() - 3:.3f}"})[0] == 200
    seen = wait_scrape(server, gunicorn_request_queue_seconds_count=1, gunicorn_backlog=0)
    assert 3 <= seen["gunicorn_request_queue_seconds_sum"] < 30
    for wrong in ("t=never", "t=1"):
        server.get(**{"X-Request-Start": wrong})
    assert wait_scrape(server, gunicorn_request_duration_seconds_count=3)["gunicorn_request_queue_seconds_count"] == 1
    stopped = workers(server)
    for worker in stopped:
        os.kill(worker, signal.SIGSTOP)
    wait_for(lambda: all(is_stopped(worker) for worker in stopped), "the workers have stopped")
    waiting = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(5)]
    for connection in waiting:  # a listener may let the kernel keep those that say nothing
        connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    wait_scrape(server, gunicorn_backlog=5)
    for connection in waiting:
        connection.close()
    for worker in stopped:
        os.kill(worker, signal.SIGCONT)
    wait_scrape(server, gunicorn_backlog=0)

    # A request longer than the objective is slow.
    before = scrape(server)["gunicorn_requests_slow_total"]
    held = threading.Thread(target=server.get, args=("/wait?1",))
    held.start()
    wait_for((server.folder / "arrived-1").exists, "the request is held")
    wait_for(lambda: time.time() > (server.folder / "arrived-1").stat().st_mtime + 0.01, "it is held too long")
    (server.folder / "go").touch()
    held.join()
    wait_for(lambda: scrape(server)["gunicorn_requests_slow_total"] > before, "a slow request")


@pytest.mark.parametrize("worker_class", ["sync", "lean", "asgi"])
def test_each_worker_is_told_apart(serve: Serve, worker_class: str) -> None:
    server = start(serve, worker_class, GUNICORN_THREADS="4" if worker_class == "lean" else "1")
    for _ in range(19):
        server.get()
    server.get("/burn")
    seen = wait_scrape(server, gunicorn_request_duration_seconds_count=20)
    pids = workers(server)
    assert sum(seen[f"gunicorn_worker_requests_total {pid}"] for pid in pids) == 20
    assert all(seen[f"gunicorn_worker_memory_bytes {pid}"] > 1e6 for pid in pids)
    assert sum(seen[f"gunicorn_worker_cpu_seconds_total {pid}"] for pid in pids) > 0.02
    assert all(abs(seen[f"gunicorn_worker_start_time_seconds {pid}"] - time.time()) < 600 for pid in pids)
    assert all(seen[f"gunicorn_worker_threads_busy {pid}"] == 0 for pid in pids)
    assert seen["gunicorn_threads"] == {"sync": 2, "lean": 8, "asgi": 2000}[worker_class]
    assert seen["gunicorn_cpus"] > 0
    if worker_class != "sync":
        wait_for(lambda: scrape(server).get("gunicorn_worker_lag_seconds_count", 0) > 1, "the lag has been measured")
    before = set(pids)
    server.signal(signal.SIGHUP)
    wait_scrape(server, gunicorn_reloads_total__success=1, gunicorn_last_reload_successful=1)
    wait_for(lambda: not before & set(workers(server)), "new workers")
    wait_for(
        lambda: (
            {int(name.split()[1]) for name in scrape(server) if name.startswith("gunicorn_worker_memory")}
            == set(workers(server))
        ),
        "only workers that live are told of",
    )


def test_a_reload_that_fails_is_seen_until_one_succeeds(serve: Serve) -> None:
    server = start(serve)
    wait_scrape(server, gunicorn_last_reload_successful=1)
    good = (server.folder / "wsgi.py").read_text()
    server.write_app("raise ValueError('broken')")
    server.signal(signal.SIGHUP)
    wait_scrape(server, gunicorn_reloads_total__failure=1, gunicorn_last_reload_successful=0)
    server.write_app(good)
    server.signal(signal.SIGHUP)
    wait_scrape(server, gunicorn_reloads_total__success=1, gunicorn_last_reload_successful=1)


def test_the_page_of_metrics_lists_each_that_there_is(serve: Serve) -> None:
    server = start(serve)
    server.get(**{"X-Request-Start": f"t={time.time():.3f}"})
    wait_scrape(server, gunicorn_request_duration_seconds_count=1)
    there = {name for name in families(server) if name.startswith(("gunicorn", "greendock"))}
    listed = re.findall(r"^\| `((?:gunicorn|greendock)_[a-z_]+)", (DOCS / "metrics.md").read_text(), re.MULTILINE)
    # A counter nobody has counted with yet has no series.
    assert there == set(listed) - {"gunicorn_hook_failures_total"}
    assert len(listed) == len(set(listed))


def test_the_time_each_hook_takes_is_told(serve: Serve) -> None:
    source = WSGI + "\ndef tired(worker): time.sleep(0.2)\n"
    server = start(serve, source=source, GUNICORN_POST_WORKER_INIT="wsgi:tired")
    seen = wait_scrape(server, gunicorn_workers_booted=2)
    assert seen["gunicorn_hook_duration_seconds_count post_worker_init wsgi:tired"] == 2
    assert seen["gunicorn_hook_duration_seconds_sum post_worker_init wsgi:tired"] > 0.3


def test_failed_hooks_are_counted_wherever_they_run(serve: Serve) -> None:
    source = WSGI + "\ndef fail(*arguments): raise ValueError('no')\n"
    server = start(
        serve, source=source, GUNICORN_PRE_FORK="wsgi:fail", GUNICORN_POST_REQUEST="wsgi:fail", GUNICORN_TIMEOUT="30"
    )
    for _ in range(7):
        server.get()
    wait_scrape(server, gunicorn_hook_failures_total__pre_fork=2, gunicorn_hook_failures_total__post_request=7)


def test_draining_is_not_ready(serve: Serve) -> None:
    server = start(serve, GREENDOCK_DRAIN_SECONDS="30")
    wait_scrape(server, gunicorn_ready=1)
    server.signal(signal.SIGTERM)
    wait_scrape(server, gunicorn_ready=0, gunicorn_draining=1, gunicorn_workers_booted=2)


def test_the_exporter_is_started_again_and_counts_go_on(serve: Serve) -> None:
    server = start(serve)
    server.get()
    wait_scrape(server, gunicorn_request_duration_seconds_count=1)
    first = exporter(server)
    os.kill(first, signal.SIGKILL)
    wait_for(lambda: exporter(server) not in (0, first), "another exporter")
    wait_scrape(server, gunicorn_request_duration_seconds_count=1, gunicorn_workers_booted=2)
    assert "starting it again" in server.log


def test_the_exporter_ends_with_a_master_that_is_stopped_or_killed(serve: Serve) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        server = start(serve)
        wait_scrape(server, gunicorn_ready=1)
        pid = exporter(server)
        server.signal(number)
        server.wait_exit()
        if number == signal.SIGTERM:
            assert not Path(f"/proc/{pid}").exists()
        wait_for(lambda pid=pid: not Path(f"/proc/{pid}").exists(), "the exporter has ended")
        left = list((server.folder / "run" / "ready.metrics").iterdir())
        assert left == [] if number == signal.SIGTERM else left


def test_what_a_killed_master_left_is_removed_at_the_next_start(serve: Serve) -> None:
    server = start(serve)
    server.signal(signal.SIGKILL)
    server.wait_exit()
    again = Server(server.folder, **{name: server.environment[name] for name in server.environment if "GREEN" in name})
    try:
        again.start().wait_ready()
        folders = [entry.name for entry in (server.folder / "run" / "ready.metrics").iterdir()]
        assert folders == [str(again.pid)]
    finally:
        again.close()


def test_files_of_dead_workers_do_not_pile_up(serve: Serve) -> None:
    server = start(serve, "sync", WEB_CONCURRENCY="1", GUNICORN_MAX_REQUESTS="1")
    for _ in range(8):
        server.get()
    wait_scrape(server, gunicorn_worker_exits_total__max_requests=8, gunicorn_request_duration_seconds_count=8)
    # The files of a worker that ends while somebody scrapes stay until the next one's end, when nobody does.
    server.get()
    folder = server.folder / "run" / "ready.metrics" / str(server.pid)

    def of_the_dead() -> set[str]:
        living = {f"counter_{name}.db" for name in (server.pid, "dead", *workers(server))}
        return {path.name for path in folder.glob("counter_*")} - living

    wait_for(lambda: not of_the_dead(), "the files of dead workers are gone")


def test_a_reload_keeps_exporter_and_counts(serve: Serve) -> None:
    server = start(serve)
    server.get()
    wait_scrape(server, gunicorn_request_duration_seconds_count=1)
    first, before = exporter(server), set(workers(server))
    server.signal(signal.SIGHUP)
    wait_for(lambda: not before & set(workers(server)), "new workers")
    server.get()
    wait_scrape(server, gunicorn_request_duration_seconds_count=2, gunicorn_worker_exits_total__stopped=2)
    assert exporter(server) == first


def test_an_upgrade_by_usr2_hands_the_port_over(serve: Serve) -> None:
    server = start(serve)
    wait_scrape(server, gunicorn_ready=1)
    known = set(server.workers())
    server.signal(signal.SIGUSR2)
    new = wait_for(lambda: set(server.workers()) - known, "the new master").pop()
    wait_for(lambda: server.health().get("master") == new and server.health()["ready"], "the new master is ready")
    server.signal(signal.SIGTERM)
    server.wait_exit()
    server.get()
    wait_scrape(server, gunicorn_request_duration_seconds_count=1)


def test_a_taken_address_is_logged_and_the_server_serves(serve: Serve) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        server = start(serve, GREENDOCK_METRICS_BIND=f"127.0.0.1:{taken.getsockname()[1]}")
        server.wait_log("cannot listen on 127.0.0.1")
        assert server.get()[0] == 200
    wait_scrape(server, gunicorn_ready=1)


def test_a_unix_socket_can_be_scraped(serve: Serve, tmp_path: Path) -> None:
    path = tmp_path / "metrics.sock"
    start(serve, GREENDOCK_METRICS_BIND=f"unix:{path}")
    wait_for(path.is_socket, "the socket")
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        client.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
        assert client.recv(15) == b"HTTP/1.0 200 OK"
    assert path.stat().st_mode & 0o007 == 0


@pytest.mark.parametrize("preload", ["false", "true"])
def test_an_application_that_has_metrics_of_its_own_is_exported_too(serve: Serve, preload: str) -> None:
    own = "from prometheus_client import Counter\nSOLD = Counter('sold', 'Sold')\n"
    source = own + WSGI.replace('    start_response("404', '    SOLD.inc()\n    start_response("404')
    server = start(serve, source=source, GUNICORN_PRELOAD_APP=preload)
    for _ in range(5):
        server.get()
    wait_scrape(server, sold_total=5)


def test_gunicorn_still_looks_the_reapers_name_up() -> None:
    names = {name for number, name in Arbiter.SIG_NAMES.items() if number == signal.SIGCHLD}
    assert {f"handle_{name}" for name in names} <= set(SEAMS)
    assert all(callable(getattr(Arbiter, name)) for name in SEAMS)
