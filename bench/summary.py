"""From samples to figures: medians over the repeats, their spread, and ratios within the same repeat."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from bench.load import Sample


@dataclass(frozen=True)
class Figures:
    """One peer in one cell. Rates are good answers a second; ``of_ours`` is the median of each repeat's own ratio, or
    ``None`` where there is nothing to compare with; memory in bytes is the highest seen; errors are of all repeats."""

    rate: float
    lowest: float
    highest: float
    of_ours: float | None
    p50_ms: float
    p99_ms: float
    cpu_per_1000: float | None
    memory: int
    errors: int
    requests: int
    bytes_each: float


Key = tuple[str, str, int]
"""Peer, workload, connections."""


def by_key(samples: Iterable[Sample]) -> dict[Key, list[Sample]]:
    """Group samples, in the order of their repeats."""
    found: dict[Key, list[Sample]] = {}
    for sample in sorted(samples, key=lambda sample: sample.repeat):
        found.setdefault((sample.peer, sample.workload, sample.connections), []).append(sample)
    return found


def summarize(samples: Sequence[Sample], ours: str) -> dict[Key, Figures]:
    """Return the figures of every peer in every cell, with ratios to the peer named ``ours``."""
    groups = by_key(samples)
    return {key: _figures(group, ratio(group, groups.get((ours, *key[1:]), []))) for key, group in groups.items()}


def ratio(these: Sequence[Sample], those: Sequence[Sample]) -> float | None:
    """Return the median over the repeats of one rate over the other; ``None`` without a repeat both did."""
    other = {sample.repeat: sample.rate for sample in those if sample.rate}
    ratios = [sample.rate / other[sample.repeat] for sample in these if sample.repeat in other]
    return statistics.median(ratios) if ratios else None


def _figures(group: Sequence[Sample], of_ours: float | None) -> Figures:
    rates = [sample.rate for sample in group]
    answered = [sample for sample in group if sample.requests]
    return Figures(
        rate=statistics.median(rates),
        lowest=min(rates),
        highest=max(rates),
        of_ours=of_ours,
        p50_ms=_median(sample.p50_ms for sample in answered),
        p99_ms=_median(sample.p99_ms for sample in answered),
        cpu_per_1000=_median(1000 * sample.cpu_seconds / sample.requests for sample in answered) if answered else None,
        memory=max(sample.memory for sample in group),
        errors=sum(sum(sample.errors.values()) for sample in group),
        requests=sum(sample.requests for sample in group),
        bytes_each=_median(sample.bytes / sample.requests for sample in answered),
    )


def _median(values: Iterable[float]) -> float:
    found = list(values)
    return statistics.median(found) if found else 0.0


def loops(rates: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """Return the median rate of the application called in a loop, by workload."""
    return {workload: statistics.median(found) for workload, found in rates.items() if found}
