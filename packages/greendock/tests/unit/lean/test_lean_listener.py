"""A listener is closed in the moment its queue is empty: nobody gets between the look and the close."""

from __future__ import annotations

import ctypes
import socket
import struct
import sys
import threading
from collections.abc import Iterator

import pytest

from greendock.contrib.lean.listener import close_if_empty

ROUNDS = 1500
_libc = ctypes.PyDLL(None)  # keeps the GIL: a thread that connects with it does so while no other runs


@pytest.fixture
def eager_threads() -> Iterator[None]:
    """A thread that may run interrupts the others between any two steps of Python."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(0.000001)
    yield
    sys.setswitchinterval(before)


def test_a_listener_somebody_waits_for_stays_open() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname()):
        assert not close_if_empty(listener)
        listener.accept()[0].close()
        fd = listener.fileno()
        assert close_if_empty(listener)
        with pytest.raises(OSError, match="Bad file descriptor"):
            socket.socket(fileno=fd)


def connect_all(clients: list[socket.socket], port: int, pause: int, connected: list[int]) -> None:
    """Connect these with a pause before each, and note how many were not refused."""
    address = struct.pack("=H", socket.AF_INET) + struct.pack("!H4s8x", port, socket.inet_aton("127.0.0.1"))
    for client in clients:
        for _ in range(pause):
            pass
        connected.append(_libc.connect(client.fileno(), address, len(address)) == 0)


@pytest.mark.usefixtures("eager_threads")
def test_a_thread_that_connects_at_any_moment_is_accepted_or_refused() -> None:
    for number in range(ROUNDS):
        connected: list[int] = []
        listener = socket.create_server(("127.0.0.1", 0))
        clients = [socket.socket() for _ in range(10)]
        arguments = (clients, listener.getsockname()[1], number % 30, connected)
        thread = threading.Thread(target=connect_all, args=arguments)
        thread.start()
        accepted = []
        while not close_if_empty(listener):
            accepted.append(listener.accept()[0])
        thread.join()
        assert len(accepted) == sum(connected)
        for sock in clients + accepted:
            sock.close()
