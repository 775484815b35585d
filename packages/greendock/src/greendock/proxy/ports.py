"""The published ports: one container holds their listening sockets and lends them to each Nginx that asks.

Socket activation, between containers: a descriptor goes through a Unix socket on a shared volume. While one Nginx takes
over from another both accept from the same queue, and while there is none, connections wait in it.
The holder runs this file alone, ``python ports.py``, so that nothing else changes its image. Standard library only.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
import time
from pathlib import Path

FOLDER = Path("/run/port")
# Connections that wait while no Nginx accepts. The kernel's limit is net.core.somaxconn, 4096.
_QUEUE = 4096
# An Nginx that asks, and says nothing.
_SILENCE = 5.0
_POLL = 0.1


class NotLentError(Exception):
    """The holder would not, or there is none; the text says why."""


def hold(folder: Path) -> None:
    """Lend sockets for ever. ``folder/socket`` takes requests; ``folder/id`` is another in each life of the holder."""
    path = folder / "socket"
    path.unlink(missing_ok=True)
    identity = secrets.token_hex(8)
    sockets: dict[str, socket.socket] = {}
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as server:
        server.bind(str(path))
        path.chmod(0o666)  # the volume is mounted where it may be used
        server.listen()
        (folder / "id").write_text(identity)
        while True:
            client, _ = server.accept()
            with client, contextlib.suppress(OSError):
                client.settimeout(_SILENCE)
                _lend(client, identity, sockets)


def _lend(client: socket.socket, identity: str, sockets: dict[str, socket.socket]) -> None:
    try:
        addresses = json.loads(client.recv(65536))
        for address in addresses:
            if address not in sockets:
                sockets[address] = _listening(address)
        lent = [sockets[address].fileno() for address in addresses]
    except (OSError, ValueError) as error:
        client.send(f"cannot listen: {error}".encode())
    else:
        socket.send_fds(client, [identity.encode()], lent)


def _listening(address: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    family = socket.AF_INET6 if host.startswith("[") else socket.AF_INET
    opened = socket.socket(family, socket.SOCK_STREAM)
    try:
        if family == socket.AF_INET6:
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        opened.bind((host.strip("[]"), int(port)))
        opened.listen(_QUEUE)
        # Of two that are woken for one connection, the slower must not wait for another.
        opened.setblocking(False)
    except BaseException:
        opened.close()
        raise
    return opened


def borrow(folder: Path, addresses: list[str], timeout: float) -> tuple[str, list[int]]:
    """Return the holder's id and an inheritable descriptor for each of ``addresses`` (``0.0.0.0:8080``, ``[::]:8080``).

    Waits up to ``timeout`` seconds for the holder. Raises ``NotLentError``.
    """
    deadline = time.monotonic() + timeout
    while True:
        try:
            return _borrow(folder / "socket", addresses)
        except OSError as error:
            if time.monotonic() > deadline:
                raise NotLentError(f"{folder / 'socket'}: {error.strerror or error}") from error
        time.sleep(_POLL)


def _borrow(path: Path, addresses: list[str]) -> tuple[str, list[int]]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
        connection.settimeout(_SILENCE)
        connection.connect(str(path))
        connection.send(json.dumps(addresses).encode())
        said, descriptors, _, _ = socket.recv_fds(connection, 4096, len(addresses))
    if len(descriptors) != len(addresses):
        raise NotLentError(said.decode(errors="replace") or "the holder of the ports said nothing")
    for descriptor in descriptors:
        os.set_inheritable(descriptor, True)
    return said.decode(), descriptors


if __name__ == "__main__":
    hold(FOLDER)
