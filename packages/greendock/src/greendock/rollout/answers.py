"""What a version answers, by Nginx's access log: how many requests, and how many of them with 500 or more."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from dataclasses import dataclass

# Fewer failures than this say nothing.
_FEW = 3
# The share of failures may grow by this much: what is rare differs from one moment to the next.
_TOLERANCE = 0.02


@dataclass(frozen=True)
class Answers:
    """Requests that were answered, and those of them that failed."""

    total: int = 0
    failed: int = 0

    @property
    def share(self) -> float:
        return self.failed / self.total if self.total else 0.0

    def worse_than(self, other: Answers) -> bool:
        """Whether three or more have failed, and their share is more than two percentage points above the other's."""
        return self.failed >= _FEW and self.share > other.share + _TOLERANCE

    def __str__(self) -> str:
        return f"{self.failed} of {self.total} answers were 5xx"


def count(log: Iterable[str], replicas: Collection[str] | None = None) -> Answers:
    """Count the answers in the lines of a JSON access log: those of ``replicas`` (``address:port``), or all.

    What is no line of such a log is passed over: Nginx's messages, and any other format.
    """
    total = failed = 0
    for line in log:
        if not line.startswith("{"):
            continue
        try:
            entry = json.loads(line)
            status = int(entry["http.response.status_code"])
            # After a retry there are several: the last one has answered.
            address = str(entry["nginx.upstream.address"]).rpartition(" ")[2]
        except (ValueError, KeyError, TypeError):
            continue
        if replicas is None or address in replicas:
            total += 1
            failed += status >= 500
    return Answers(total, failed)
