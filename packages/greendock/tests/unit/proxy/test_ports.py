"""The container that holds the published ports lends its sockets; each Nginx accepts from the same queue."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from greendock.proxy import ports
from tests.support import free_port, wait_for


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A holder in ``tmp_path``, run as its image runs it: that file alone."""
    program = f"import runpy; runpy.run_path({ports.__file__!r})['hold'](__import__('pathlib').Path({str(tmp_path)!r}))"
    process = subprocess.Popen([sys.executable, "-I", "-S", "-c", program])
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def ask(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=10)


@pytest.mark.usefixtures("holder")
def test_two_borrowers_accept_from_one_queue_and_it_outlives_them(tmp_path: Path) -> None:
    address = f"127.0.0.1:{free_port()}"
    port = int(address.rpartition(":")[2])
    identity, (first,) = ports.borrow(tmp_path, [address], 10)
    again, (second,) = ports.borrow(tmp_path, [address], 10)
    assert identity == again == (tmp_path / "id").read_text()
    assert os.get_inheritable(first)
    assert not os.get_blocking(first), "of two that are woken, one would wait"
    with ask(port) as client, socket.socket(fileno=first) as listening:
        accepted, peer = listening.accept()
        accepted.close()
        assert peer == client.getsockname()
    # The first has ended with a client in the queue: the second serves it.
    with ask(port) as client, socket.socket(fileno=second) as listening:
        accepted, peer = listening.accept()
        accepted.close()
        assert peer == client.getsockname()
    # Nobody accepts: a client waits for the next.
    with ask(port) as client:
        _, (third,) = ports.borrow(tmp_path, [address], 10)
        with socket.socket(fileno=third) as listening:
            accepted, peer = listening.accept()
            accepted.close()
        assert peer == client.getsockname()


@pytest.mark.usefixtures("holder")
def test_an_address_that_is_taken_is_named_and_the_holder_goes_on(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(ports.NotLentError, match="in use"):
        ports.borrow(tmp_path, [f"127.0.0.1:{taken.getsockname()[1]}"], 10)
    _, descriptors = ports.borrow(tmp_path, [f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"], 10)
    assert len(descriptors) == 2
    for descriptor in descriptors:
        os.close(descriptor)


def test_a_holder_that_starts_again_is_another(tmp_path: Path, holder: subprocess.Popen[bytes]) -> None:
    wait_for(lambda: (tmp_path / "id").exists() and (tmp_path / "id").read_text(), "the holder has started")
    first = (tmp_path / "id").read_text()
    holder.kill()
    holder.wait()
    with pytest.raises(ports.NotLentError, match="socket: Connection refused"):
        ports.borrow(tmp_path, ["127.0.0.1:1"], 0)
    again = subprocess.Popen(holder.args)
    try:
        identity, descriptors = ports.borrow(tmp_path, [f"127.0.0.1:{free_port()}"], 10)
        os.close(descriptors[0])
        assert identity != first
    finally:
        again.kill()
        again.wait()
