"""ASGI peers behind Nginx, at what they are made for: `python -m bench.streams`, about three minutes.

Requests: hello, JSON by FastAPI, waits of 50 ms, uploads of 10 MiB. Round trips: 64 clients, each sends a message when
the one before has come back. Events: 500 clients, each gets the time five times a second; delay is from the application
to the client. Memory is that of all processes meanwhile.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import time
from dataclasses import dataclass

import uvloop

from bench import load, peers, processes, run
from bench.running import Running
from bench.workloads import Cell

PEERS = ("greendock-asgi", "nginx-uvicorn-worker", "nginx-granian", "nginx-hypercorn")
SECONDS = 3.0
SOCKETS, LISTENERS = 64, 500
_HANDSHAKE = (
    b"GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
_MESSAGE = b"\x81\x85\x00\x00\x00\x00hello"  # masked with zeros
_ANSWER = b"\x81\x05hello"


REQUESTS = (Cell("hello", 64), Cell("fastapi", 64), Cell("wait", 64), Cell("wait", 1024), Cell("upload", 8))


@dataclass
class Figures:
    """What one peer reached: a second, in milliseconds, in MiB. ``requests`` is in the order of ``REQUESTS``."""

    requests: tuple[float, ...]
    trips: float
    trip_p99: float
    events: float
    delay_p99: float
    memory: float


async def _trips(port: int, end: float, took: list[float]) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(_HANDSHAKE)
    await reader.readuntil(b"\r\n\r\n")
    while (began := time.monotonic()) < end:
        writer.write(_MESSAGE)
        if await reader.readexactly(len(_ANSWER)) != _ANSWER:
            raise RuntimeError("no echo")
        took.append(time.monotonic() - began)
    writer.close()


async def _listen(port: int, end: float, delays: list[float]) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /events HTTP/1.1\r\nHost: x\r\n\r\n")
    while time.monotonic() < end:
        line = await reader.readline()
        if line.startswith(b"data: "):
            delays.append(time.time() - float(line[6:]))
    writer.close()


async def _measure(peer: Running, requests: tuple[float, ...]) -> Figures:
    took: list[float] = []
    end = time.monotonic() + SECONDS
    await asyncio.gather(*(_trips(peer.port, end, took) for _ in range(SOCKETS)))
    delays: list[float] = []
    end = time.monotonic() + SECONDS
    listening = asyncio.gather(*(_listen(peer.port, end, delays) for _ in range(LISTENERS)))
    await asyncio.sleep(SECONDS * 0.8)
    memory = peer.memory()
    await listening
    p99 = [statistics.quantiles(values, n=100)[98] * 1000 for values in (took, delays)]
    return Figures(requests, len(took) / SECONDS, p99[0], len(delays) / SECONDS, p99[1], memory / 2**20)


def main() -> None:
    """Measure and print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    chosen = [peer for peer in peers.every() if peer.name in PEERS]
    found: dict[str, list[Figures]] = {peer.title: [] for peer in chosen}
    with run.started(chosen, lambda text: print(text, file=sys.stderr), processes.setup(chosen)) as running:
        for repeat in range(options.repeats):
            for peer in running:
                requests = tuple(
                    load.measure(peer, cell, repeat, 1 + (cell.workload == "upload")).rate for cell in REQUESTS
                )
                found[peer.peer.title].append(uvloop.run(_measure(peer, requests)))
    columns = [*(f"{cell.workload} c={cell.connections}" for cell in REQUESTS), "round trips/s", "p99 ms", "events/s"]
    columns += ["delay p99 ms", "memory MiB"]
    print(f"| median | {' | '.join(columns)} |\n|---|{'---:|' * len(columns)}")
    for title, figures in found.items():
        names = ("trips", "trip_p99", "events", "delay_p99", "memory")
        row = [statistics.median(column) for column in zip(*(each.requests for each in figures), strict=True)]
        row += [statistics.median(getattr(each, name) for each in figures) for name in names]
        print(f"| {title} | " + " | ".join(f"{value:,.0f}" for value in row) + " |")


if __name__ == "__main__":
    main()
