"""The proxy's variables."""

from __future__ import annotations

from greendock import kinds
from greendock.schema import Variable

VARIABLES: tuple[Variable, ...] = (
    Variable(
        "NGINX_UPSTREAM_KEEPALIVE_TIMEOUT",
        kinds.integer(1, 3600),
        "30",
        "Seconds an idle connection to Gunicorn is kept.",
        "Upstream",
        "nginx",
    ),
)
