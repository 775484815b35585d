"""One thread serves at a time while it has no reason to wait; all do as soon as it has.

Only one thread can run Python code at a time (the GIL). When several take requests from the same epoll, every system
call of one hands the GIL to another, and requests cost half as much again for nothing. So the thread that has the
serving token waits for events, and the others wait at a gate. The main thread looks at it now and then. When it sleeps
or computes for long in a request while others wait, or requests keep waiting for something, the gate opens for a while
and every thread serves. A thread that only lacks a CPU is left alone: on a busy machine more threads would make it
worse.

The token is advice, not a lock. It is a number that any thread may read or replace; whoever ends or fails with it
leaves nothing locked. The gate is an epoll that holds the workers' epoll, so those who wait at it need no waking.
"""

from __future__ import annotations

import select
import sys
from collections.abc import Callable
from pathlib import Path
from threading import get_native_id
from time import monotonic
from typing import NamedTuple

#: Seconds between two looks that make a pair: long enough to tell a thread that sleeps from one that was between two
#: system calls.
PAIR = 0.001

#: Seconds of CPU that a request may use while others wait.
PATIENCE = 0.01

#: Seconds between two pairs, at most: it doubles from PAIR on while requests keep coming.
REST = 0.02

#: The part of WINDOW seconds that requests may spend waiting.
WAITING, WINDOW = 0.25, 0.03

#: Seconds that the gate stays open: at first, and where it opens again soon.
OPEN, OPEN_LONGEST = 1.0, 30.0


class Look(NamedTuple):
    """What the main thread saw: when, which thread, its requests, the seconds in these, and what it got of the CPU."""

    now: float
    thread: int
    requests: int
    busy: float
    on_cpu: float
    lacking: float

    def ran_since(self, before: Look) -> float:
        """The seconds that the thread ran, or would have run had there been a CPU for it."""
        return self.on_cpu - before.on_cpu + self.lacking - before.lacking


def running_seconds(thread: int) -> tuple[float, float]:
    """The CPU time of a thread of this process, by its native id, and the time it has waited for a CPU.

    From /proc (schedstat: https://docs.kernel.org/scheduler/sched-stats.html); zeros where there is no such file, so
    that a thread seems to sleep.
    """
    try:
        on_cpu, lacking, _ = Path(f"/proc/self/task/{thread}/schedstat").read_bytes().split()
    except (OSError, ValueError):
        return 0.0, 0.0
    return int(on_cpu) / 1e9, int(lacking) / 1e9


class ServingToken:
    """Threads, by their numbers, call ``wait`` before they wait for an event, and ``begin`` and ``end`` if it said so.

    The main thread calls ``watch``; ``wake`` must make it do so at once.
    """

    def __init__(self, threads: int, events: select.epoll, stopped: int, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._events = select.poll()
        self._events.register(events.fileno(), select.POLLIN)
        self._events_fd = events.fileno()
        self._gate = select.epoll()
        self._gate.register(stopped, select.EPOLLIN)
        self._gate.register(self._events_fd, 0)
        gil = getattr(sys, "_is_gil_enabled", lambda: True)()
        self._open = False
        self._open_until = 0.0
        self._open_for = OPEN
        #: The thread that has the token. None: whoever comes next takes it.
        self._holder: int | None = None
        # Written by the thread that has the token, read by the main thread.
        self._serving = False
        self._thread = 0
        self._requests = 0
        self._began = 0.0
        self._busy = 0.0
        # The main thread's.
        self._watching = False
        self._woken = False
        self._rest = PAIR
        self._first: Look | None = None
        self._window: Look | None = None
        self._requests_seen = 0
        self._cpu_used = 0.0
        if not gil or threads == 1:
            self.open()

    def open(self) -> None:
        """Let every thread serve from now on."""
        self._open_gate(float("inf"))

    def wait(self, number: int) -> bool:
        """Wait until this thread may wait for an event; whether it has the token."""
        if self._holder is None:
            self._holder = number
        if self._holder == number:
            return True
        if not self._open:
            self._gate.poll(-1, 1)
        return False

    def begin(self) -> None:
        """The thread that has the token starts serving."""
        self._thread = get_native_id()
        self._requests += 1
        self._began = monotonic()
        self._serving = True
        if not self._watching:
            self._watching = True
            self._wake()

    def end(self) -> None:
        """It is done."""
        self._serving = False
        self._busy += monotonic() - self._began

    def watch(self) -> float | None:
        """Look at the thread that has the token. Returns the seconds until the next look; None: not before a wake."""
        now = monotonic()
        if self._open:
            # While nobody has taken the token, the thread that had it is still in the same request.
            if now < self._open_until or self._holder is None:
                return REST if now >= self._open_until else self._open_until - now
            self._gate.modify(self._events_fd, 0)
            self._open = False
            self._first = self._window = None
        if self._is_idle():
            self._rest = PAIR
            self._first = None
            self._woken = True
            return None
        if self._woken:  # most requests are done before there is anything to see
            self._woken = False
            return PAIR
        look = self._look(now)
        first, self._first = self._first, look
        if self._is_slow(first, look):
            again = now - self._open_until < self._open_for  # it did not go well for long
            self._open_for = min(self._open_for * 2, OPEN_LONGEST) if again else OPEN
            self._open_gate(now + self._open_for)
            return self._open_for
        if first is None or look.requests == first.requests:
            return PAIR
        self._first = None
        self._rest = min(self._rest * 2, REST)
        return self._rest

    def _open_gate(self, until: float) -> None:
        self._open_until = until
        self._holder = None
        self._open = True
        self._gate.modify(self._events_fd, select.EPOLLIN)

    def _is_idle(self) -> bool:
        self._watching = False  # from here on `begin` wakes
        seen, self._requests_seen = self._requests_seen, self._requests
        if not self._serving and seen == self._requests:
            return True
        self._watching = True
        return False

    def _look(self, now: float) -> Look:
        requests, began, busy, thread = self._requests, self._began, self._busy, self._thread
        busy += now - began if self._serving else 0
        return Look(now, thread, requests, busy, *running_seconds(thread))

    def _is_slow(self, first: Look | None, look: Look) -> bool:
        """Whether the request that was served at the ``first`` look sleeps or has computed for long, or many wait."""
        if first is not None and look.requests == first.requests and look.thread == first.thread:
            slept = look.ran_since(first) < (look.now - first.now) / 2
            self._cpu_used += look.on_cpu - first.on_cpu
            if (slept or self._cpu_used >= PATIENCE) and self._events.poll(0):
                return True
        else:
            self._cpu_used = 0.0
        window = self._window
        if window is None or window.thread != look.thread:
            self._window = look
            return False
        elapsed = look.now - window.now
        if elapsed < WINDOW:
            return False
        self._window = look
        return look.busy - window.busy - look.ran_since(window) > WAITING * elapsed
