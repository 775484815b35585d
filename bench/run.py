"""The interleaved run: every peer is started once and idles while another is measured."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bench import load
from bench.load import Sample
from bench.peers.model import ROOT, Peer
from bench.running import Running, Setup
from bench.workloads import ALL, BY_NAME, HELLO, MIB, STATIC_FILE, Cell, Workload

Progress = Callable[[str], None]


def run(
    peers: Sequence[Peer],
    cells: Sequence[Cell],
    repeats: int,
    seconds: int,
    say: Progress,
    setup: Setup,
) -> list[Sample]:
    """Measure every peer in every cell, ``repeats`` times. The order of peers differs from one repeat to the next."""
    samples: list[Sample] = []
    order = random.Random(0)  # noqa: S311 (the same order each time)
    with started(peers, say, setup) as running:
        for repeat in range(repeats):
            for cell in cells:
                turn = [peer for peer in running if peer.peer.runs(cell.workload)]
                order.shuffle(turn)
                say(f"repeat {repeat + 1}/{repeats}: {cell.workload}, {cell.connections} connections")
                samples += [load.measure(peer, cell, repeat, seconds) for peer in turn]
    return samples


@contextmanager
def started(peers: Sequence[Peer], say: Progress, setup: Setup) -> Iterator[list[Running]]:
    """Start all peers, see that each does its work, and end them all, also when this process is asked to end."""
    with ExitStack() as stack:
        stack.enter_context(_stopped_once())
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        static = folder / "static"
        static.mkdir()
        (static / STATIC_FILE).write_bytes(random.Random(0).randbytes(MIB))  # noqa: S311
        running: dict[str, Running] = {}
        for peer in peers:
            owner = running.get(peer.place_of)
            if peer.place_of and owner is None:
                continue
            (folder / peer.name).mkdir()
            one = setup.make(peer, owner, folder / peer.name, static)
            stack.callback(one.end)
            one.start()
            running[peer.name] = one
        for one in running.values():
            one.wait(HELLO.path)
            for workload in ALL:
                if one.peer.runs(workload.name):
                    check(one, workload)
        say(f"{len(running)} peers answer")
        yield list(running.values())


@contextmanager
def _stopped_once() -> Iterator[None]:
    """Leave by ``SystemExit`` when asked to end; ending takes seconds, and being asked again must not cut it short."""

    def stop(number: int, _: object) -> None:
        for each in before:
            signal.signal(each, signal.SIG_IGN)
        sys.exit(128 + number)

    before = {each: signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT)}
    for each in before:
        signal.signal(each, stop)
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def check(running: Running, workload: Workload) -> None:
    """Ask once; raises ``RuntimeError`` for another answer than the workload's."""
    body = bytes(workload.upload) if workload.upload else None
    status, answer = running.get(workload.path, body)
    expected = b'"size":%d' % workload.upload if workload.upload else b""
    complete = expected in answer.replace(b" ", b"") and (not workload.size or len(answer) == workload.size)
    if status != 200 or not complete:
        raise RuntimeError(f"{running.peer.name} answers {workload.path} with {status}, {len(answer)} bytes")


def seconds_needed(peers: Sequence[Peer], cells: Sequence[Cell], repeats: int, seconds: int) -> float:
    """Return about how long a run takes."""
    runs = [BY_NAME[cell.workload] for cell in cells for peer in peers if peer.runs(cell.workload)]
    return repeats * sum(seconds * workload.longer + 0.3 for workload in runs)


def loop_rate(setup: Setup, workload: str, seconds: float) -> float:
    """Return how often a second the application can be called in a loop, without any server, on one CPU."""
    command = [*setup.python, "-m", "bench.loop", workload, str(seconds)]
    return float(subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout)


def load_average() -> list[float]:
    """Return the machine's load averages, as the kernel gives them."""
    return [float(text) for text in Path("/proc/loadavg").read_text().split()[:3]]


def now() -> str:
    """Return the time, for people and as part of a file's name."""
    return time.strftime("%Y-%m-%d-%H%M", time.gmtime())
