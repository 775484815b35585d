"""This stack beside what users would pick instead: `make bench`, or `python -m bench`.

Loads 127.0.0.1 only. A default run takes about 15 minutes and writes bench/results/run-<date>.json, the two pages in
docs/ and the plot; a run narrowed by an option writes them under .cache/bench/. With --containers it takes the images'
Python and Nginx, and writes run-containers-<date>.json and one block of a page.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from bench import containers, cost_table, document, growth, peers, processes, results, run
from bench.peers.model import ROOT, Peer
from bench.results import Results
from bench.running import Setup
from bench.workloads import ALL, CONNECTIONS, Cell, cells

_SCRATCH = ROOT / ".cache" / "bench"
_CONTAINERS = "run-containers"
_LOOP_SECONDS = 0.3
_LOOPED = ("hello", "json", "large")


def main() -> int:
    """Run what the command line asks for."""
    options = _parser().parse_args()
    if options.document is not None:
        path = Path(options.document) if options.document else results.newest()
        if path is None:
            raise SystemExit("bench: no results yet under bench/results/")
        document.write(results.read(path), document.PAGES, _more())
        return 0
    found, wanted = _chosen(peers.every(), options.peers), _cells(options)
    setup = containers.setup(_say) if options.containers else processes.setup(found)
    repeats = options.repeats or (1 if options.quick else 5)
    needed = run.seconds_needed(found, wanted, repeats, options.seconds)
    _say(f"{len(found)} peers, {len(wanted)} cells, {repeats} repeats: about {needed / 60:.0f} minutes")
    measured = _measure(found, wanted, repeats, options.seconds, setup)
    measured.about["containers"] = options.containers
    narrowed = options.quick or options.full or options.peers or options.workloads or options.connections
    _write(measured, scratch=bool(narrowed or options.repeats))
    return 0


def _measure(found: Sequence[Peer], wanted: Sequence[Cell], repeats: int, seconds: int, setup: Setup) -> Results:
    start, before = time.monotonic(), run.load_average()
    looped = [name for name in _LOOPED if any(cell.workload == name for cell in wanted)]
    loops = {name: [run.loop_rate(setup, name, _LOOP_SECONDS) for _ in range(repeats)] for name in looped}
    samples = run.run(found, wanted, repeats, seconds, _say, setup)
    about = {
        "date": run.now(),
        "repeats": repeats,
        "seconds": seconds,
        "minutes": (time.monotonic() - start) / 60,
        "load_before": before,
        "load_after": run.load_average(),
        "machine": results.machine(setup),
    }
    return Results(about, results.describe(found), samples, loops)


def _write(measured: Results, *, scratch: bool) -> None:
    folder = _SCRATCH if scratch else results.FOLDER
    contained = measured.about["containers"]
    path = folder / f"{_CONTAINERS if contained else 'run'}-{measured.about['date']}.json"
    measured.write(path)
    pages = document.PAGES
    if scratch:
        pages = tuple(_SCRATCH / page.name for page in document.PAGES)
        for page, original in zip(pages, document.PAGES, strict=True):
            page.write_text(original.read_text())
    if contained:
        document.insert(pages, {"containers": document.short(measured)})
    else:
        document.write(measured, pages, _more())
    print(document.page(measured))
    _say(f"written: {path} and {', '.join(map(str, pages))}")


def _more() -> dict[str, str]:
    """Return the blocks other programs have measured, as far as they have."""
    contained = results.newest(_CONTAINERS)
    found = {
        "cost": cost_table.newest(),
        "growth": growth.newest(),
        "containers": document.short(results.read(contained)) if contained else "",
    }
    return {name: text for name, text in found.items() if text}


def _chosen(every: Sequence[Peer], names: str) -> list[Peer]:
    wanted = names.split(",") if names else [peer.name for peer in every]
    unknown = set(wanted) - {peer.name for peer in every}
    if unknown:
        raise SystemExit(f"bench: no such peer: {', '.join(unknown)}; there are {', '.join(p.name for p in every)}")
    return [peer for peer in every if peer.name in wanted]


def _cells(options: argparse.Namespace) -> list[Cell]:
    wanted = cells("quick" if options.quick else "full" if options.full else "default")
    if options.workloads:
        wanted = [cell for cell in wanted if cell.workload in options.workloads.split(",")]
    if options.connections:
        counts = [int(text) for text in options.connections.split(",")]
        names = dict.fromkeys(cell.workload for cell in wanted)
        wanted = [Cell(name, count) for name in names for count in counts]
    if not wanted:
        raise SystemExit(f"bench: nothing to measure; workloads: {', '.join(each.name for each in ALL)}")
    return wanted


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="every workload once, about two minutes")
    parser.add_argument(
        "--full", action="store_true", help=f"every workload at {CONNECTIONS} connections, about an hour"
    )
    parser.add_argument("--containers", action="store_true", help="every peer in containers instead of processes")
    parser.add_argument("--repeats", type=int, help="how often everything is measured (default: 5)")
    parser.add_argument("--seconds", type=int, default=1, help="length of one measurement (default: 1)")
    parser.add_argument("--peers", default="", metavar="A,B", help="only these peers")
    parser.add_argument(
        "--workloads", default="", metavar="A,B", help=f"only these, out of {', '.join(each.name for each in ALL)}"
    )
    parser.add_argument("--connections", default="", metavar="N,M", help="these numbers of connections")
    parser.add_argument(
        "--document", nargs="?", const="", metavar="JSON", help="measure nothing; write the page from these results"
    )
    return parser


def _say(text: str) -> None:
    print(f"bench: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
