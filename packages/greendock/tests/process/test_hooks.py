"""Hooks on live servers: every event, in order, and what becomes of a server whose hooks fail."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from greendock.hooks.events import EVENTS
from tests.support import HELLO, Server, children, wait_for

Serve = Callable[..., Server]

ASGI = """
async def app(scope, receive, send):
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})
"""

# One function for each event, which says that it ran, and raises where a file of the event's name tells it to.
HOOKS = "import os\nfrom pathlib import Path\n" + "".join(
    f"""
def {event.name}({", ".join(event.arguments)}):
    with open("ran", "a") as file:
        file.write("{event.name} %d\\n" % os.getpid())
    if os.environ.get("FAIL") in ("all", "{event.name}") or Path("fail-{event.name}").exists():
        raise ValueError("no {event.name}")
"""
    for event in EVENTS.values()
)
DIRTY = """
from gunicorn.dirty import DirtyApp
class Task(DirtyApp):
    def ping(self):
        return "pong"
"""
DIRTY_CLIENT = """
from gunicorn.dirty import get_dirty_client
def app(environ, start_response):
    start_response("200 OK", [])
    return [get_dirty_client().execute("task:Task", "ping").encode()]
"""
CLASSES = ["sync", "gthread", "asgi"]


@pytest.fixture
def hooked(serve: Serve, tmp_path: Path) -> Callable[..., Server]:
    """Start a server all of whose events are hooked."""
    (tmp_path / "watch.py").write_text(HOOKS)

    def start(worker_class: str, source: str = "", *, wait: bool = True, **environment: str) -> Server:
        hooks = {f"GUNICORN_{name.upper()}": f"watch:{name}" for name in EVENTS}
        common = {
            "GUNICORN_WORKER_CLASS": worker_class,
            "GUNICORN_ASGI_LIFESPAN": "off",
            "PYTHONPATH": str(tmp_path),
            "GUNICORN_GRACEFUL_TIMEOUT": "5",
        }
        text = source or (ASGI if worker_class == "asgi" else HELLO)
        return serve(text, wait=wait, **(common | hooks | environment))

    return start


def ran(server: Server) -> list[str]:
    """Return the events whose hooks ran, in order."""
    file = server.folder / "ran"
    return [line.split()[0] for line in file.read_text().splitlines()] if file.exists() else []


def failures(server: Server, event: str) -> int:
    return server.log.count(f"Hook failed: {event} hook watch:{event}")


def end(server: Server) -> int:
    server.signal(signal.SIGTERM)
    return server.wait_exit()


@pytest.mark.parametrize("worker_class", CLASSES)
def test_every_event_runs_its_hook_in_gunicorns_order(hooked: Callable[..., Server], worker_class: str) -> None:
    server = hooked(worker_class, WEB_CONCURRENCY="1")
    assert ran(server) == [
        "nworkers_changed",
        "on_starting",
        "when_ready",
        "pre_fork",
        "post_fork",
        "post_worker_init",
    ]
    assert server.get()[0] == 200
    wait_for(lambda: ran(server)[6:] == ["pre_request", "post_request"], "both request hooks")
    server.signal(signal.SIGHUP)
    wait_for(lambda: "child_exit" in ran(server), "the old worker has ended")
    assert ran(server)[8:10] == ["nworkers_changed", "on_reload"]
    os.kill(server.workers()[0], signal.SIGABRT)
    wait_for(lambda: ran(server).count("child_exit") == 2, "the aborted worker has ended")
    assert "worker_abort" in ran(server)
    server.wait_ready()
    os.kill(server.workers()[0], signal.SIGINT)
    wait_for(lambda: ran(server).count("child_exit") == 3, "the interrupted worker has ended")
    assert "worker_int" in ran(server)
    server.wait_ready()
    assert end(server) == 0
    assert ran(server)[-3:] == ["worker_exit", "child_exit", "on_exit"]
    assert "Hook failed" not in server.log


@pytest.mark.parametrize("worker_class", CLASSES)
def test_hooks_that_all_fail_do_not_take_a_serving_server_down(
    hooked: Callable[..., Server], worker_class: str
) -> None:
    server = hooked(worker_class, FAIL="all", GREENDOCK_HOOK_FAIL_FAST="none")
    before = server.workers()
    assert server.get()[0] == 500  # pre_request may be a check that must not be skipped
    wait_for(lambda: failures(server, "post_request") == 1, "post_request has failed")
    server.signal(signal.SIGHUP)
    wait_for(lambda: not set(before) & set(server.workers()), "new workers")
    server.wait_ready("2/2")
    first, second = server.workers()
    os.kill(first, signal.SIGABRT)
    os.kill(second, signal.SIGINT)
    wait_for(lambda: not {first, second} & set(server.workers()) and len(server.workers()) == 2, "replaced")
    server.wait_ready("2/2")
    server.signal(signal.SIGTTIN)
    server.wait_ready("3/3")
    assert server.get()[0] == 500
    assert end(server) == 0

    events = ran(server)
    for name, event in EVENTS.items():
        if "dirty" in name or name == "pre_exec":
            continue
        assert name in events
        # Once for each time, with event, hook, worker and traceback.
        assert failures(server, name) == events.count(name), name
        assert server.log.count(f"ValueError: no {name}\n") == events.count(name), name
        if "worker" in event.arguments:
            assert re.search(rf"Hook failed: {name} hook watch:{name} \(worker (\d+|\[booting\])\)", server.log), name
    tracebacks = len(events) + events.count("pre_request")  # a refusal shows the hook's exception as its cause
    assert server.log.count("Traceback (most recent call last)") == tracebacks


@pytest.mark.parametrize("worker_class", CLASSES)
@pytest.mark.parametrize(("event", "status"), [("on_starting", 1), ("post_worker_init", 3)])
def test_a_start_is_given_up_when_a_fail_fast_hook_fails(
    hooked: Callable[..., Server], worker_class: str, event: str, status: int
) -> None:
    server = hooked(worker_class, wait=False, FAIL=event, WEB_CONCURRENCY="1")
    assert server.wait_exit() == status
    assert failures(server, event) == 1
    assert server.log.count(f"ValueError: no {event}\n") == 1
    assert not server.health()["ready"]


@pytest.mark.parametrize("worker_class", CLASSES)
def test_a_server_that_serves_outlives_a_post_worker_init_that_begins_to_fail(
    hooked: Callable[..., Server], worker_class: str
) -> None:
    server = hooked(worker_class)
    (server.folder / "fail-post_worker_init").touch()
    os.kill(server.workers()[0], signal.SIGKILL)
    server.wait_log("exited with code 3", count=2)
    assert server.get()[0] == 200
    (server.folder / "fail-post_worker_init").unlink()
    server.wait_ready("2/2")


def test_a_failing_pre_exec_leaves_the_running_master_and_its_workers_alone(hooked: Callable[..., Server]) -> None:
    server = hooked("gthread")
    before = server.workers()
    (server.folder / "fail-pre_exec").touch()
    server.signal(signal.SIGUSR2)
    new = wait_for(lambda: set(server.workers()) - set(before), "the new master").pop()
    wait_for(lambda: server.health().get("master") == new and server.health()["ready"], "the new master is ready")
    assert failures(server, "pre_exec") == 1
    assert set(before) <= set(server.workers())
    os.kill(new, signal.SIGTERM)
    wait_for(lambda: new not in server.workers(), "the new master has ended")
    assert server.get()[0] == 200


def test_failing_dirty_hooks_leave_both_tiers_serving(hooked: Callable[..., Server], tmp_path: Path) -> None:
    (tmp_path / "task.py").write_text(DIRTY)
    server = hooked(
        "gthread",
        DIRTY_CLIENT,
        FAIL="all",
        GREENDOCK_HOOK_FAIL_FAST="none",
        GUNICORN_PRE_REQUEST="",
        GUNICORN_DIRTY_APPS="task:Task",
        GUNICORN_DIRTY_WORKERS="1",
        GUNICORN_DIRTY_GRACEFUL_TIMEOUT="2",
    )
    server.wait_log("Hook failed: dirty_worker_init")
    assert wait_for(lambda: (answer := server.get())[0] == 200 and answer, "an answer")[1] == "pong"
    assert end(server) == 0
    for name in ("on_dirty_starting", "dirty_post_fork", "dirty_worker_init", "dirty_worker_exit"):
        assert failures(server, name) == ran(server).count(name) == 1, name


def test_a_slow_hook_is_logged_with_its_duration(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text("import time\ndef nap(server): time.sleep(0.2)\ndef quick(server): pass\n")
    server = serve(
        PYTHONPATH=str(tmp_path), GUNICORN_WHEN_READY="slow:quick,slow:nap", GREENDOCK_SLOW_HOOK_SECONDS="0.1"
    )
    assert re.search(r"Slow hook: when_ready hook slow:nap took 0\.[2-9]\d\d s", server.log)
    assert "slow:quick" not in server.log


def test_sys_exit_in_a_master_hook_does_not_orphan_the_workers(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "leave.py").write_text("import sys\ndef leave(server, worker): sys.exit(9)\n")
    server = serve(PYTHONPATH=str(tmp_path), GUNICORN_CHILD_EXIT="leave:leave")
    os.kill(server.workers()[0], signal.SIGKILL)
    server.wait_log("Hook failed: child_exit hook leave:leave")
    server.wait_ready("2/2")
    assert len(children(server.pid)) == 2


def test_faults_of_hooks_and_plugins_stop_the_start_with_one_report(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text("def two(a, b): pass\n")
    server = serve(
        wait=False,
        PYTHONPATH=str(tmp_path),
        GUNICORN_ON_STARTING="bad:two,nowhere:hook",
        GREENDOCK_PLUGINS="missing",
        GUNICORN_WORKER_CLASS="missing",
    )
    assert server.wait_exit() == 2
    assert "greendock: 4 configuration problems, nothing was started:" in server.log
    assert "Traceback" not in server.log


@pytest.mark.parametrize("worker_class", CLASSES)
@pytest.mark.parametrize("error", ["ConnectionResetError", "PermissionError", "StopIteration"])
def test_whatever_a_pre_request_hook_raises_is_answered_and_logged(
    serve: Serve, tmp_path: Path, worker_class: str, error: str
) -> None:
    (tmp_path / "guard.py").write_text(f"def guard(worker, request): raise {error}(104, 'not today')\n")
    server = serve(
        ASGI if worker_class == "asgi" else HELLO,
        PYTHONPATH=str(tmp_path),
        WEB_CONCURRENCY="1",
        GUNICORN_ASGI_LIFESPAN="off",
        GUNICORN_WORKER_CLASS=worker_class,
        GUNICORN_PRE_REQUEST="guard:guard",
    )
    assert server.get()[0] == 500
    server.wait_log("Hook failed: pre_request hook guard:guard")
    assert server.log.count("HookError: Hook failed") == 1
    assert f"{error}:" in server.log
