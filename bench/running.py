"""A peer that runs: what a measurement needs of it, whether it consists of processes or of containers."""

from __future__ import annotations

import http.client
import os
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from bench.peers.model import Peer

DEADLINE = 30.0
PROC = Path("/proc")
_LOG_LIMIT = 16 * 1024 * 1024
_TICKS = os.sysconf("SC_CLK_TCK")


class Running(ABC):
    """``port`` is the one on 127.0.0.1 that its clients ask; ``folder`` is the peer's own, with its logs in files."""

    def __init__(self, peer: Peer, port: int, folder: Path) -> None:
        self.peer, self.port, self.folder = peer, port, folder

    @abstractmethod
    def start(self) -> None:
        """Start everything the peer consists of."""

    @abstractmethod
    def end(self) -> None:
        """End everything that was started, whatever has become of it."""

    @abstractmethod
    def client(self, *command: str) -> subprocess.Popen[bytes]:
        """Start a program where 127.0.0.1 is the peer's, in this repository's root, between pipes."""

    @abstractmethod
    def get(self, path: str, body: bytes | None = None) -> tuple[int, bytes]:
        """Ask once; return status and body. Raises ``OSError`` or ``HTTPException`` where there is no answer."""

    @abstractmethod
    def pids(self) -> list[int]:
        """Return all living processes, as this machine counts them."""

    @abstractmethod
    def alive(self) -> bool:
        """Say whether nothing has ended that was started."""

    @abstractmethod
    def logs(self) -> str:
        """Return the end of what it has logged."""

    def trim_logs(self) -> None:
        """Empty logs that have become long. All writers append."""
        for path in self.folder.glob("*log*"):
            if path.is_file() and path.stat().st_size > _LOG_LIMIT:
                os.truncate(path, 0)

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
                if self.get(path)[0] == 200:
                    return
            if not self.alive() or time.monotonic() > end:
                raise RuntimeError(f"{self.peer.name} does not answer {path}\n{self.logs()}")
            time.sleep(0.05)


# Makes a peer ready to start, out of the one it shares a place with, if any, a folder of its own, and the folder of the
# static file.
Maker = Callable[[Peer, Running | None, Path, Path], Running]


@dataclass(frozen=True)
class Setup:
    """How peers are run: what makes them, the command of their Python, where that finds their Nginx."""

    make: Maker
    python: tuple[str, ...]
    nginx: str


def pss(pid: int) -> int:
    """Return a process's proportional set size in bytes; 0 when it has ended."""
    return _rollup(pid).get("Pss", 0)


def private(pid: int) -> int:
    """Return what only this process has in memory, in bytes; 0 when it has ended."""
    rollup = _rollup(pid)
    return rollup.get("Private_Clean", 0) + rollup.get("Private_Dirty", 0)


def every_pid() -> Iterable[int]:
    """Return every process of this machine."""
    return (int(entry.name) for entry in PROC.iterdir() if entry.name.isdigit())


def stat(pid: int) -> list[str]:
    """Return the fields of proc(5)'s stat from the third on; none when the process has ended."""
    try:
        return (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _cpu(pid: int) -> float:
    """Own and children's user and system time: fields 14 to 17."""
    return sum(map(int, stat(pid)[11:15])) / _TICKS


def _rollup(pid: int) -> dict[str, int]:
    try:
        lines = (PROC / str(pid) / "smaps_rollup").read_text().splitlines()
    except OSError:
        return {}
    fields = (line.split() for line in lines[1:])
    return {name.rstrip(":"): int(size) * 1024 for name, size, *_ in fields}
