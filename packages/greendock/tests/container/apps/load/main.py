"""What a rollout has to carry over: quick requests, slow ones, bodies, a WebSocket.

The WebSocket is the least that RFC 6455 allows, on the socket that Gunicorn's thread worker lends to the application:
short text frames are sent back as they came, together with the version that answers.
"""

from __future__ import annotations

import base64
import hashlib
import os
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

VERSION = "one"
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """``/slow`` takes 2 s, ``/ws`` is the WebSocket, ``/setting`` tells a secret,
    ``/events`` sends events for 10 s, ``/fails`` answers 500 in a version called bad.

    Anything else answers version, container and size of the body.
    """
    if environ["PATH_INFO"] == "/ws":
        _echo(environ)
        raise StopIteration  # Gunicorn then closes the connection without a response of its own
    if environ["PATH_INFO"] == "/slow":
        time.sleep(2)
    if environ["PATH_INFO"] == "/events":
        start_response("200 OK", [("Content-Type", "text/event-stream"), ("X-Accel-Buffering", "no")])
        return _events()
    if environ["PATH_INFO"] == "/fails" and VERSION.startswith("bad"):
        raise RuntimeError("bad on purpose")
    if environ["PATH_INFO"] == "/setting":
        return _answer(start_response, os.environ.get("DATABASE_URL", ""))
    size = 0
    while chunk := environ["wsgi.input"].read(65536):
        size += len(chunk)
    return _answer(start_response, f"{VERSION} {socket.gethostname()} {size}")


def _answer(start_response: Callable[..., Any], text: str) -> Iterable[bytes]:
    body = f"{text}\n".encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]


def _events() -> Iterator[bytes]:
    for number in range(50):
        yield f"data: {number}\n\n".encode()
        time.sleep(0.2)
    yield b"data: end\n\n"


def _echo(environ: dict[str, Any]) -> None:
    connection: socket.socket = environ["gunicorn.socket"]
    key = environ["HTTP_SEC_WEBSOCKET_KEY"].encode()
    accept = base64.b64encode(hashlib.sha1(key + _GUID, usedforsecurity=False).digest())
    connection.sendall(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "
        + accept
        + b"\r\n\r\n"
    )
    with connection.makefile("rb") as stream:
        while (head := stream.read(2)) and len(head) == 2 and head[0] & 0x0F == 1:
            mask = stream.read(4)
            text = bytes(byte ^ mask[i % 4] for i, byte in enumerate(stream.read(head[1] & 0x7F)))
            answer = text + f" {VERSION} {os.getpid()}".encode()
            connection.sendall(bytes([0x81, len(answer)]) + answer)
