"""One thread serves at a time while it has no reason to wait; all do as soon as it has.

Only one thread can run Python code at a time (the GIL). When several take requests from the same epoll, every system
call of one hands the GIL to another, and requests cost half as much again for nothing. So a single thread takes the
turn and keeps it from request to request. Where requests wait for something (a database, a file, another service), or
one computes for long, the turn is taken away from its thread, and for a while every thread takes requests. A thread
that only waits for a CPU is left alone: on a busy machine more threads would make it worse.
"""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

#: Seconds between two looks at the thread that has the turn, and the CPU time that one request may take beyond one of
#: these before others are served beside it.
PATIENCE = 0.01

#: The part of the time between two looks that requests may spend waiting. One that sleeps through a look uses it all.
WAITING = 0.25

#: Looks in a row at which requests had waited: one alone may be the wait for the GIL while the main thread looked.
_SURE = 3

#: Seconds that every thread takes requests after one took too long: at first, and where that goes on and on.
_OPEN, _OPEN_LONGEST = 1.0, 30.0

#: Seconds that the watch goes on after the last request.
_WATCH = 1.0


def running_seconds(thread: int) -> tuple[float, float] | None:
    """The CPU time of a thread of this process, by its native id, and the time it has waited for a CPU.

    From /proc (schedstat: https://docs.kernel.org/scheduler/sched-stats.html); None where there is no such file.
    """
    try:
        on_cpu, waiting, _ = Path(f"/proc/self/task/{thread}/schedstat").read_bytes().split()
    except (OSError, ValueError):
        return None
    return int(on_cpu) / 1e9, int(waiting) / 1e9


@dataclass
class _Look:
    """What was seen at a look: the clock, the seconds spent in requests, and the thread with its running seconds."""

    now: float
    busy: float
    thread: int
    on_cpu: float
    lacking: float


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
        self._began = 0.0
        self._busy = 0.0
        self._look: _Look | None = None
        self._waited = 0
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
        self._began = time.monotonic()
        self._serving.append(None)
        if not self._watch_until:
            self._watch_until = self._began + _WATCH
            self._wake()

    def end(self) -> bool:
        """It is done; whether it still has the turn."""
        try:
            self._serving.pop()
        except IndexError:
            return False
        now = time.monotonic()
        self._busy += now - self._began
        if now < self._open_until:
            self._lock.release()
            return False
        return True

    def release(self) -> None:
        """Give the turn up without having served."""
        self._lock.release()

    def watch(self) -> bool:
        """Look at the thread that has the turn; take the turn away where requests wait or one computes for long.

        Returns whether to call again after PATIENCE; if not, ``begin`` will wake the main thread.
        """
        now = time.monotonic()
        same = self._requests == self._requests_seen
        self._requests_seen = self._requests
        if not same:
            self._watch_until = now + _WATCH
            self._used = None
        if now >= self._open_until and self._is_slow(now, same and bool(self._serving)):
            again = now - self._open_until < self._open_for  # it did not go well for long
            self._open_for = min(self._open_for * 2, _OPEN_LONGEST) if again else _OPEN
            self._open_until = now + self._open_for
            self._look = None  # what was seen before says nothing about the time after
        if now < self._open_until:
            with contextlib.suppress(IndexError):  # between requests; then `end` gives the turn up, or the next look
                self._serving.pop()
                self._lock.release()
        elif not self._serving and now >= self._watch_until:
            self._watch_until = 0.0
        return bool(self._watch_until or self._serving)

    def _look_at(self, now: float) -> _Look | None:
        began, busy, thread = self._began, self._busy, self._thread
        seconds = running_seconds(thread)
        if seconds is None:
            return None
        return _Look(now, busy + (now - began if self._serving else 0), thread, *seconds)

    def _is_slow(self, now: float, same: bool) -> bool:
        """Whether requests have waited since the last look, or the ``same`` one has computed for long."""
        before, look = self._look, self._look_at(now)
        self._look = look
        if look is None:
            return same  # nothing is known: a request that takes this long is slow
        if before is not None and before.thread == look.thread:
            ran = look.on_cpu - before.on_cpu + look.lacking - before.lacking
            waited = look.busy - before.busy - ran > WAITING * (look.now - before.now)
            self._waited = self._waited + 1 if waited else 0
            if self._waited >= _SURE:
                return True
        if not same:
            return False
        if self._used is None:
            self._used = look.on_cpu
        return look.on_cpu - self._used >= PATIENCE
