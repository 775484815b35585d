"""The healthcheck by itself: healing, cost of imports, and the seams the lifecycle relies on."""

from __future__ import annotations

import ast
import inspect
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from gunicorn.arbiter import Arbiter
from gunicorn.workers.base import Worker

from greendock.runtime import healthcheck
from greendock.runtime.lifecycle import SEAMS
from tests.support import DEADLINE, HEALTHCHECK, clean_environment, wait_for


def test_gunicorn_still_has_every_seam_the_lifecycle_uses() -> None:
    source = inspect.getsource(Arbiter)
    for name in SEAMS:
        assert hasattr(Arbiter, name) or f"self.{name} = " in source, f"{name} has moved: see greendock/lifecycle.py"
    # Handlers are looked up on the instance, by name, each time; and reload() calls the instance's manage_workers.
    assert 'getattr(self, "handle_%s" % signame, None)' in source
    assert "self.manage_workers()" in inspect.getsource(Arbiter.reload)
    assert "self.reload()" in inspect.getsource(Arbiter.handle_hup)


def test_gunicorn_still_makes_the_reloader_of_its_table_before_it_loads_the_application() -> None:
    source = inspect.getsource(Worker.init_process)
    assert source.index("reloader_engines[self.cfg.reload_engine]") < source.index("self.load_wsgi()")


def test_the_healthcheck_imports_nothing_but_the_standard_library() -> None:
    imported = {
        alias.name.partition(".")[0]
        for node in ast.walk(ast.parse(HEALTHCHECK.read_text()))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    assert imported <= {"json", "os", "socket", "subprocess", "sys", "time"}


@pytest.fixture
def stuck(tmp_path: Path) -> tuple[subprocess.Popen[bytes], Path]:
    """A process that plays a master which has no workers and ignores SIGTERM; and its readiness file."""
    code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(60)"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    state = {
        "pid": process.pid,
        "started": healthcheck.start_time(process.pid),
        "state": "serving",
        "workers": 2,
        "minimum": 1,
        "since": "0",
        "restart_after": 1,
        "stop_grace": 1,
    }
    (tmp_path / "ready").write_text("".join(f"{name}={value}\n" for name, value in state.items()))
    return process, tmp_path / "ready"


def check(path: Path, *flags: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-I", "-S", str(HEALTHCHECK), *flags, str(path)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def heal(path: Path) -> str:
    return check(path, "--heal", GREENDOCK_RESTART_AFTER="1").stdout


def test_a_server_not_ready_for_too_long_gets_term_and_then_kill(stuck: tuple[subprocess.Popen[bytes], Path]) -> None:
    process, path = stuck
    try:
        assert heal(path) == "starting: 0/2 workers booted\n"
        wait_for(lambda: f"sent SIGTERM to process {process.pid}" in heal(path), "SIGTERM")
        assert process.poll() is None
        wait_for(lambda: f"sent SIGKILL to process {process.pid}" in heal(path), "SIGKILL")
        assert process.wait(10) == -signal.SIGKILL
    finally:
        process.kill()


def test_a_server_that_becomes_ready_in_time_is_left_alone(stuck: tuple[subprocess.Popen[bytes], Path]) -> None:
    process, path = stuck
    try:
        heal(path)
        workers = path.with_name("ready.workers")
        workers.mkdir()
        (workers / f"{process.pid}.{os.getpid()}.{healthcheck.start_time(os.getpid())}").touch()
        assert heal(path) == "ready: 1/2 workers\n"
        assert not path.with_name("ready.unready").exists()
    finally:
        process.kill()


def test_a_zombie_is_not_alive() -> None:
    child = os.fork()
    if child == 0:
        os._exit(0)
    started = wait_for(lambda: healthcheck.start_time(child) == 0, "a zombie")
    assert started
    os.waitpid(child, 0)


def run_through_the_entrypoint(path: Path, *command: str, **environment: str) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        [sys.executable, "-m", "greendock", "run", *command],
        env=clean_environment(GREENDOCK_READINESS_FILE=str(path), **environment),
    )
    name = next(word for word in command if not word.startswith("--")).encode()

    def runs() -> bool:
        words = Path(f"/proc/{process.pid}/cmdline").read_bytes().split(b"\0")
        return any(word.endswith(name) for word in words[:2])

    wait_for(runs, "the command runs")
    return process


def test_a_command_that_is_no_server_is_left_alone_and_healthy_while_it_lives(tmp_path: Path) -> None:
    path = tmp_path / "ready"
    process = run_through_the_entrypoint(path, "sleep", "60")
    try:
        for restart_after in ("1", "0"):
            done = check(path, "--heal", GREENDOCK_RESTART_AFTER=restart_after)
            assert done.stdout == "not a server: sleep runs, healthy while it lives\n"
            assert done.returncode == 0
        assert not path.with_name("ready.unready").exists(), "nothing counts the time until it would be ended"
        assert process.poll() is None
    finally:
        process.kill()
        process.wait()


def test_a_gunicorn_that_hangs_before_it_listens_is_ended(tmp_path: Path) -> None:
    # No workers, no readiness file: the application is imported before Gunicorn calls its first hook.
    path = tmp_path / "ready"
    (tmp_path / "hangs.py").write_text("import time\ntime.sleep(60)\n")
    arguments = ("--preload", "--pythonpath", str(tmp_path), "--bind", "127.0.0.1:0", "hangs:app")
    process = run_through_the_entrypoint(path, "gunicorn", *arguments)
    try:
        assert check(path, "--heal", GREENDOCK_RESTART_AFTER="1").stdout == f"starting: no readiness file at {path}\n"
        wait_for(lambda: process.poll() is not None or "SIGTERM" in heal(path), "SIGTERM")
        assert process.wait(DEADLINE) == -signal.SIGTERM
    finally:
        process.kill()
        process.wait()


def test_a_program_said_to_be_a_server_is_not_ready_before_it_says_so(tmp_path: Path) -> None:
    path = tmp_path / "ready"
    process = run_through_the_entrypoint(path, "--server", "sleep", "60")
    try:
        assert check(path).stdout == f"starting: no readiness file at {path}\n"
    finally:
        process.kill()
        process.wait()


def test_a_second_command_in_a_servers_container_does_not_hide_the_server(tmp_path: Path) -> None:
    path = tmp_path / "ready"
    server = run_through_the_entrypoint(path, "--server", "sleep", "60")
    second = run_through_the_entrypoint(path, "sleep", "60")
    try:
        assert check(path).stdout.startswith("starting: ")
    finally:
        for process in (server, second):
            process.kill()
            process.wait()


@pytest.mark.parametrize(("command", "status", "said"), [("echo fine", 0, "fine"), ("echo stuck; exit 3", 1, "stuck")])
def test_another_process_is_judged_by_its_own_command(tmp_path: Path, command: str, status: int, said: str) -> None:
    path = tmp_path / "ready"
    process = run_through_the_entrypoint(path, "sleep", "60")
    try:
        done = check(path, "--heal", GREENDOCK_HEALTH_COMMAND=command)
        assert done.returncode == status
        assert done.stdout.endswith(f"{said}\n")
    finally:
        process.kill()
        process.wait()


def test_a_dead_masters_pid_is_never_sent_a_signal(stuck: tuple[subprocess.Popen[bytes], Path]) -> None:
    process, path = stuck
    try:
        path.write_text(path.read_text().replace("started=", "started=9"))  # the pid is another process's by now
        for _ in range(3):
            assert heal(path) == f"dead: master {process.pid} is gone\n"
            os.utime(path.with_name("ready.unready"), (0, 0))
        assert process.poll() is None
    finally:
        process.kill()
