"""Readiness under faults, with real Gunicorn processes."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import HEALTHCHECK, HELLO, ROOT, Server, children, wait_for

Serve = Callable[..., Server]

SLOW_IMPORT = (
    """
import time, pathlib
while not pathlib.Path("go").exists():
    time.sleep(0.02)
"""
    + HELLO
)

WAITS = """
import os, time, pathlib
def app(environ, start_response):
    if environ["PATH_INFO"] == "/wait":
        while not pathlib.Path("go").exists():
            time.sleep(0.02)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"%d" % os.getpid()]
"""


def test_all_workers_booted_is_ready_and_says_how_many(serve: Serve) -> None:
    server = serve()
    verdict = server.wait_ready("2/2")
    assert verdict["reason"] == "ready: 2/2 workers"
    assert server.get()[0] == 200


def test_an_application_still_importing_is_starting_although_the_port_is_open(serve: Serve) -> None:
    server = serve(SLOW_IMPORT, wait=False)
    server.wait_log("Listening at")
    wait_for(lambda: len(server.workers()) == 2, "both workers forked")
    assert server.health()["reason"] == "starting: 0/2 workers booted"
    (server.folder / "go").touch()
    server.wait_ready("2/2")


def test_an_application_that_fails_to_import_is_never_ready_and_the_server_exits(serve: Serve) -> None:
    server = serve("raise RuntimeError('broken app')", wait=False)
    assert server.wait_exit() == 3
    assert "broken app" in server.log
    assert not server.health()["ready"]


def test_workers_that_fail_alike_tell_one_traceback_and_the_last_line_says_why(serve: Serve) -> None:
    server = serve("import no_such_module", wait=False, WEB_CONCURRENCY="4")
    assert server.wait_exit() == 3
    assert server.log.count("Traceback") == 1
    last = server.log.rstrip().rpartition("\n")[2]
    assert "Worker failed to boot. ModuleNotFoundError: No module named 'no_such_module'" in last
    assert "wsgi.py line 1: import no_such_module" in last


def test_an_import_that_hangs_is_ended_at_the_boot_deadline_with_its_stack_in_the_log(serve: Serve) -> None:
    server = serve(
        "import time\ndef hang_here():\n    time.sleep(600)\nhang_here()\n",
        wait=False,
        GREENDOCK_BOOT_TIMEOUT="0.5",
        WEB_CONCURRENCY="1",
    )
    server.wait_log("hang_here", count=2)
    assert "Timeout" in server.log
    assert server.health()["reason"] == "starting: 0/1 workers booted"


def test_the_boot_deadline_does_not_end_a_worker_that_has_booted(serve: Serve) -> None:
    server = serve(GREENDOCK_BOOT_TIMEOUT="1")
    booted = server.workers()
    end = time.monotonic() + 1.5
    wait_for(lambda: time.monotonic() > end, "the deadline has passed")
    assert server.workers() == booted


def test_one_of_four_workers_crashing_in_a_loop_leaves_the_server_ready(serve: Serve) -> None:
    crash = (
        HELLO
        + """
import threading, time
try:
    os.close(os.open("crasher", os.O_CREAT | os.O_EXCL))
    lead = True
except FileExistsError:
    lead = False
if lead:
    def crash():
        time.sleep(0.3)
        os.unlink("crasher")
        os._exit(7)
    threading.Thread(target=crash, daemon=True).start()
"""
    )
    server = serve(crash, WEB_CONCURRENCY="4")
    server.wait_log("exited with code 7", count=3)
    verdict = wait_for(lambda: (v := server.health())["ready"] and v, "ready")
    assert verdict["booted"] in (3, 4)
    assert server.get()[0] == 200


def test_a_killed_worker_is_forgotten_at_once_and_its_replacement_counted(serve: Serve) -> None:
    server = serve(SLOW_IMPORT, wait=False)
    (server.folder / "go").touch()
    server.wait_ready("2/2")
    (server.folder / "go").unlink()
    os.kill(server.workers()[0], signal.SIGKILL)
    wait_for(lambda: server.health()["reason"] == "ready: 1/2 workers", "one worker forgotten")
    (server.folder / "go").touch()
    server.wait_ready("2/2")


def test_a_replacement_that_cannot_boot_does_not_stop_those_that_serve(serve: Serve) -> None:
    server = serve()
    server.write_app("raise RuntimeError('broken on disk')")
    os.kill(min(server.workers()), signal.SIGKILL)
    server.wait_log("exited with code 3", count=2)
    assert server.get()[0] == 200
    assert server.health()["reason"] == "ready: 1/2 workers"
    server.write_app(HELLO)
    server.wait_ready("2/2")


@pytest.mark.parametrize("attempt", range(3))
def test_on_exit_runs_however_many_workers_fail_to_boot(serve: Serve, attempt: int) -> None:
    server = serve("raise RuntimeError('broken app')", wait=False, WEB_CONCURRENCY="4")
    assert server.wait_exit() == 3
    assert server.health()["state"] == "starting", "on_exit has removed the file"


def test_fewer_workers_than_the_minimum_is_not_ready(serve: Serve) -> None:
    server = serve(SLOW_IMPORT, wait=False, GREENDOCK_MIN_READY_WORKERS="2")
    (server.folder / "go").touch()
    server.wait_ready("2/2")
    (server.folder / "go").unlink()
    os.kill(server.workers()[0], signal.SIGKILL)
    wait_for(lambda: server.health()["reason"] == "starting: 1/2 workers booted, 2 needed", "not ready")


def test_a_hung_worker_is_timed_out_and_replaced(serve: Serve) -> None:
    server = serve(WAITS, GUNICORN_WORKER_CLASS="sync", GUNICORN_TIMEOUT="1")
    before = set(server.workers())
    stuck = socket.create_connection(("127.0.0.1", server.port))
    stuck.sendall(b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n")
    server.wait_log("WORKER TIMEOUT")
    (server.folder / "go").touch()
    wait_for(lambda: len(set(server.workers()) - before) == 1, "a new worker")
    stuck.close()
    server.wait_ready("2/2")


def test_busy_workers_do_not_block_the_healthcheck(serve: Serve) -> None:
    server = serve(WAITS, GUNICORN_WORKER_CLASS="sync", WEB_CONCURRENCY="2")
    threads = [threading.Thread(target=server.get, args=("/wait",)) for _ in range(4)]
    for thread in threads:
        thread.start()
    assert server.health()["reason"] == "ready: 2/2 workers"
    (server.folder / "go").touch()
    for thread in threads:
        thread.join()


def test_a_health_path_is_asked_for_through_gunicorn(serve: Serve) -> None:
    answers = HELLO.replace('"200 OK"', '"200 OK" if not os.path.exists("sick") else "503 Sick"')
    server = serve(answers, GREENDOCK_HEALTH_PATH="/livez")
    server.wait_ready("2/2")
    (server.folder / "sick").touch()
    assert server.health()["reason"] == "failing: GET /livez answered 503"


@pytest.mark.parametrize("name", ["GREENDOCK_HEALTH_HOST", "NGINX_SERVER_NAMES"])
def test_the_health_path_is_asked_for_under_a_name_the_application_answers(serve: Serve, name: str) -> None:
    answers = HELLO.replace('"200 OK"', '"200 OK" if environ["HTTP_HOST"] == "shop.example" else "400 Bad Request"')
    server = serve(answers, GREENDOCK_HEALTH_PATH="/livez", **{name: "shop.example"})
    assert server.health()["reason"] == "ready: 2/2 workers"


def test_a_health_path_answered_400_names_the_variable_that_sets_the_host(serve: Serve) -> None:
    server = serve(HELLO.replace("200 OK", "400 Bad Request"), wait=False, GREENDOCK_HEALTH_PATH="/livez")
    wait_for(lambda: "GREENDOCK_HEALTH_HOST" in server.health()["reason"], "the hint")


@pytest.mark.parametrize("worker_class", ["lean", "gthread", "sync"])
def test_an_asgi_application_under_a_wsgi_worker_is_named_before_anything_is_ready(
    serve: Serve, worker_class: str
) -> None:
    server = serve("async def app(scope, receive, send): ...", wait=False, GUNICORN_WORKER_CLASS=worker_class)
    assert server.wait_exit() == 3
    assert "APP_MODULE=wsgi:app is an ASGI application" in server.log
    assert "accepted: GUNICORN_WORKER_CLASS=asgi" in server.log


def test_a_wsgi_application_under_the_asgi_worker_is_named_before_anything_is_ready(serve: Serve) -> None:
    server = serve(wait=False, GUNICORN_WORKER_CLASS="asgi")
    assert server.wait_exit() == 3
    assert "APP_MODULE=wsgi:app is a WSGI application" in server.log
    assert "accepted: GUNICORN_WORKER_CLASS=lean" in server.log


def test_a_reload_keeps_the_server_ready_and_counts_the_new_workers(serve: Serve) -> None:
    server = serve()
    before = set(server.workers())
    server.signal(signal.SIGHUP)
    wait_for(lambda: not before & set(server.workers()) and server.health()["booted"] == 2, "new workers")
    assert server.health()["reason"] == "ready: 2/2 workers"


def test_a_reload_does_not_end_old_workers_before_new_ones_have_booted(serve: Serve) -> None:
    server = serve(SLOW_IMPORT, wait=False)
    (server.folder / "go").touch()
    server.wait_ready("2/2")
    (server.folder / "go").unlink()
    before = set(server.workers())
    server.signal(signal.SIGHUP)
    wait_for(lambda: len(server.workers()) == 4, "new workers beside the old")
    assert server.health()["ready"]
    assert int(server.get()[1].split()[-1]) in before
    (server.folder / "go").touch()
    wait_for(lambda: len(server.workers()) == 2 and not before & set(server.workers()), "only new workers")
    server.wait_ready("2/2")


@pytest.mark.parametrize(
    ("file", "text", "logged"),
    [
        ("wsgi.py", "raise RuntimeError('broken code')", "did not boot"),
        ("wsgi.py", "app = 1 +", "did not boot"),
        (".env", "GUNICORN_TIMEOUT=soon", "the new configuration is refused"),
        ("gunicorn.conf.py", "raise RuntimeError('broken conf')", "the new configuration is refused"),
        ("gunicorn.conf.py", "worker_class = 'no.such.Worker'", "class uri"),
    ],
)
def test_a_reload_onto_something_broken_leaves_the_old_workers_serving(
    serve: Serve, file: str, text: str, logged: str
) -> None:
    server = serve()
    before = server.workers()
    path = server.folder / file
    path.write_text(path.read_text() + text if file == "gunicorn.conf.py" else text)
    server.signal(signal.SIGHUP)
    server.wait_log("Reload failed, the old workers go on")
    assert logged in server.log
    wait_for(lambda: sorted(server.workers()) == sorted(before), "only the old workers")
    assert server.health()["reason"] == "ready: 2/2 workers"
    assert server.get()[0] == 200
    server.write_app(HELLO)
    (server.folder / ".env").unlink(missing_ok=True)
    (server.folder / "gunicorn.conf.py").write_text((ROOT / "gunicorn.conf.py").read_text())
    server.signal(signal.SIGHUP)
    wait_for(lambda: not set(before) & set(server.workers()), "a later reload works")
    server.wait_ready("2/2")


def test_a_worker_added_and_taken_by_signal_changes_what_is_wanted(serve: Serve) -> None:
    server = serve()
    server.signal(signal.SIGTTIN)
    server.wait_ready("3/3")
    server.signal(signal.SIGTTOU)
    server.wait_ready("2/2")


def test_an_upgrade_by_usr2_hands_the_file_over_and_back(serve: Serve) -> None:
    server = serve()
    workers = server.workers()
    server.signal(signal.SIGUSR2)
    new = wait_for(lambda: set(server.workers()) - set(workers), "the new master").pop()
    wait_for(lambda: server.health().get("master") == new and server.health()["ready"], "the new master is ready")
    os.kill(new, signal.SIGKILL)
    for worker in children(new):
        os.kill(worker, signal.SIGKILL)
    wait_for(lambda: server.health().get("master") == server.pid, "the old master counts again")
    assert server.health()["reason"] == "ready: 2/2 workers"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
def test_a_stopped_server_leaves_no_readiness_behind(serve: Serve, number: signal.Signals) -> None:
    server = serve()
    server.signal(number)
    assert server.wait_exit() == 0
    assert server.health()["reason"] == f"starting: no readiness file at {server.ready_file}"
    assert list((server.folder / "run" / "ready.workers").iterdir()) == []


def test_a_killed_master_is_dead_although_its_workers_still_serve(serve: Serve) -> None:
    server = serve()
    server.signal(signal.SIGKILL)
    server.wait_exit()
    assert server.health()["reason"] == f"dead: master {server.pid} is gone"


def test_a_file_left_behind_is_not_ready_and_is_replaced_at_the_next_start(serve: Serve) -> None:
    server = serve()
    server.signal(signal.SIGKILL)
    server.wait_exit()
    again = Server(server.folder, **{"GREENDOCK_READINESS_FILE": str(server.ready_file)})
    try:
        again.start().wait_ready("2/2")
        assert again.health()["master"] == again.pid
    finally:
        again.close()


def test_a_pid_used_again_by_another_process_is_not_the_master(serve: Serve) -> None:
    server = serve()
    text = server.ready_file.read_text()
    server.ready_file.write_text(re.sub(r"(?<=started=)\d+", "1", text))
    server.ready_file.with_name("ready.process").unlink()  # else: left behind by an earlier run, a server starts
    assert server.health()["reason"] == f"dead: master {server.pid} is gone"


def test_two_servers_with_one_file_is_an_error_and_the_first_goes_on(serve: Serve) -> None:
    first = serve()
    second = serve(wait=False, GREENDOCK_READINESS_FILE=str(first.ready_file))
    assert second.wait_exit() == 1
    assert "belongs to the running server" in second.log
    assert first.health()["ready"]


def test_two_servers_with_a_file_each_are_both_ready(serve: Serve) -> None:
    first, second = serve(), serve()
    assert first.health()["master"] != second.health()["master"]


def test_a_readiness_folder_that_cannot_be_written_stops_the_start_with_one_sentence(serve: Serve) -> None:
    server = serve(wait=False, GREENDOCK_READINESS_FILE="/proc/nowhere/ready")
    assert server.wait_exit() == 1
    assert "GREENDOCK_READINESS_FILE=/proc/nowhere/ready cannot be written" in server.log
    assert "Listening at" not in server.log


def test_a_file_with_nonsense_in_it_is_not_ready(tmp_path: Path) -> None:
    for text in ("", "{}", "pid=x\nstarted=\n", "state=serving\npid=1", "\0" * 10):
        (tmp_path / "ready").write_text(text)
        done = subprocess.run(
            [sys.executable, "-I", "-S", str(HEALTHCHECK), str(tmp_path / "ready")],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 1
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize("worker_class", ["sync", "gthread", "asgi"])
def test_term_says_draining_at_once_and_serves_on_until_the_drain_ends(serve: Serve, worker_class: str) -> None:
    source = (
        HELLO
        if worker_class != "asgi"
        else """
async def app(scope, receive, send):
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"hello"})
"""
    )
    server = serve(
        source, GUNICORN_WORKER_CLASS=worker_class, GREENDOCK_DRAIN_SECONDS="3", GUNICORN_ASGI_LIFESPAN="off"
    )
    server.signal(signal.SIGTERM)
    wait_for(lambda: server.health()["state"] == "draining", "draining")
    assert server.get()[0] == 200
    assert server.process is not None
    assert server.process.poll() is None
    assert server.wait_exit() == 0


def test_a_second_term_ends_the_drain_at_once(serve: Serve) -> None:
    server = serve(GREENDOCK_DRAIN_SECONDS="60", GREENDOCK_STOP_GRACE_SECONDS="90")
    server.signal(signal.SIGTERM)
    wait_for(lambda: server.health()["state"] == "draining", "draining")
    server.signal(signal.SIGTERM)
    assert server.wait_exit() == 0


def test_a_crashed_worker_is_replaced_while_draining(serve: Serve) -> None:
    server = serve(GREENDOCK_DRAIN_SECONDS="60", GREENDOCK_STOP_GRACE_SECONDS="90")
    server.signal(signal.SIGTERM)
    wait_for(lambda: server.health()["state"] == "draining", "draining")
    before = set(server.workers())
    os.kill(min(before), signal.SIGKILL)
    wait_for(lambda: len(set(server.workers()) - before) == 1, "a replacement")


def test_a_port_that_is_taken_is_never_ready(serve: Serve) -> None:
    first = serve()
    second = serve(wait=False, GUNICORN_BIND=f"127.0.0.1:{first.port}", GUNICORN_GRACEFUL_TIMEOUT="1")
    assert second.wait_exit() == 1
    assert not second.health()["ready"]
