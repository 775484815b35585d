"""``server-timing``: a worker class that tells the browser's network panel how long the application took.

https://www.w3.org/TR/server-timing/
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

from greendock.contrib.lean import LeanWorker


class ServerTimingWorker(LeanWorker):
    """What ``lean`` does, and a ``Server-Timing`` header. Build on ``RequestIdWorker`` to have ids as well."""

    wsgi: Callable[..., Iterable[bytes]]

    def load_wsgi(self) -> None:
        """Called once in each worker; afterwards ``self.wsgi`` is the application that requests are given to."""
        super().load_wsgi()
        self.wsgi = timed(self.wsgi)


def timed(app: Callable[..., Iterable[bytes]]) -> Callable[..., Iterable[bytes]]:
    """Wrap a WSGI application: its responses say how many milliseconds passed until it had their headers."""

    def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        started = time.perf_counter()

        def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
            duration = f"app;dur={(time.perf_counter() - started) * 1000:.1f}"
            return start_response(status, [*headers, ("Server-Timing", duration)], exc_info)

        return app(environ, start)

    return answer
