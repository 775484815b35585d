"""``greendock release`` as a process: what it runs, with which environment, and how it ends."""

from __future__ import annotations

import fcntl
import signal
import subprocess
import sys
from pathlib import Path

from greendock.runtime import healthcheck
from tests.support import DEADLINE, clean_environment, greendock, wait_for


def test_without_a_command_there_is_nothing_to_do(tmp_path: Path) -> None:
    done = greendock("release", cwd=tmp_path, GUNICORN_TIMEOUT="the server's own start reports this")
    assert done.returncode == 0
    assert "nothing to do" in done.stderr


def test_its_output_and_its_exit_code_are_the_commands(tmp_path: Path) -> None:
    done = greendock("release", cwd=tmp_path, GREENDOCK_RELEASE_COMMAND="echo one table && exit 7")
    assert done.returncode == 7
    assert done.stdout == "one table\n"
    assert "failed (exit code 7)" in done.stderr


def test_the_command_has_the_applications_environment_and_secrets(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("hunter2\n")
    (tmp_path / ".env").write_text("COLOUR=green\n")
    environment = {"GREENDOCK_RELEASE_COMMAND": 'echo "$COLOUR $WORKERS_PER_CORE $PORT"', "PORT": "9000"}
    environment["WORKERS_PER_CORE_FILE"] = str(tmp_path / "password")
    wrong = greendock("release", cwd=tmp_path, **environment)
    assert wrong.returncode == 2, "a configuration that is refused changes no database"
    assert "WORKERS_PER_CORE" in wrong.stderr
    assert "hunter2" not in wrong.stdout + wrong.stderr
    (tmp_path / "password").write_text("3\n")
    done = greendock("release", cwd=tmp_path, **environment)
    assert done.stdout == "green 3 9000\n", done.stderr


def test_a_command_that_takes_too_long_is_ended_with_all_it_started(tmp_path: Path) -> None:
    command = f"sleep 1000 & echo $! >{tmp_path}/child; wait"
    done = greendock("release", cwd=tmp_path, GREENDOCK_RELEASE_COMMAND=command, GREENDOCK_RELEASE_TIMEOUT="1")
    assert done.returncode == 124
    assert "was ended after" in done.stderr
    child = (tmp_path / "child").read_text().strip()
    wait_for(lambda: healthcheck.start_time(int(child)) == 0, "what it started is gone")


def test_a_signal_reaches_what_the_command_has_started(tmp_path: Path) -> None:
    environment = clean_environment(
        GREENDOCK_RELEASE_COMMAND=f"trap 'exit 3' TERM; touch {tmp_path}/on; sleep 1000 & wait"
    )
    running = subprocess.Popen([sys.executable, "-m", "greendock", "release"], cwd=tmp_path, env=environment)
    try:
        wait_for((tmp_path / "on").exists, "the command runs")
        running.send_signal(signal.SIGTERM)
        assert running.wait(DEADLINE) == 3
    finally:
        running.kill()
        running.wait()


def test_two_never_run_at_once(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    environment = {"GREENDOCK_RELEASE_COMMAND": "echo ran", "GREENDOCK_RELEASE_TIMEOUT": "1"}
    with lock.open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        done = greendock("release", "--lock", str(lock), cwd=tmp_path, **environment)
        assert done.returncode == 124
        assert "another release command still runs" in done.stderr
        assert done.stdout == ""
    assert greendock("release", "--lock", str(lock), cwd=tmp_path, **environment).stdout == "ran\n"
