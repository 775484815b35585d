"""One thread serves at a time while it is quick; all do as soon as one is not.

Only one thread can run Python code at a time (the GIL). When several take requests from the same epoll, every system
call of one hands the GIL to another, and requests cost half as much again for nothing. So a single thread takes the
turn and keeps it from request to request. A request that does not return within ``PATIENCE`` is waiting for something,
or is long: then the turn is taken away from its thread, and for a while every thread takes requests. A thread that
only waits for a CPU is left alone: on a busy machine more threads would make it worse.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

#: A request that waits longer than this many seconds, at most twice as many, does not keep other threads waiting. One
#: that computes may take as much CPU time once more.
PATIENCE = 0.01

#: Seconds that every thread takes requests after one took too long: at first, and where that goes on and on.
_OPEN, _OPEN_LONGEST = 1.0, 30.0

#: Seconds that the watch goes on after the last request.
_WATCH = 1.0


_TICK = 1 / os.sysconf("SC_CLK_TCK")


def cpu_seconds_if_running(thread: int) -> float | None:
    """The CPU time of a thread of this process, by its native id, if it runs or waits for a CPU; None if it sleeps."""
    try:
        stat = Path(f"/proc/self/task/{thread}/stat").read_bytes()
    except OSError:
        return None
    state, *fields = stat.rpartition(b") ")[2].split()
    return (int(fields[10]) + int(fields[11])) * _TICK if state == b"R" else None


class Turn:
    """The turn to serve. Threads call ``take``, ``begin`` and ``end``; the main thread calls ``watch``."""

    def __init__(self, threads: int, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._lock = threading.Lock()
        gil = getattr(sys, "_is_gil_enabled", lambda: True)()
        self._open_until = 0.0 if gil and threads > 1 else float("inf")
        # Not empty while the thread that has the turn serves a request. Whoever pops the item decides who releases
        # the lock: that thread, or the main thread in its place.
        self._serving: list[None] = []
        self._open_for = _OPEN
        self._requests = 0
        self._requests_seen = 0
        self._watch_until = 0.0
        self._thread = 0
        #: CPU seconds of the serving thread when it was first found at the same request as before.
        self._used: float | None = None

    def open(self) -> None:
        """Let every thread serve from now on."""
        self._open_until = float("inf")

    def take(self) -> bool:
        """Wait for the turn and take it; False when every thread may serve without it."""
        if time.monotonic() >= self._open_until:
            self._lock.acquire()
            if time.monotonic() >= self._open_until:
                self._thread = threading.get_native_id()
                return True
            self._lock.release()
        return False

    def begin(self) -> None:
        """The thread that has the turn starts serving."""
        self._requests += 1
        self._serving.append(None)
        if not self._watch_until:
            self._watch_until = time.monotonic() + _WATCH
            self._wake()

    def end(self) -> bool:
        """It is done; whether it still has the turn."""
        try:
            self._serving.pop()
        except IndexError:
            return False
        if time.monotonic() < self._open_until:
            self._lock.release()
            return False
        return True

    def release(self) -> None:
        """Give the turn up without having served."""
        self._lock.release()

    def watch(self) -> bool:
        """Take the turn away from a thread that serves the same request as at the last call.

        Returns whether to call again after PATIENCE; if not, ``begin`` will wake the main thread.
        """
        if self._requests != self._requests_seen:
            self._requests_seen = self._requests
            self._watch_until = time.monotonic() + _WATCH
            self._used = None
        elif self._serving and not self._lacks_a_cpu():
            try:
                self._serving.pop()
            except IndexError:
                return True
            now = time.monotonic()
            again = now - self._open_until < self._open_for  # it did not go well for long
            self._open_for = min(self._open_for * 2, _OPEN_LONGEST) if again else _OPEN
            self._open_until = max(self._open_until, now + self._open_for)
            self._lock.release()
        elif time.monotonic() >= self._watch_until:
            self._watch_until = 0.0
        return bool(self._watch_until or self._serving)

    def _lacks_a_cpu(self) -> bool:
        """Whether the serving thread would go on if it got a CPU, and has not had ``PATIENCE`` of one since."""
        used = cpu_seconds_if_running(self._thread)
        if used is None:
            return False
        if self._used is None:
            self._used = used
        return round(used - self._used, 6) < PATIENCE  # both are whole ticks
