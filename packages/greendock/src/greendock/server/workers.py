"""How many Gunicorn workers to run, and why.

The ``2n + 1`` rule is Gunicorn's own: https://docs.gunicorn.org/en/stable/design.html#how-many-workers
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from greendock.host.cgroups import Limits

#: Unless a worker class says otherwise by an attribute ``workers_per_core``.
WORKERS_PER_CORE = 2.0


@dataclass(frozen=True)
class WorkerCount:
    """The number of workers and the sentence that explains it."""

    number: int
    reason: str


def count_workers(
    limits: Limits,
    *,
    per_core: float = WORKERS_PER_CORE,
    most: int | None = None,
    memory_per_worker: int = 0,
) -> WorkerCount:
    """Return ``floor(per_core * CPUs) + 1``, bounded by memory and by ``most``, at least 1.

    ``memory_per_worker`` is in bytes; 0 stands for "memory does not bind".
    """
    number = math.floor(per_core * limits.cpus) + 1
    reason = f"floor({per_core:g} × {limits.cpus:g} CPUs) + 1, by {limits.cpus_reason}"
    if memory_per_worker and limits.memory is not None:
        fit = limits.memory // memory_per_worker
        if fit < number:
            number = fit
            reason = f"{_mib(limits.memory)} ÷ {_mib(memory_per_worker)} a worker, by {limits.memory_reason}"
    if most is not None and most < number:
        number, reason = most, f"MAX_WORKERS, down from {reason}"
    if number < 1:
        number, reason = 1, f"the least there can be; {reason}"
    return WorkerCount(number, reason)


def _mib(size: int) -> str:
    return f"{size / 1024**2:.0f} MiB"
