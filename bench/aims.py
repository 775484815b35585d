"""What this stack sets out to reach, and whether a run shows it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bench.load import Sample
from bench.results import Results
from bench.summary import Key, by_key, ratio
from bench.workloads import ALL, HELLO, JSON, SLOW, STATIC, UPLOAD, USUAL, WAIT, Workload

OURS = "greendock"
PROXIED_GUNICORN = ("tutorial", "caddy")
UWSGI = "uwsgi-nginx-flask"
GTHREAD = "greendock-gthread"
TIMES_GTHREAD = {HELLO: 5.0, JSON: 2.5, WAIT: 1.0}


@dataclass(frozen=True)
class Aim:
    """``figure`` is reached when it is at least ``least``."""

    text: str
    figure: float
    least: float

    @property
    def met(self) -> bool:
        return self.figure >= self.least


def check(results: Results) -> list[Aim]:
    """Return every aim that this run says something about."""
    groups = by_key(results.samples)
    return [
        *_beside_gunicorn(groups),
        *_beside_direct(groups),
        *_static(groups),
        *_slow(groups),
        *_beside_uwsgi(groups),
        *_beside_gthread(groups),
    ]


Groups = dict[Key, list[Sample]]


def _get(groups: Groups, peer: str, workload: Workload) -> Sequence[Sample]:
    connections = workload.usual[0] if workload is UPLOAD else USUAL
    return groups.get((peer, workload.name, connections), [])


def _beside_gunicorn(groups: Groups) -> Iterator[Aim]:
    for workload in ALL:
        ours = _get(groups, OURS, workload)
        found = {name: ratio(ours, _get(groups, name, workload)) for name in PROXIED_GUNICORN}
        known = {name: value for name, value in found.items() if value is not None}
        if known:
            name = min(known, key=lambda name: known[name])
            yield Aim(f"{workload.title}: ahead of every proxied Gunicorn (the best of them: {name})", known[name], 1)


def _beside_direct(groups: Groups) -> Iterator[Aim]:
    for workload in ALL:
        value = ratio(_get(groups, OURS, workload), _get(groups, f"{OURS}-direct", workload))
        if value is not None:
            yield Aim(f"{workload.title}: 95 % of the same Gunicorn without the proxy", value, 0.95)


def _static(groups: Groups) -> Iterator[Aim]:
    value = ratio(_get(groups, OURS, STATIC), _get(groups, "nginx", STATIC))
    if value is not None:
        yield Aim(f"{STATIC.title}: 95 % of Nginx alone", value, 0.95)


def _slow(groups: Groups) -> Iterator[Aim]:
    value = ratio(_get(groups, OURS, SLOW), _get(groups, OURS, JSON))
    if value is not None:
        yield Aim("200 slow clients leave fast ones 90 % of their rate", value, 0.9)


def _beside_uwsgi(groups: Groups) -> Iterator[Aim]:
    for workload in ALL:
        value = ratio(_get(groups, OURS, workload), _get(groups, UWSGI, workload))
        if value is not None:
            yield Aim(f"{workload.title}: ahead of uWSGI behind Nginx", value, 1)


def _beside_gthread(groups: Groups) -> Iterator[Aim]:
    for workload, times in TIMES_GTHREAD.items():
        value = ratio(_get(groups, OURS, workload), _get(groups, GTHREAD, workload))
        if value is not None:
            yield Aim(f"{workload.title}: {times:g} times gthread in the same place", value, times)
