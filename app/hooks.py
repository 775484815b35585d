"""Sample hooks. Enable one by name, for example in ``.env``: ``GUNICORN_POST_WORKER_INIT=app.hooks:announce``."""

from __future__ import annotations

from typing import Any


def announce(worker: Any) -> None:
    """``post_worker_init``: say that a worker has booted."""
    worker.log.info("Worker %s has booted and takes requests", worker.pid)


def log_slow_request(worker: Any, request: Any, _environ: Any, response: Any) -> None:
    """``post_request``: show where a hook finds what it needs. Keep such hooks light: they run for every request."""
    if response is not None and response.status_code >= 500:
        worker.log.warning("%s %s answered %s", request.method, request.path, response.status)
