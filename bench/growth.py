"""How the stack grows: `python -m bench.growth`, some minutes.

More workers, more threads, more replicas, more connections: one thing changes at a time. Writes
bench/results/growth-<date>.json; `python -m bench --document` puts it into the page.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from typing import Any

from bench import document, processes, results, run
from bench.peers.model import OURS, Peer
from bench.peers.ours import stack
from bench.results import Results
from bench.summary import summarize
from bench.workloads import CONNECTIONS, JSON, USUAL, WAIT, Cell

_AS_SHIPPED = "as-shipped"
_NAMES = (JSON.name, WAIT.name)
_BOTH = frozenset(_NAMES)


def peers() -> list[Peer]:
    """Return one stack for each step of each axis."""
    return [
        _peer(_AS_SHIPPED, 1),
        *(_peer(f"workers-{count}", 1, WEB_CONCURRENCY=str(count)) for count in (1, 2, 3, 5, 8)),
        *(_peer(f"threads-{count}", 1, GUNICORN_THREADS=str(count)) for count in (1, 4, 8, 16, 32, 64)),
        *(_peer(f"replicas-{count}", count, WEB_CONCURRENCY="1") for count in (1, 2, 3, 4)),
    ]


def _peer(name: str, replicas: int, **environment: str) -> Peer:
    configuration = ", ".join(f"{key}={value}" for key, value in environment.items()) or "as shipped"
    return Peer(
        name, name.replace("-", " "), OURS, "this repository", configuration, stack(environment, replicas), _BOTH
    )


def main() -> int:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(prog="python -m bench.growth", description=__doc__)
    parser.add_argument("--repeats", type=int, default=5, help="how often everything is measured (default: 5)")
    parser.add_argument("--seconds", type=int, default=1, help="length of one measurement (default: 1)")
    options = parser.parse_args()
    found, before = peers(), run.load_average()
    setup = processes.setup(found)
    samples = run.run(found, [Cell(name, USUAL) for name in _NAMES], options.repeats, options.seconds, _say, setup)
    others = [Cell(name, count) for name in _NAMES for count in CONNECTIONS if count != USUAL]
    samples += run.run(found[:1], others, options.repeats, options.seconds, _say, setup)
    about: dict[str, Any] = {"date": run.now(), "load_before": before, "load_after": run.load_average()}
    about |= {"repeats": options.repeats, "seconds": options.seconds, "machine": results.machine(setup)}
    measured = Results(about, results.describe(found), samples, {})
    path = results.FOLDER / f"growth-{about['date']}.json"
    measured.write(path)
    print(markdown(measured))
    _say(f"written: {path}")
    return 0


def newest() -> str:
    """Return the newest growth results as Markdown; nothing when there are none."""
    path = results.newest("growth")
    return markdown(results.read(path)) if path else ""


def markdown(measured: Results) -> str:
    """Return one table for each axis."""
    return "\n\n".join(_tables(measured))


def _tables(measured: Results) -> Iterator[str]:
    figures = summarize(measured.samples, _AS_SHIPPED)
    for axis in ("workers", "threads", "replicas"):
        names = [name for name in measured.peers if name.startswith(axis)]
        rows = []
        for name in names:
            cells = [figures.get((name, workload, USUAL)) for workload in _NAMES]
            memory = max((cell.memory for cell in cells if cell), default=0)
            rows.append([measured.peers[name]["title"], *map(document.with_latency, cells), f"{memory / 2**20:,.0f}"])
        yield document.table([f"c={USUAL}: requests/s, p99 in ms", JSON.title, WAIT.title, "MiB"], rows)
    rows = [
        [f"connections {count}", *(document.with_latency(figures.get((_AS_SHIPPED, name, count))) for name in _NAMES)]
        for count in CONNECTIONS
    ]
    yield document.table(["as shipped: requests/s, p99 in ms", JSON.title, WAIT.title], rows)


def _say(text: str) -> None:
    print(f"bench: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
