"""Waiting for a condition with a deadline, and ports that nobody listens on."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import TypeVar

T = TypeVar("T")
_POLL = 0.02


def wait_for(condition: Callable[[], T], what: str, deadline: float = 30.0) -> T:
    """Return the first true result of ``condition``.

    Raises ``AssertionError``, which names ``what`` was waited for, after ``deadline`` seconds.
    """
    end = time.monotonic() + deadline
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() > end:
            raise AssertionError(f"not within {deadline:g} s: {what}")
        time.sleep(_POLL)


def free_ports(count: int) -> list[int]:
    """Return as many different ports of 127.0.0.1 that nobody listens on."""
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody listens on."""
    return free_ports(1)[0]
