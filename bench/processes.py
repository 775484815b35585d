"""Peers as processes: start, wait until they answer, CPU time and memory over all of a peer's processes, end."""

from __future__ import annotations

import http.client
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from bench.peers.model import BIN, ROOT, Peer, Place

DEADLINE = 30.0
_TICKS = os.sysconf("SC_CLK_TCK")
_LOG_LIMIT = 16 * 1024 * 1024
_PROC = Path("/proc")


class Running:
    """A peer's programs, each in a session of its own: a process belongs to the peer by its session."""

    def __init__(self, peer: Peer, place: Place) -> None:
        self.peer, self.place = peer, place
        self.port = place.port(peer.port)
        self._programs: list[subprocess.Popen[bytes]] = []
        self._shared: Running | None = None

    def start(self) -> None:
        """Start every program without waiting."""
        for number, program in enumerate(self.peer.programs(self.place)):
            with (self.place.folder / f"log-{number}").open("ab") as log:
                self._programs.append(
                    subprocess.Popen(
                        program.command,
                        cwd=self.place.folder,
                        env=_environment(self.place) | dict(program.environment),
                        stdin=subprocess.DEVNULL,
                        stdout=log,
                        stderr=log,
                        start_new_session=True,
                    )
                )

    def share(self, other: Running) -> None:
        """Use the programs of another peer."""
        self._shared = other

    def pids(self) -> list[int]:
        """Return all living processes."""
        sessions = {process.pid for process in (self._shared or self)._programs}
        return [pid for pid, session in _sessions() if session in sessions]

    def cpu(self) -> float:
        """Return the CPU seconds used so far, by processes that have ended and been waited for as well."""
        return sum(_cpu(pid) for pid in self.pids())

    def memory(self) -> int:
        """Return the proportional set size (PSS) of all processes, in bytes."""
        return sum(pss(pid) for pid in self.pids())

    def wait(self, path: str, deadline: float = DEADLINE) -> None:
        """Wait for a good answer; raises ``RuntimeError`` with the logs' last lines."""
        end = time.monotonic() + deadline
        while True:
            with suppress(OSError, http.client.HTTPException):
                if get(self.port, path)[0] == 200:
                    return
            dead = [process for process in self._programs if process.poll() is not None]
            if dead or time.monotonic() > end:
                raise RuntimeError(f"{self.peer.name} does not answer {path}\n{self._logs()}")
            time.sleep(0.05)

    def _logs(self) -> str:
        return "\n".join(path.read_text(errors="replace")[-1500:] for path in sorted(self.place.folder.glob("*log*")))

    def trim_logs(self) -> None:
        """Empty logs that have become long. All writers append."""
        for path in self.place.folder.glob("*log*"):
            if path.is_file() and path.stat().st_size > _LOG_LIMIT:
                os.truncate(path, 0)

    def end(self) -> None:
        """End every process of this peer."""
        for process in self._programs:
            process.terminate()
        end = time.monotonic() + 3
        for process in self._programs:
            with suppress(subprocess.TimeoutExpired):
                process.wait(max(0.1, end - time.monotonic()))
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(DEADLINE)
        for pid in self.pids() if self._shared is None else []:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def get(port: int, path: str, body: bytes | None = None, timeout: float = 10) -> tuple[int, bytes]:
    """Ask once; return status and body."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.request("GET" if body is None else "POST", path, body=body)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def pss(pid: int) -> int:
    """Return a process's proportional set size in bytes; 0 when it has ended."""
    return _rollup(pid).get("Pss", 0)


def private(pid: int) -> int:
    """Return what only this process has in memory, in bytes; 0 when it has ended."""
    rollup = _rollup(pid)
    return rollup.get("Private_Clean", 0) + rollup.get("Private_Dirty", 0)


def _rollup(pid: int) -> dict[str, int]:
    try:
        lines = (_PROC / str(pid) / "smaps_rollup").read_text().splitlines()
    except OSError:
        return {}
    fields = (line.split() for line in lines[1:])
    return {name.rstrip(":"): int(size) * 1024 for name, size, *_ in fields}


def _cpu(pid: int) -> float:
    """Own and children's user and system time: fields 14 to 17 of proc(5)'s stat."""
    return sum(map(int, _stat(pid)[11:15])) / _TICKS


def _sessions() -> Iterator[tuple[int, int]]:
    for entry in _PROC.iterdir():
        if entry.name.isdigit():
            stat = _stat(int(entry.name))
            if stat:
                yield int(entry.name), int(stat[3])


def _stat(pid: int) -> list[str]:
    try:
        return (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _environment(place: Place) -> dict[str, str]:
    """Return an environment that configures nothing: any GUNICORN_ or NGINX_ variable of the caller is left out."""
    kept = {name: os.environ[name] for name in ("LANG", "LC_ALL", "TZ") if name in os.environ}
    return kept | {
        "PATH": f"{BIN}:{os.environ.get('PATH', '')}",
        "PYTHONPATH": str(ROOT),
        "PYTHONUNBUFFERED": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "HOME": str(place.folder),
        "BENCH_STATIC": str(place.static),
    }
