"""``logfmt``: the access log as ``key=value`` pairs, as Heroku and Grafana Loki read them. https://brandur.org/logfmt"""

from __future__ import annotations

import json
from typing import Any

from gunicorn.glogging import Logger


class LogfmtLogger(Logger):
    """Gunicorn's logger with another access log. ``setup(cfg)`` would be the place for handlers of your own: Gunicorn
    calls it at the start and at every reload, so it must be right to call it twice."""

    def access(self, resp: Any, req: Any, environ: dict[str, Any], request_time: Any) -> None:
        """Log one request. ``request_time`` has ``seconds`` and ``microseconds``, with an ASGI worker nothing else."""
        if self.access_log_enabled:
            milliseconds = request_time.seconds * 1000 + request_time.microseconds / 1000
            self.access_log.info(
                logfmt(
                    method=environ.get("REQUEST_METHOD"),
                    path=environ.get("RAW_URI"),
                    status=str(resp.status).split(None, 1)[0],
                    bytes=getattr(resp, "sent", None),
                    ms=f"{milliseconds:.1f}",
                    ip=environ.get("REMOTE_ADDR"),
                    request_id=environ.get("HTTP_X_REQUEST_ID"),
                    agent=environ.get("HTTP_USER_AGENT"),
                )
            )


def logfmt(**pairs: Any) -> str:
    """Join what is not ``None``. A value that is not plain is quoted as JSON, in ASCII: a client forges no line."""
    return " ".join(f"{key}={quoted(str(value))}" for key, value in pairs.items() if value is not None)


def quoted(text: str) -> str:
    """Return ``text`` as it is if it is plain, else as a JSON string."""
    plain = text.isascii() and text.isprintable() and not set(text) & set(' ="\\')
    return text if plain and text else json.dumps(text)
