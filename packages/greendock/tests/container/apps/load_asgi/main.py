"""What ``load`` is, for the asgi worker: quick requests, slow ones, bodies, a WebSocket."""

from __future__ import annotations

import asyncio
import os
import socket
from typing import Any

VERSION = "one"


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """``/slow`` takes 2 s, ``/ws`` is the WebSocket; anything else answers version, container and size of the body."""
    if scope["type"] == "lifespan":
        await _lifespan(receive, send)
    elif scope["type"] == "websocket":
        await _echo(receive, send)
    else:
        await _answer(scope, receive, send)


async def _lifespan(receive: Any, send: Any) -> None:
    for what in ("startup", "shutdown"):
        await receive()
        await send({"type": f"lifespan.{what}.complete"})


async def _echo(receive: Any, send: Any) -> None:
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": f"{message['text']} {VERSION} {os.getpid()}"})


async def _answer(scope: dict[str, Any], receive: Any, send: Any) -> None:
    if scope["path"] == "/slow":
        await asyncio.sleep(2)
    size, more = 0, True
    while more:
        message = await receive()
        size, more = size + len(message["body"]), message["more_body"]
    body = f"{VERSION} {socket.gethostname()} {size}\n".encode()
    headers = [(b"content-type", b"text/plain"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
