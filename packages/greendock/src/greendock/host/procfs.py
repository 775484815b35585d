"""What the kernel tells about processes of this machine, from /proc: CPU, memory, age, and queues of listening sockets.

https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html, https://docs.kernel.org/networking/proc_net_tcp.html
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_LISTEN = "0A"


@dataclass(frozen=True)
class Usage:
    """CPU time in seconds, resident memory in bytes, and when the process was started, in seconds since 1970."""

    cpu_seconds: float
    memory: int
    started: float


def usage(pid: int) -> Usage | None:
    """Return what a process uses; ``None`` when there is none."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except (OSError, ValueError):
        return None
    if len(fields) < 22 or fields[0] in (b"Z", b"X"):
        return None
    age = time.clock_gettime(time.CLOCK_BOOTTIME) - int(fields[19]) / _TICKS
    return Usage((int(fields[11]) + int(fields[12])) / _TICKS, int(fields[21]) * _PAGE, time.time() - age)


def backlog(pid: int) -> int | None:
    """Return how many connections wait in the kernel for a process to accept them, on all its TCP listeners.

    ``None`` when it has none, or is not to be looked into. Of unix sockets /proc tells nothing.
    """
    try:
        sockets = {str(entry.readlink()) for entry in Path(f"/proc/{pid}/fd").iterdir()}
    except OSError:
        return None
    waiting = [count for inode, count in _listeners(pid) if f"socket:[{inode}]" in sockets]
    return sum(waiting) if waiting else None


def _listeners(pid: int) -> list[tuple[str, int]]:
    """Return inode and queue of each listening socket. They come before all others in both files."""
    listeners = []
    for name in ("tcp", "tcp6"):
        try:
            with Path(f"/proc/{pid}/net/{name}").open(encoding="ascii") as file:
                next(file, None)
                for line in file:
                    fields = line.split()
                    if fields[3] != _LISTEN:
                        break
                    listeners.append((fields[9], int(fields[4].partition(":")[2], 16)))
        except OSError:
            continue
    return listeners
