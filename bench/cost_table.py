"""What `python -m bench.cost` has found, as a table for docs/measurements.md."""

from __future__ import annotations

import json
from collections.abc import Mapping

from bench.results import newest as newest_file


def newest() -> str:
    """Return the newest cost results as Markdown; nothing when there are none."""
    path = newest_file("cost")
    return markdown(json.loads(path.read_text())) if path else ""


def markdown(found: Mapping[str, object]) -> str:
    """Return a table of one line for each figure."""
    rows = [f"| {name} | {value} |" for name, value in found.items()]
    return "\n".join(["| | |", "| --- | ---: |", *rows])
