"""``warm-up``: ask the application for some paths before a worker counts as ready.

The first request to a worker often pays for lazy imports, compiled templates and connections. With this plugin a
worker makes that request itself, before it is recorded as booted. WSGI only.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any
from wsgiref.util import setup_testing_defaults

from greendock.env import types
from greendock.env.variable import Variable
from greendock.hooks.plugins import ServerPlugin

PATHS = "GREENDOCK_WARM_UP_PATHS"


class WarmUp(ServerPlugin):
    """Hooks ``post_worker_init``: a path that does not answer gives the start up (see GREENDOCK_HOOK_FAIL_FAST)."""

    variables = (
        Variable(PATHS, types.LIST, "/", "Paths that `warm-up` asks each worker for before it is ready.", "Plugins"),
    )

    def __init__(self) -> None:
        self.paths: list[str] = []

    def configure(self, options: Mapping[str, Any]) -> Iterable[str]:
        """Take the variable; complain about what is no path."""
        self.paths = options[PATHS]
        return [f"{PATHS}: {path} does not start with /" for path in self.paths if not path.startswith("/")]

    def post_worker_init(self, worker: Any) -> None:
        """Ask for every path, in the worker, after the application is loaded."""
        for path in self.paths:
            status = ask(worker.wsgi, path)
            if status >= "500":
                raise RuntimeError(f"{path} answered {status}")
            worker.log.info("Warmed up: %s %s", path, status)


def ask(app: Any, path: str) -> str:
    """Call a WSGI application; return the response's status."""
    environ: dict[str, Any] = {"PATH_INFO": path, "HTTP_USER_AGENT": "warm-up"}
    setup_testing_defaults(environ)
    seen: list[str] = []
    body = app(environ, lambda status, headers, exc_info=None: seen.append(status))
    try:
        for _ in body:
            pass
    finally:
        getattr(body, "close", lambda: None)()
    return seen[0]
