"""The running Nginx: its master's workers, seen through /proc, and a reload that is known to have happened."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

# "nginx: worker process is shutting down", of which the end is cut where the process has little room for its title.
_RETIRING = "worker process i"
_POLL = 0.02


def workers(master: int) -> dict[int, bool]:
    """Return the master's worker processes; the value says whether the worker has stopped accepting."""
    workers = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            title = (entry / "cmdline").read_bytes().decode(errors="replace")
        except (OSError, ValueError, IndexError):
            continue
        if parent == master and "worker process" in title:
            workers[int(entry.name)] = _RETIRING in title
    return workers


def reload(master: int, timeout: float) -> list[int]:
    """Send HUP; return the old workers once only new ones accept connections.

    Raises ``TimeoutError`` when Nginx kept its old configuration for ``timeout`` seconds.
    """
    old = list(workers(master))
    os.kill(master, signal.SIGHUP)
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        now = workers(master)
        fresh = now.keys() - set(old)
        if fresh and all(now.get(pid, True) for pid in old):
            return old
        time.sleep(_POLL)
    raise TimeoutError(f"Nginx did not take the new configuration within {timeout:g} s; see its error log")


def wait_for_end(master: int, old: list[int], timeout: float) -> bool:
    """Wait until none of ``old`` is a worker any more; say whether that happened within ``timeout`` seconds."""
    deadline = time.monotonic() + timeout
    while workers(master).keys() & set(old):
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL)
    return True
