"""``request-id``: one id for a request, from the proxy's log to the application's.

The worker classes ``request-id`` (on ``lean``) and ``request-id-asgi`` (on ``asgi``) take the id from the
``X-Request-ID`` header, which the proxy sets for every request, or make one where it is missing or not well-formed.
The application finds it

- in ``environ["HTTP_X_REQUEST_ID"]``, or the ``x-request-id`` header of an ASGI scope,
- by ``greendock.contrib.request_id.current()``,
- as ``request_id`` of every ``logging.LogRecord`` made while it handles the request,

and the response carries it. https://http.dev/x-request-id
"""

from __future__ import annotations

import logging
import re
import uuid
from contextvars import ContextVar
from typing import Any

# The proxy's own rule (nginx/templates/http/request-id.conf).
_WELL_FORMED = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{7,127}")

variable: ContextVar[str | None] = ContextVar("request_id", default=None)
"""The id of the request this context handles, or ``None``."""


def current() -> str | None:
    """Return the id of the request being handled, or ``None`` outside of any."""
    return variable.get()


def is_well_formed(text: str) -> bool:
    """Say whether ``text`` may be used as it is: 8 to 128 letters, digits, ``.``, ``_``, ``-``."""
    return _WELL_FORMED.fullmatch(text) is not None


def choose(headers: list[str]) -> str:
    """Return the one id in these headers if it is well-formed, else a new one (a UUID without hyphens)."""
    return headers[0] if len(headers) == 1 and is_well_formed(headers[0]) else uuid.uuid4().hex


def mark_log_records() -> None:
    """Give every log record of this process a ``request_id`` (``None`` outside of requests)."""
    make = logging.getLogRecordFactory()

    def make_marked(*arguments: Any, **keywords: Any) -> logging.LogRecord:
        record = make(*arguments, **keywords)
        record.request_id = variable.get()
        return record

    logging.setLogRecordFactory(make_marked)
