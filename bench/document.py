"""docs/performance.md, docs/measurements.md: the plot and the blocks, `<!-- bench: NAME -->` to `<!-- end -->`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from bench import aims, plot
from bench.peers.model import LIMIT, ROOT
from bench.results import Results
from bench.summary import Figures, Key, loops, summarize
from bench.workloads import ALL, BY_NAME, CONNECTIONS, LARGE, UPLOAD, USUAL

PAGES = (ROOT / "docs" / "performance.md", ROOT / "docs" / "measurements.md")
BLOCK = re.compile(r"<!-- bench: (\w+) -->.*?<!-- end -->", re.DOTALL)
_LIMITS_NOT_PLOTTED = ("nginx", "nginx-nginx")


def write(results: Results, pages: Sequence[Path], more: Mapping[str, str] | None = None) -> None:
    """Rewrite the pages' blocks, ``more`` ones among them, and the plot beside the first page."""
    insert(pages, blocks(results) | dict(more or {}))
    pages[0].with_suffix(".svg").write_text(plot.svg(panels(results)))


def insert(pages: Sequence[Path], found: Mapping[str, str]) -> None:
    """Rewrite these blocks wherever a page has them."""
    for page in pages:
        page.write_text(fill(page.read_text(), found))


def fill(text: str, found: Mapping[str, str]) -> str:
    """Return the page with these blocks replaced."""

    def replace(match: re.Match[str]) -> str:
        name = match[1]
        return f"<!-- bench: {name} -->\n\n{found[name]}\n\n<!-- end -->" if name in found else match[0]

    return BLOCK.sub(replace, text)


def blocks(results: Results) -> dict[str, str]:
    """Return every generated block by name."""
    figures = summarize(results.samples, aims.OURS)
    return {
        "about": _about(results),
        "overview": _overview(results, figures),
        "connections": _connections(results, figures),
        "aims": _aims(results),
        "details": "\n\n".join(_details(results, figures)),
        "peers": _peers(results),
    }


def short(results: Results) -> str:
    """Return one block for a run that is not the page's main one."""
    found = blocks(results)
    return "\n\n".join(found[name] for name in ("about", "overview", "aims"))


def page(results: Results) -> str:
    """Return the tables alone, for a terminal."""
    found = blocks(results)
    return "\n\n".join(found[name] for name in ("about", "overview", "connections", "aims", "details"))


def panels(results: Results) -> dict[str, list[plot.Row]]:
    """Return the plot's rows: every workload at its usual number of connections."""
    figures = summarize(results.samples, aims.OURS)
    found: dict[str, list[plot.Row]] = {}
    for workload in ALL:
        connections = _shown(workload.name)
        rows = [
            (peer["title"], peer["kind"], figures[name, workload.name, connections])
            for name, peer in results.peers.items()
            if (name, workload.name, connections) in figures and name not in _LIMITS_NOT_PLOTTED
        ]
        if rows:
            title = f"{workload.title}, {connections} connections: requests/s"
            found[title] = sorted(rows, key=lambda row: (row[1] == LIMIT, -row[2].rate))
    return found


def _shown(workload: str) -> int:
    return UPLOAD.usual[0] if workload == UPLOAD.name else USUAL


def _about(results: Results) -> str:
    about, machine = results.about, results.about["machine"]
    packages = ", ".join(f"{name} {version}" for name, version in machine["packages"].items())
    load = " → ".join(f"{average:.1f}" for average in (about["load_before"][0], about["load_after"][0]))
    return (
        f"Measured {about['date']} UTC at commit {machine['commit']}: {machine['cpus']} × {machine['cpu']}, "
        f"{machine['memory_bytes'] / 2**30:.0f} GiB, Linux {machine['kernel']}, Python {machine['python']}, "
        f"Nginx {machine['nginx']}, Caddy {machine['caddy'].split()[0] if machine['caddy'] else '–'}, {packages}. "
        f"{about['repeats']} repeats of {about['seconds']} s ({UPLOAD.longer} times as long for uploads); "
        f"{about['minutes']:.0f} minutes; load average of the machine before and after: {load}."
    )


def _overview(results: Results, figures: Mapping[Key, Figures]) -> str:
    columns = [workload for workload in ALL if any(key[1] == workload.name for key in figures)]
    rows = []
    for name, peer in results.peers.items():
        cells = [_cell(figures.get((name, workload.name, _shown(workload.name)))) for workload in columns]
        if any(cells):
            rows.append([peer["title"], *cells])
    heads = [f"{workload.title} (c={_shown(workload.name)})" for workload in columns]
    return table(["requests/s (of ours)", *heads], rows)


def _connections(results: Results, figures: Mapping[Key, Figures]) -> str:
    counts = [count for count in CONNECTIONS if any(key[1:] == ("json", count) for key in figures)]
    rows = []
    for name, peer in results.peers.items():
        found = [figures.get((name, "json", count)) for count in counts]
        if any(found):
            rows.append([peer["title"], *(with_latency(each) for each in found)])
    return table(["Flask JSON: requests/s, p99 in ms", *(f"c={count}" for count in counts)], rows)


def _aims(results: Results) -> str:
    rows = [
        [
            aim.text,
            f"{aim.figure:.2f}",
            f"{aim.least:.2f}",
            "yes" if aim.met else f"missed by {aim.least - aim.figure:.2f}",
        ]
        for aim in aims.check(results)
    ]
    return table(["aim", "ratio", "at least", "met"], rows)


def _details(results: Results, figures: Mapping[Key, Figures]) -> Iterator[str]:
    called = loops(results.loops)
    for workload, connections in sorted(
        {key[1:] for key in figures}, key=lambda cell: (list(BY_NAME).index(cell[0]), cell[1])
    ):
        rows = [
            [peer["title"], *_row(figures[name, workload, connections], workload)]
            for name, peer in results.peers.items()
            if (name, workload, connections) in figures
        ]
        head = ["", "req/s", "lowest–highest", "of ours", "p50 ms", "p99 ms", "errors", "CPU s/1,000", "MiB"]
        head += ["kB each"] if workload == LARGE.name else []
        title = f"{BY_NAME[workload].title}, {connections} connections"
        loop = (
            f"\n\nThe application called in a loop on one CPU: {called[workload]:,.0f} a second."
            if workload in called
            else ""
        )
        yield f"<details><summary>{title}</summary>\n\n{table(head, rows)}{loop}\n\n</details>"


def _peers(results: Results) -> str:
    rows = [[peer["title"], peer["kind"], peer["configuration"], peer["source"]] for peer in results.peers.values()]
    return table(["", "", "configuration", "source"], rows)


def _cell(figures: Figures | None) -> str:
    if figures is None:
        return ""
    of_ours = "" if figures.of_ours is None else f" ({figures.of_ours:.2f})"
    return f"{_number(figures.rate)}{of_ours}{'*' if _failing(figures) else ''}"


def _failing(figures: Figures) -> bool:
    """One in a hundred answers or more is none."""
    return figures.errors > 0.01 * max(1, figures.requests)


def with_latency(figures: Figures | None) -> str:
    """Return the rate and the 99th percentile; nothing for nothing."""
    return (
        "" if figures is None else f"{_number(figures.rate)}{'*' if _failing(figures) else ''}, {figures.p99_ms:,.0f}"
    )


def _row(figures: Figures, workload: str) -> list[str]:
    row = [
        _number(figures.rate),
        f"{_number(figures.lowest)}–{_number(figures.highest)}",
        "–" if figures.of_ours is None else f"{figures.of_ours:.2f}",
        f"{figures.p50_ms:,.1f}",
        f"{figures.p99_ms:,.1f}",
        str(figures.errors),
        "–" if figures.cpu_per_1000 is None else f"{figures.cpu_per_1000:,.2f}",
        f"{figures.memory / 2**20:,.0f}",
    ]
    return [*row, f"{figures.bytes_each / 1000:,.1f}"] if workload == LARGE.name else row


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 20 else f"{value:.1f}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table whose first column is text and whose others are figures."""
    if not rows:
        return "(not measured)"
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
