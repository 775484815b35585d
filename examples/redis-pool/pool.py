"""One Redis connection pool for each worker.

A connection must not be shared by processes, so each worker opens a pool of its own after it has been forked, and
closes it when it ends. Enable the hooks by name:

    GUNICORN_ON_STARTING=pool:check
    GUNICORN_POST_WORKER_INIT=pool:open_pool
    GUNICORN_WORKER_EXIT=pool:close_pool
"""

from __future__ import annotations

import os
from typing import Any

import redis

URL = os.environ.get("REDIS_URL", "redis://127.0.0.1:6379/0")
_client: redis.Redis | None = None


def client() -> redis.Redis:
    """Return this worker's client. Every call borrows a connection of the pool; threads share them."""
    if _client is None:
        raise RuntimeError("open_pool has not run in this process")
    return _client


def check(_server: Any) -> None:
    """``on_starting``: give the start up at once when Redis is not there. The connection is closed before any fork."""
    with redis.Redis.from_url(URL, socket_connect_timeout=5) as probe:
        probe.ping()


def open_pool(worker: Any) -> None:
    """``post_worker_init``: open the pool, and use it once, so that a worker that is ready can reach Redis."""
    global _client  # noqa: PLW0603
    _client = redis.Redis.from_url(
        URL,
        max_connections=worker.cfg.threads,  # a thread uses one at a time
        client_name=f"worker-{os.getpid()}",
        socket_timeout=5,
        health_check_interval=30,
    )
    _client.ping()


def close_pool(_server: Any, _worker: Any) -> None:
    """``worker_exit``: close every connection. A killed worker never gets here; the kernel closes its sockets."""
    global _client  # noqa: PLW0603
    if _client is not None:
        _client.connection_pool.disconnect()
        _client = None
