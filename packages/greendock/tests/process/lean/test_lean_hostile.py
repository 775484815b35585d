"""Ordinary applications do strange things to their process. ``lean`` survives what gthread and ``drain`` survive.

Every test runs identically on the three. A difference that is wanted is in docs/lean.md, and in the tests of ``lean``.
"""

from __future__ import annotations

import contextlib
import http.client
import locale
import os
import pwd
import re
import resource
import signal
import socket
import sys
import time
from email.utils import parsedate_to_datetime
from pathlib import Path

import pytest
from lean_server import until

CLASSES = {
    "gthread": "gthread",
    "drain": "greendock.contrib.drain.DrainingThreadWorker",
    "lean": "greendock.contrib.lean.LeanWorker",
}
#: Seconds for an answer that is not expected to come.
SOON = 5


@pytest.fixture(params=CLASSES)
def worker_class(request):
    return request.param


@pytest.fixture
def serve(start, worker_class):
    """Start the hostile application: ``serve(*arguments, conf=...)``."""

    def _serve(*args, **options):
        threads = () if "--threads" in args else ("--threads", "4")
        return start("-k", CLASSES[worker_class], *threads, *args, app="hostile_app:app", **options)

    return _serve


def request(target, *fields):
    return "\r\n".join([f"GET {target} HTTP/1.1", "Host: a", *fields, "", ""]).encode()


def answers(server, count=20):
    """What became of so many requests, each on a connection of its own: the pid that answered, or None."""
    results = []
    for _ in range(count):
        client = server.connect(request("/pid", "Connection: close"), timeout=SOON)
        try:
            results.append(int(client.reply().text))
        except (OSError, http.client.HTTPException):
            results.append(None)
        finally:
            client.close()
    return results


def passed(seconds):
    """Wait: something that takes this long must not happen, or must have happened."""
    begun = time.monotonic()
    until(lambda: time.monotonic() - begun > seconds)


# A default timeout for sockets.


def test_a_default_timeout_does_not_cut_a_download(serve, tmp_path):
    server = serve("--timeout", "20")
    server.get("/default_timeout?0.2")
    with (tmp_path / "large").open("wb") as large:
        large.truncate(20_000_000)
    for target in (f"/file?{tmp_path}/large", "/big?20000000"):
        client = server.connect(request(target, "Connection: close"))
        client.sock.recv(1)
        passed(0.5)
        assert len(client.rest()) > 20_000_000


def test_a_default_timeout_does_not_hold_up_a_stop(serve):
    server = serve("--keep-alive", "60", "--graceful-timeout", "15")
    server.get("/default_timeout?60")
    clients = [server.connect(request("/pid")) for _ in range(8)]
    assert all(client.reply().status == 200 for client in clients)
    server.signal(signal.SIGTERM)
    assert server.wait() == 0
    assert "Worker exiting" in server.log  # it was not killed
    assert [client.rest() for client in clients] == [b""] * 8


def test_a_default_timeout_does_not_hold_up_the_heartbeat(serve):
    server = serve("--keep-alive", "1", "--timeout", "30")
    server.get("/default_timeout?60")
    before = server.pids()
    clients = [server.connect(request("/pid")) for _ in range(6)]
    assert all(client.reply().status == 200 for client in clients)
    assert [client.rest() for client in clients] == [b""] * 6  # expired
    assert set(answers(server)) == before
    assert "WORKER TIMEOUT" not in server.log


def test_a_default_timeout_does_not_let_silent_connections_hold_every_thread(serve):
    server = serve()
    server.get("/default_timeout?60")
    silent = [server.connect() for _ in range(4)]
    assert server.get("/pid").status == 200
    for client in silent:
        client.close()


# Threads.


def test_an_asynchronous_exception_in_an_idle_thread_costs_one_request_at_most(serve, tmp_path):
    server = serve()
    before = server.pids()
    release = tmp_path / "release"
    clients = [server.connect(request(f"/held?{tmp_path}/arrived{number},{release}")) for number in range(4)]
    until(lambda: len(list(tmp_path.glob("arrived*"))) == 4)  # every thread was started
    release.touch()
    for client in clients:
        client.reply()
        client.close()
    assert server.get("/throw?1").text != "0"
    results = answers(server, 12)
    assert results.count(None) <= 1
    assert set(results) - {None} == before


def test_a_thread_of_the_application_that_never_ends_does_not_keep_the_server_from_stopping(serve):
    server = serve("--graceful-timeout", "1")
    server.get("/never_ends")
    assert None not in answers(server)
    server.signal(signal.SIGTERM)
    assert server.wait() == 0


@pytest.mark.parametrize("interval", ["0.000001", "0.5"])
def test_another_switch_interval_disturbs_no_request(serve, interval):
    server = serve()
    server.get(f"/switch_interval?{interval}")
    assert set(answers(server)) == server.pids()


# Processes.

FORKS = ("fork_and_exit", "fork_in_a_generator", "forkpty_and_exit", "fork_in_c", "multiprocess")


def test_a_child_that_a_request_has_forked_serves_nobody(serve):
    server = serve()
    before = server.pids()
    children = []
    for target in (*FORKS, "run_a_program"):
        client = server.connect(request(f"/{target}", "Connection: close"))
        reply = client.reply()
        assert reply.status == 200, target
        children.append(int(reply.text))
    try:
        assert set(answers(server, 40)) == before
    finally:
        for child in filter(None, children):
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)  # those of gthread do not end


def test_abrt_replaces_the_worker(serve):
    server = serve()
    (pid,) = server.pids()
    os.kill(pid, signal.SIGABRT)
    until(lambda: pid not in server.pids() and server.pids())
    assert set(answers(server)) == server.pids()


def test_usr2_starts_a_second_server_on_the_same_socket(serve, tmp_path):
    server = serve("--pid", f"{tmp_path}/pid")
    before = server.pids()
    server.signal(signal.SIGUSR2)
    second = int(until(lambda: (tmp_path / "pid.2").exists() and (tmp_path / "pid.2").read_text()))
    try:
        until(lambda: server.log.count("Booting worker") == 2)
        server.signal(signal.SIGTERM)
        assert server.wait() == 0
        after = set(answers(server))
        assert None not in after
        assert not after & before
    finally:
        os.kill(second, signal.SIGQUIT)
        until(lambda: not Path(f"/proc/{second}").exists())


def test_it_serves_a_socket_it_was_given(start, worker_class, tmp_path):
    """As systemd does: LISTEN_FDS, with the socket as descriptor 3."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        code = "import os, sys; os.environ['LISTEN_PID'] = str(os.getpid()); os.execv(sys.argv[1], sys.argv[1:])"
        os.set_inheritable(listener.fileno(), True)
        shell = f'exec 3<&{listener.fileno()}; exec "$@"'
        launcher = ("bash", "-c", shell, "-", sys.executable, "-c", code)
        server = start(
            *("-k", CLASSES[worker_class], "--threads", "4"),
            app="hostile_app:app",
            launcher=launcher,
            pass_fds=(listener.fileno(),),
            env={"LISTEN_FDS": "1"},
        )
        assert server.port == listener.getsockname()[1]
    assert set(answers(server)) == server.pids()
    server.signal(signal.SIGTERM)
    assert server.wait() == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become somebody else")
def test_it_serves_as_another_user(serve, tmp_path):
    nobody = pwd.getpwnam("nobody")
    server = serve("--preload", "--user", str(nobody.pw_uid), "--group", str(nobody.pw_gid))
    (pid,) = server.pids()
    assert Path(f"/proc/{pid}").stat().st_uid == nobody.pw_uid
    assert set(answers(server)) == {pid}


def test_requests_may_ask_dirty_workers(serve):
    server = serve("--dirty-app", "hostile_dirty:Dirty", "--dirty-workers", "1")
    until(lambda: server.get("/ask_a_dirty_worker").text == "3")
    server.signal(signal.SIGTERM)
    assert server.wait() == 0


SIGNALS = """
import signal
def post_worker_init(worker):
    signal.signal(signal.SIGALRM, lambda *_: None)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    signal.setitimer(signal.ITIMER_REAL, 0.002, 0.002)
    before = signal.getsignal(signal.SIGTERM)
    def term(*args):
        worker.log.info("the application's own handler")
        before(*args)
    signal.signal(signal.SIGTERM, term)
"""


def test_signal_handlers_of_the_application_disturb_no_request(serve):
    server = serve(conf=SIGNALS)
    assert set(answers(server)) == server.pids()
    server.signal(signal.SIGTERM)
    assert server.wait() == 0
    assert "the application's own handler" in server.log


# What requests share.


def test_a_request_that_closes_its_error_stream_closes_it_for_nobody_else(serve):
    server = serve()
    server.get("/close_errors")
    assert [server.get("/complain").status for _ in range(5)] == [200] * 5
    assert server.log.count("a complaint") == 5


def test_a_request_that_closes_its_socket_closes_nobody_elses(serve):
    server = serve()
    for _ in range(5):
        client = server.connect(request("/close_socket"))
        with contextlib.suppress(OSError, http.client.HTTPException):
            client.reply()
        client.close()
    assert set(answers(server)) == server.pids()


def test_an_application_that_replaces_parts_of_the_standard_library_is_served(serve):
    server = serve()
    server.get("/replace_modules")
    assert set(answers(server)) == server.pids()
    server.signal(signal.SIGTERM)
    assert server.wait() == 0


def test_another_directory_disturbs_no_request(serve, tmp_path):
    server = serve("--access-logfile", str(tmp_path / "access"))
    server.get("/change_directory")
    assert set(answers(server)) == server.pids()
    server.signal(signal.SIGUSR1)
    until(lambda: "Handling signal: usr1" in server.log)
    assert set(answers(server)) == server.pids()


def available(name):
    before = locale.setlocale(locale.LC_ALL)
    try:
        locale.setlocale(locale.LC_ALL, name)
    except locale.Error:
        return False
    locale.setlocale(locale.LC_ALL, before)
    return True


@pytest.mark.parametrize("name", [*filter(available, ["C", "C.UTF-8", "de_DE.UTF-8", "tr_TR.UTF-8"])])
def test_another_locale_changes_no_header(serve, name):
    server = serve(env={"LC_ALL": "C"})
    server.get(f"/change_locale?{name}")
    assert parsedate_to_datetime(server.get("/pid").headers["Date"]).tzname() == "UTC"


def test_a_file_that_the_kernel_cannot_send_is_read(serve, tmp_path):
    server = serve()
    server.get("/no_sendfile")
    (tmp_path / "file").write_bytes(os.urandom(3_000_000))
    for target in (f"/file?{tmp_path}/file",) * 2:
        assert server.get(target).body == (tmp_path / "file").read_bytes()


# What runs out.


def test_a_full_disk_under_the_access_log_disturbs_no_request(serve):
    server = serve("--access-logfile", "/dev/full")
    assert set(answers(server)) == server.pids()


def test_descriptors_that_run_out_come_back(serve):
    server = serve(
        conf="""
import resource
def post_worker_init(worker):
    resource.setrlimit(resource.RLIMIT_NOFILE, (60, 60))
"""
    )
    clients = [server.connect(request("/pid")) for _ in range(100)]
    # gthread's worker ends when it has none left; lean's tries again.
    until(lambda: "Cannot accept a connection" in server.log or "Too many open files" in server.log)
    for client in clients:
        client.close()
    until(lambda: None not in answers(server, 5))


def test_ten_thousand_idle_connections_leave_room_for_a_request(serve):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    count = min(10_000, hard - 1000)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    idle = []
    try:
        server = serve("--worker-connections", "12000", "--keep-alive", "75", "--backlog", "4096", "--timeout", "60")
        for _ in range(count // 100):
            idle += [server.connect(request("/pid")) for _ in range(100)]
            assert all(client.reply().status == 200 for client in idle[-100:])
        assert set(answers(server)) == server.pids()
        for client in (idle[0], idle[-1]):
            client.send(request("/pid"))
            assert client.reply().status == 200
    finally:
        for client in idle:
            client.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


# Hooks and loggers that raise.

RAISING = """
from gunicorn.glogging import Logger
class logger_class(Logger):
    def access(self, *args):
        raise ValueError("access")
    def exception(self, *args, **kwargs):
        raise ValueError("exception")
def pre_request(worker, req):
    if req.path == "/pid" and "pre" in req.query: raise ValueError("pre")
def post_request(worker, req, environ, resp):
    if "post" in req.query: raise ValueError("post")
"""


def test_hooks_and_a_logger_that_raise_cost_no_other_request(serve):
    server = serve("--access-logfile", "-", conf=RAISING)
    for target in ("/pid?pre", "/pid?post", "/fails") * 4:
        client = server.connect(request(target, "Connection: close"))
        client.rest()
        client.close()
    results = []
    for _ in range(20):
        client = server.connect(request("/pid", "Connection: close"))
        results.append(re.search(rb"(\d+)$", client.rest())[1])  # what was logged after it is not its fault
        client.close()
    assert {int(pid) for pid in results} == server.pids()
