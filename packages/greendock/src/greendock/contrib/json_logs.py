"""``json-logs``: the access log and the error log as one JSON object a line, in Elastic Common Schema.

Everything is escaped to ASCII by the JSON encoder, so nothing a client sends can begin a line or a field. Records of
the application's own loggers come out the same way. The access log is off unless ``GUNICORN_ACCESSLOG`` is set: the
proxy's has the same fields, and the same request id. https://www.elastic.co/docs/reference/ecs
"""

from __future__ import annotations

import logging
import traceback
from typing import Any

from ecs_logging import StdlibFormatter
from gunicorn.glogging import Logger

from greendock.contrib import request_id

# The proxy leaves the same ones out (NGINX_LOG_EXCLUDE).
HEALTH_PATHS = frozenset({"/healthz", "/livez", "/readyz"})


class EcsFormatter(StdlibFormatter):
    """One line for each record; the request's id, where there is one, as ``http.request.id``."""

    def __init__(self) -> None:
        super().__init__(exclude_fields=["log.original", "request_id"])

    def format_to_ecs(self, record: logging.LogRecord) -> dict[str, Any]:
        """Return the record's fields."""
        fields: dict[str, Any] = super().format_to_ecs(record)
        gunicorn = record.name in ("gunicorn.access", "gunicorn.error")
        fields.setdefault("event", {})["dataset"] = record.name if gunicorn else "application"
        if gunicorn:
            del fields["log"]["origin"]  # always Gunicorn's own logging module
        if record.exc_info and record.exc_info[1]:
            # The library leaves out chained exceptions and notes; a failed hook is named in one.
            fields["error"]["stack_trace"] = "".join(traceback.format_exception(record.exc_info[1]))
        chosen = getattr(record, "request_id", None)
        if chosen:
            fields.setdefault("http", {}).setdefault("request", {})["id"] = chosen
        return fields


class JsonLogger(Logger):  # type: ignore[misc]
    """Gunicorn's logger with every line an object of Elastic Common Schema."""

    health_path = ""
    """``GREENDOCK_HEALTH_PATH``, handed over by Greendock's own ``on_starting`` and ``on_reload``."""

    def setup(self, cfg: Any) -> None:
        """Set up Gunicorn's handlers and give them our format; called again at every reload.

        The application's records go the same way, unless it has given the root logger handlers of its own.
        """
        super().setup(cfg)
        root = logging.getLogger()
        for handler in _ours(root):
            root.removeHandler(handler)
        for handler in _ours(self.error_log) + _ours(self.access_log):
            handler.setFormatter(EcsFormatter())
        if not root.handlers:
            for handler in _ours(self.error_log):
                root.addHandler(handler)
            root.setLevel(self.loglevel)

    def access(self, resp: Any, _req: Any, environ: dict[str, Any], request_time: Any) -> None:
        """Log one request, unless it is a health check."""
        if not self.access_log_enabled or self._is_health_check(environ.get("PATH_INFO", "")):
            return
        fields = _fields(resp, environ, request_time)
        self.access_log.info(
            "%s %s %s",
            fields["http.request.method"],
            fields["url.original"],
            fields["http.response.status_code"],
            extra={name: value for name, value in fields.items() if value not in (None, "")},
        )

    def _is_health_check(self, path: str) -> bool:
        return path in HEALTH_PATHS or (path != "" and path == self.health_path.partition("?")[0])


def _ours(log: logging.Logger) -> list[logging.Handler]:
    return [handler for handler in log.handlers if getattr(handler, "_gunicorn", False)]


def _fields(resp: Any, environ: dict[str, Any], request_time: Any) -> dict[str, Any]:
    status = str(resp.status or "").partition(" ")[0]
    request_id_header = environ.get("HTTP_X_REQUEST_ID", "")
    return {
        "http.request.method": environ.get("REQUEST_METHOD", ""),
        "http.version": environ.get("SERVER_PROTOCOL", "").removeprefix("HTTP/"),
        "http.request.id": request_id_header if request_id.is_well_formed(request_id_header) else None,
        "http.request.referrer": environ.get("HTTP_REFERER"),
        "http.response.status_code": int(status) if status.isdigit() else None,
        "http.response.body.bytes": getattr(resp, "sent", None),
        "url.original": environ.get("RAW_URI", ""),
        "url.scheme": environ.get("wsgi.url_scheme"),
        "source.ip": environ.get("REMOTE_ADDR"),
        "user_agent.original": environ.get("HTTP_USER_AGENT"),
        # Nanoseconds, says the schema. An ASGI worker's request_time has only these two attributes.
        "event.duration": (request_time.seconds * 1_000_000 + request_time.microseconds) * 1000,
    }
