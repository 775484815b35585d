"""Slow clients: `python -m bench.slow PORT COUNT`. Half send an upload at 2 kB/s, half read a 1 MiB answer at 10 kB/s.

A phone on a bad line, many times. Prints `ready` when all are under way (a reader: once it has been answered), or
after three seconds, since some servers never get that far. Runs until its standard input is closed.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import sys
from contextlib import suppress

PERIOD, SETTLE = 0.1, 3.0
SENT, READ = 200, 1024
_UPLOAD = 100 * 1024
_SMALL_BUFFER = 4096


async def _connect(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SMALL_BUFFER)
    connection.setblocking(False)
    await asyncio.get_running_loop().sock_connect(connection, ("127.0.0.1", port))
    return await asyncio.open_connection(sock=connection, limit=_SMALL_BUFFER)


async def _send(port: int, started: asyncio.Event) -> None:
    head = f"POST /upload HTTP/1.1\r\nHost: localhost\r\nContent-Length: {_UPLOAD}\r\n\r\n".encode()
    while True:
        _, writer = await _connect(port)
        writer.write(head)
        started.set()
        for _ in range(_UPLOAD // SENT):
            writer.write(b"x" * SENT)
            await asyncio.sleep(PERIOD)
        writer.close()


async def _read(port: int, started: asyncio.Event) -> None:
    while True:
        reader, writer = await _connect(port)
        writer.write(b"GET /bulk HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        while await reader.read(READ):
            started.set()
            await asyncio.sleep(PERIOD)
        writer.close()


async def _stubborn(client: object, port: int, started: asyncio.Event) -> None:
    """A client that is cut off comes again."""
    while True:
        with suppress(OSError):
            await client(port, started)  # type: ignore[operator]
        await asyncio.sleep(PERIOD)


async def _main(port: int, count: int) -> None:
    started = [asyncio.Event() for _ in range(count)]
    clients = [_stubborn(_send if number % 2 else _read, port, event) for number, event in enumerate(started)]
    tasks = [asyncio.create_task(client) for client in clients]
    with suppress(TimeoutError):
        await asyncio.wait_for(asyncio.gather(*(event.wait() for event in started)), SETTLE)
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.buffer.read)
    for task in tasks:
        task.cancel()


if __name__ == "__main__":
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)  # peers that close are not worth a word
    asyncio.run(_main(int(sys.argv[1]), int(sys.argv[2])))
