"""Pause: Nginx hands new requests to this program, which holds them and then sends each of them on its way.

The answer that lets a request go is ``X-Accel-Redirect`` to Nginx's own location for it. Were this program killed,
Nginx would find nobody and let the requests go by itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Callable
from pathlib import Path

_GO_ON = b"HTTP/1.1 200 OK\r\nX-Accel-Redirect: @app\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
_TOO_MANY = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
_LARGEST_HEAD = 1 << 20


async def hold(socket: Path, flag: Path, seconds: float, most: int, announce: Callable[[], None]) -> int:
    """Hold up to ``most`` requests at a time for ``seconds`` or until a signal; return how many were let go.

    ``announce`` is called when Nginx has begun to hand requests over; more than ``most`` are answered 503.
    """
    over = asyncio.Event()
    waiting = released = 0

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal waiting, released
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            await reader.readuntil(b"\r\n\r\n")
            if waiting >= most:
                writer.write(_TOO_MANY)
            else:
                waiting += 1
                # A client that gives up closes its connection: its place is free.
                gone = asyncio.ensure_future(reader.read(1))
                done = asyncio.ensure_future(over.wait())
                await asyncio.wait({gone, done}, return_when=asyncio.FIRST_COMPLETED)
                waiting -= 1
                if not gone.done():
                    released += 1
                    writer.write(_GO_ON)
                gone.cancel()
                done.cancel()
            await writer.drain()
        writer.close()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, over.set)
    socket.unlink(missing_ok=True)
    server = await asyncio.start_unix_server(answer, socket, limit=_LARGEST_HEAD, backlog=4096)
    try:
        socket.chmod(0o666)
        flag.touch(mode=0o644)
        announce()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(over.wait(), seconds)
    finally:
        flag.unlink(missing_ok=True)
        over.set()
        while waiting:
            await asyncio.sleep(0.01)
        server.close()
        socket.unlink(missing_ok=True)
    return released
