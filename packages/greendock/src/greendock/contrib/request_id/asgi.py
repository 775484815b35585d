"""``request-id`` for ASGI workers: ours and Gunicorn's."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from greendock.contrib import request_id
from greendock.contrib.asgi import AsgiWorker

HEADER = b"x-request-id"
App = Callable[..., Awaitable[None]]


class RequestIdCalls:
    """A mixin for ``asgi``, Gunicorn's ASGI worker and their subclasses: ``class Mine(RequestIdCalls, Other)``.

    Each request runs in a task of its own, so the id ends with it and is still there for the access log.
    """

    asgi: App

    def load_wsgi(self) -> None:
        """Load the application and wrap it."""
        request_id.mark_log_records()
        super().load_wsgi()  # type: ignore[misc]
        self.asgi = _identified(self.asgi)


class RequestIdASGIWorker(RequestIdCalls, AsgiWorker):
    """What ``asgi`` does, and the request's id; WebSockets included."""


def _identified(app: App) -> App:
    async def identified(scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] not in ("http", "websocket"):
            await app(scope, receive, send)
            return
        headers = scope["headers"]
        chosen = request_id.choose([value.decode("latin-1") for name, value in headers if name == HEADER])
        own = (HEADER, chosen.encode())
        scope["headers"] = [header for header in headers if header[0] != HEADER] + [own]
        request_id.variable.set(chosen)

        async def answer(message: dict[str, Any]) -> None:
            if message["type"] in ("http.response.start", "websocket.accept"):
                others = [header for header in message.get("headers", ()) if bytes(header[0]).lower() != HEADER]
                message = {**message, "headers": [*others, own]}
            await send(message)

        await app(scope, receive, answer)

    return identified
