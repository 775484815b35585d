"""A worker in which no thread can serve is no worker: whatever ends a thread, another takes its place."""

from __future__ import annotations

import contextlib
import http.client
import inspect
import re
import signal
from pathlib import Path

import pytest
from lean_server import until

from greendock.contrib.lean.serving_token import ServingToken
from greendock.contrib.lean.worker import LeanWorker

HOSTILE = "hostile_app:app"


def request(target, *fields):
    return "\r\n".join([f"GET {target} HTTP/1.1", "Host: a", *fields, "", ""]).encode()


def answered(server, count=10):
    """Whether so many requests are answered, each on a connection of its own."""
    return all(server.connect(request("/pid", "Connection: close")).reply().status == 200 for _ in range(count))


# An exception is raised before a line is executed, the one that a request to /pid?name,line names. It ends the tracing
# of its thread; the next request of that thread begins it again.
ARMED = """
import sys, threading
target = None
def trace(frame, event, arg):
    global target
    code = frame.f_code
    if not code.co_filename.endswith(("lean/worker.py", "lean/serving_token.py")):
        return None
    if event == "line" and target == (code.co_name, frame.f_lineno):
        target = None
        raise SystemExit(f"ended at {code.co_name}")
    return trace
def pre_request(worker, req):
    global target
    sys.settrace(trace)
    frame = sys._getframe(1)
    while frame:
        frame.f_trace, frame = trace, frame.f_back
    if "," in req.query:
        name, line = req.query.split(",")
        target = (name, int(line))
        worker.log.info("armed")
    elif target is None and req.query == "count":
        worker.log.info("hit")
def post_worker_init(worker):
    threading.settrace(trace)
"""
LOOP = {
    LeanWorker: ("serve_events", "accept", "claim", "park", "drop", "handle", "serve", "handle_request", "respond"),
    ServingToken: ("wait", "begin", "end"),
}


def lines():
    """Every line of the serving loop: the name of its function and its number."""
    for owner, names in LOOP.items():
        for name in names:
            source, first = inspect.getsourcelines(getattr(owner, name))
            yield from ((name, first + number) for number in range(1, len(source)))


def test_a_thread_that_is_ended_at_any_line_costs_its_own_request_and_no_other(start):
    server = start("--threads", "2", "--timeout", "30", conf=ARMED, app=HOSTILE)
    before = server.pids()
    for name, line in lines():
        clients = [server.connect(request(f"/pid?{name},{line}"))]  # it may be hit itself
        clients += [server.connect(request(target, "Connection: close")) for target in ("/pid", "/fails", "/pid?count")]
        for client in clients:
            with contextlib.suppress(OSError, http.client.HTTPException):
                client.reply()
            client.close()
    assert answered(server)
    assert server.pids() == before
    assert server.log.count("hit") > server.log.count("armed") / 3


def test_exceptions_in_every_thread_leave_a_server_that_serves(start):
    server = start("--threads", "4", app=HOSTILE)
    before = server.pids()
    for _ in range(3):
        server.get("/throw?4")
        until(lambda: answered(server))
    assert server.pids() == before


def test_a_worker_none_of_whose_threads_can_live_is_replaced(start):
    server = start("--threads", "2", "--timeout", "30", app=HOSTILE)
    (pid,) = server.pids()
    server.connect(request("/close_epolls")).rest()
    until(lambda: pid not in server.pids() and server.pids())
    assert answered(server)


@pytest.mark.parametrize("how", ["fork_and_exit", "fork_and_raise", "fork_and_return", "fork_in_a_generator"])
def test_a_child_that_comes_back_from_a_request_ends_and_sends_nothing(start, how):
    server = start("--threads", "2", app=HOSTILE)
    client = server.connect(request(f"/{how}"))
    child = int(client.reply().text)
    until(lambda: not running(child))
    client.send(request("/pid"))  # nothing came between
    assert {int(client.reply().text)} == server.pids()
    assert answered(server)


def running(pid):
    """Whether the process is there and not a zombie: its parent, an application, does not wait for it."""
    status = Path(f"/proc/{pid}/stat")
    return status.exists() and status.read_text().rpartition(")")[2].split()[0] != "Z"


def test_many_requests_that_wait_arrive_at_once_after_a_pause(start, tmp_path):
    """None of them waits until another is done."""
    server = start("--threads", "8", app=HOSTILE)
    release = tmp_path / "release"
    clients = [server.connect(request(f"/held?{tmp_path}/arrived{number},{release}")) for number in range(7)]
    until(lambda: len(list(tmp_path.glob("arrived*"))) == 7)
    assert answered(server)
    release.touch()
    assert [client.reply().text for client in clients] == ["held"] * 7


HEADS = """
from greendock.contrib.lean import worker
worker.HEADS_TOTAL = 300_000
"""


def test_unfinished_heads_are_bounded_in_total(start):
    server = start("--threads", "2", "--limit-request-field_size", "65536", conf=HEADS, app=HOSTILE)
    clients = [server.connect(b"GET / HTTP/1.1\r\nX-A: " + b"a" * 50_000) for _ in range(12)]
    until(lambda: server.log.count("unfinished request heads take more than 300000 bytes") == 7)
    assert answered(server)
    for client in clients:
        client.close()

    def has_room():
        client = server.connect(b"GET /pid HTTP/1.1\r\nHost: a\r\nX-A: " + b"a" * 50_000)
        client.send(b"\r\n\r\n")
        return client.reply().status == 200

    until(has_room)  # when it has noticed that the others are gone


def test_the_access_log_does_not_blame_the_request_before_a_bad_one(start):
    server = start("--access-logfile", "-", "--access-logformat", "access %(r)s %(s)s", app=HOSTILE)
    answers = server.connect(request("/pid") + b"GET / HTTP/9.9\r\n\r\n").rest()
    assert answers.count(b"HTTP/1.1 ") == 2
    until(lambda: "Invalid request from ip" in server.log)
    assert set(re.findall("^access (.*)", server.log, re.MULTILINE)) == {"GET /pid HTTP/1.1 200"}


def test_a_hook_may_read_every_attribute_that_gunicorns_requests_have(start):
    server = start(
        conf="""
def pre_request(worker, req):
    assert req.unreader.sock is not None
    assert req.limit_request_line == 4094 and req.max_buffer_headers > 0 and req._use_fast is False
""",
        app=HOSTILE,
    )
    client = server.connect(request("/pid") * 2)
    assert [client.reply().status for _ in range(2)] == [200, 200]


RECYCLES = """
def pre_request(worker, req):
    if req.path == "/held":
        worker.max_requests = worker.nr + 1
"""


def test_connections_queued_when_a_recycling_worker_is_told_to_stop_are_served(start, tmp_path):
    server = start("--threads", "1", "--max-requests", "100000", conf=RECYCLES, app=HOSTILE)
    last = server.connect(request(f"/held?{tmp_path}/arrived,{tmp_path}/release"))
    until((tmp_path / "arrived").exists)
    until(lambda: "Autorestarting worker" in server.log)
    queued = [server.connect(request("/pid")) for _ in range(10)]
    server.signal(signal.SIGTERM)
    until(lambda: "Handling signal: term" in server.log)
    (tmp_path / "release").touch()
    assert last.reply().text == "held"
    assert [client.reply().status for client in queued] == [200] * 10
    assert server.wait() == 0
