"""One measurement: wrk against a running peer, with its CPU time and memory, and slow clients where asked for."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from bench.running import DEADLINE, Running
from bench.workloads import BY_NAME, HELLO, Cell, Workload

_SCRIPT = "bench/load.lua"


@dataclass(frozen=True)
class Sample:
    """What one measurement found. Latencies are of a closed loop: a client asks again once it is answered."""

    peer: str
    workload: str
    connections: int
    repeat: int
    requests: int
    seconds: float
    bytes: int
    p50_ms: float
    p99_ms: float
    errors: dict[str, int] = field(default_factory=dict)
    cpu_seconds: float = 0.0
    memory: int = 0

    @property
    def rate(self) -> float:
        """Good answers in a second."""
        return max(0, self.requests - self.errors.get("status", 0)) / self.seconds


def measure(running: Running, cell: Cell, repeat: int, seconds: int) -> Sample:
    """Load one peer for ``seconds``, or a multiple of it, and return what came out of it."""
    workload = BY_NAME[cell.workload]
    seconds *= workload.longer
    with _slow_clients(running, workload.slow_clients):
        before = running.cpu()
        process = running.client(*_wrk(running.port, workload, cell.connections, seconds))
        time.sleep(seconds * 0.7)
        memory = running.memory()
        output, _ = process.communicate(timeout=seconds + DEADLINE)
        cpu = running.cpu() - before
    result = parse(output.decode())
    running.trim_logs()
    if result["errors"]["connect"] or result["errors"]["timeout"] or not result["requests"] or workload.slow_clients:
        running.wait(HELLO.path)  # the next measurement shall not pay for this one's queue
    return Sample(running.peer.name, cell.workload, cell.connections, repeat, **result, cpu_seconds=cpu, memory=memory)


def parse(output: str) -> dict[str, Any]:
    """Return the figures `load.lua` printed. Raises ``ValueError`` when there are none."""
    for line in output.splitlines():
        if line.startswith("RESULT "):
            return dict(json.loads(line.removeprefix("RESULT ")))
    raise ValueError(f"wrk printed no result:\n{output}")


def _wrk(port: int, workload: Workload, connections: int, seconds: int) -> list[str]:
    load = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "10s", "-s", _SCRIPT]
    return [*load, f"http://127.0.0.1:{port}{workload.path}", "--", str(workload.upload), "gzip" * workload.gzip]


@contextmanager
def _slow_clients(running: Running, count: int) -> Iterator[None]:
    if not count:
        yield
        return
    with running.client("python", "-m", "bench.slow", str(running.port), str(count)) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()
            yield
        finally:
            with suppress(subprocess.TimeoutExpired):
                process.communicate(timeout=5)  # closes its standard input, which ends it
            process.kill()
