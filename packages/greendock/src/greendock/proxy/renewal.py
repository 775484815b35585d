"""Certificates that an ACME client renews: seen when their files change."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

_POLL = 1.0
State = list[tuple[int, int] | None]


def state(files: Sequence[Path]) -> State:
    """Return what tells a file from the one that was there before; ``None``: there is none."""
    stamps: State = []
    for file in files:
        try:
            status = file.stat()
        except OSError:
            stamps.append(None)
        else:
            stamps.append((status.st_ino, status.st_mtime_ns))
    return stamps


def changes(files: Sequence[Path], before: State, parent: int) -> Iterator[None]:
    """Yield once for each time that the files have changed, are all there and have been left alone for a moment.

    Ends with the process ``parent``, whose child this one is.
    """
    while os.getppid() == parent:
        time.sleep(_POLL)
        now = state(files)
        if now != before and None not in now:
            time.sleep(_POLL)
            if state(files) == now:
                before = now
                yield
