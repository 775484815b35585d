"""Restarting a worker when its code changes, in development.

Gunicorn's polling reloader notes how old each file is only after the application has been loaded: what is saved while
a worker loads, say by an editor that formats on save, is never seen. This one counts from the worker's start.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gunicorn.reloader import ReloaderBase, reloader_engines


class Reloader(ReloaderBase):  # type: ignore[misc]  # Gunicorn has no types
    """Look at every file of the loaded modules each second; tell the worker of one saved since it was started."""

    def __init__(self, extra_files: Any = None, callback: Callable[[str], None] | None = None) -> None:
        super().__init__(extra_files=extra_files, callback=callback)
        self._worker_start = time.time()
        self._known: dict[str, float] = {}

    def run(self) -> None:
        while True:
            for filename in self.get_files():
                if self._is_changed(filename):
                    self._callback(filename)
            time.sleep(self._interval)

    def _is_changed(self, filename: str) -> bool:
        try:
            saved = Path(filename).stat().st_mtime
        except OSError:
            return False
        known = self._known.setdefault(filename, saved)
        # A time in the future, from another clock, is no reason to restart for ever.
        return saved > known or self._worker_start < saved <= time.time()


def watch(_server: Any, worker: Any) -> None:
    """``post_fork``: with ``reload``, this worker will make its reloader from Gunicorn's table."""
    if not worker.cfg.reload:
        return
    if reloader_engines["auto"] is reloader_engines["poll"]:
        reloader_engines["auto"] = Reloader
    reloader_engines["poll"] = Reloader
