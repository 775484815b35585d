"""What the tests share: waiting with a deadline, free ports, real Gunicorn processes."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from greendock.testing import stack
from greendock.testing.waiting import free_port as free_port
from greendock.testing.waiting import free_ports as free_ports
from greendock.testing.waiting import wait_for as wait_for

PACKAGE = Path(__file__).resolve().parents[1]
ROOT = PACKAGE.parents[1]
HEALTHCHECK = PACKAGE / "src" / "greendock" / "runtime" / "healthcheck.py"
DEADLINE = 30.0


def local_nginx() -> str:
    """Return the path of an Nginx new enough for our configuration."""
    found = subprocess.run([ROOT / "scripts" / "local-nginx"], check=True, stdout=subprocess.PIPE, text=True)
    return found.stdout.strip()


def clean_environment(**extra: str) -> dict[str, str]:
    """Return this process's environment without what configures the stack, this Python's programs first on the PATH."""
    kept = stack.clean_environment()
    path = os.pathsep.join([str(Path(sys.executable).parent), kept.get("PATH", "")])
    return kept | {"PATH": path, "PYTHONUNBUFFERED": "1"} | extra


class Server:
    """A real Gunicorn in a folder of its own, with the real ``gunicorn.conf.py``."""

    def __init__(
        self, folder: Path, command: tuple[str, ...] = ("greendock", "run", "gunicorn"), **environment: str
    ) -> None:
        self.folder = folder
        self.port = free_port()
        self.ready_file = folder / "run" / "ready"
        self.log_file = folder / "log"
        self.command = command
        self.environment = clean_environment(
            **{
                "GUNICORN_BIND": f"127.0.0.1:{self.port}",
                "GREENDOCK_READINESS_FILE": str(self.ready_file),
                "GREENDOCK_DRAIN_SECONDS": "0",
                "WEB_CONCURRENCY": "2",
                "APP_MODULE": "wsgi:app",
                "GUNICORN_GRACEFUL_TIMEOUT": "10",
            }
            | environment
        )
        folder.mkdir(parents=True, exist_ok=True)
        conf = folder / "gunicorn.conf.py"
        if not conf.exists():
            conf.write_text((ROOT / "gunicorn.conf.py").read_text())
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> Server:
        """Start without waiting."""
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(
                self.command, cwd=self.folder, env=self.environment, stdout=log, stderr=log, start_new_session=True
            )
        return self

    def write_app(self, source: str, name: str = "wsgi.py") -> None:
        """Write the application's module."""
        (self.folder / name).write_text(source)

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    @property
    def log(self) -> str:
        """Everything logged so far."""
        return self.log_file.read_text(errors="replace") if self.log_file.exists() else ""

    def health(self, *flags: str) -> dict[str, Any]:
        """Run the healthcheck as the container does; return its verdict."""
        done = subprocess.run(
            [sys.executable, "-I", "-S", str(HEALTHCHECK), "--json", *flags, str(self.ready_file)],
            capture_output=True,
            text=True,
            timeout=DEADLINE,
            check=False,
        )
        verdict: dict[str, Any] = json.loads(done.stdout)
        assert done.returncode == (0 if verdict["ready"] else 1), done
        return verdict

    def wait_ready(self, reason: str = "") -> dict[str, Any]:
        """Wait until the healthcheck says ready with all workers (and its line holds ``reason``)."""

        def ready() -> dict[str, Any] | None:
            assert self.process is not None
            assert self.process.poll() is None, f"exited with {self.process.returncode}:\n{self.log}"
            verdict = self.health()
            complete = verdict["ready"] and verdict["booted"] == verdict["workers"]
            return verdict if complete and reason in verdict["reason"] else None

        try:
            return wait_for(ready, "ready")
        except AssertionError as error:
            raise AssertionError(f"{error}; {self.health()['reason']}\n{self.log}") from None

    def wait_log(self, text: str, count: int = 1) -> None:
        """Wait until ``text`` has been logged ``count`` times."""
        try:
            wait_for(lambda: self.log.count(text) >= count, f"{text!r} in the log")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.log}") from None

    def get(self, path: str = "/", method: str = "GET", body: bytes | None = None, **headers: str) -> tuple[int, str]:
        """Ask this server; return status and body."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE)
        try:
            connection.request(method, path, body=body, headers=headers)
            response = connection.getresponse()
            return response.status, response.read().decode(errors="replace")
        finally:
            connection.close()

    def workers(self) -> list[int]:
        """Return the pids of the master's children."""
        return children(self.pid)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the master."""
        os.kill(self.pid, number)

    def wait_exit(self, deadline: float = DEADLINE) -> int:
        """Wait for the master to end; return its exit status."""
        assert self.process is not None
        try:
            return self.process.wait(deadline)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running after {deadline:g} s\n{self.log}") from None

    def close(self) -> None:
        """End the whole session; nothing stays behind."""
        if self.process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(DEADLINE)


def children(pid: int) -> list[int]:
    """Return the pids of a process's children."""
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text() if Path(f"/proc/{pid}").exists() else ""
    return [int(child) for child in text.split()]


HELLO = """
import os
def app(environ, start_response):
    body = b"hello from %d" % os.getpid()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
"""


@contextmanager
def serving(folder: Path, source: str = HELLO, *, wait: bool = True, **environment: str) -> Iterator[Server]:
    """Run a server with ``source`` as its application, ready when the block begins."""
    server = Server(folder, **environment)
    server.write_app(source)
    try:
        server.start()
        if wait:
            server.wait_ready()
        yield server
    finally:
        server.close()


def greendock(*arguments: str, cwd: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the ``greendock`` command in a clean environment."""
    return run_clean([sys.executable, "-m", "greendock", *arguments], cwd, environment)


def run_clean(command: list[str], cwd: Path | None, environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a command that ends by itself, in a clean environment."""
    return subprocess.run(
        command,
        cwd=cwd or ROOT,
        env=clean_environment(**environment),
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )
