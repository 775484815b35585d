"""``request-id`` for Gunicorn's ASGI worker."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from gunicorn.workers.gasgi import ASGIWorker

from greendock.contrib import request_id

HEADER = b"x-request-id"
App = Callable[..., Awaitable[None]]


class RequestIdASGIWorker(ASGIWorker):  # type: ignore[misc]
    """Gunicorn's ASGI worker, and the request's id; WebSockets included."""

    asgi: App

    def load_wsgi(self) -> None:
        """Load the application and wrap it."""
        request_id.mark_log_records()
        super().load_wsgi()
        self.asgi = _identified(self.asgi)
        self._forget_before_each_request()

    def _forget_before_each_request(self) -> None:
        """The id outlives the application's call, for the access log; the connection's next request must not get it."""
        call = self.cfg.pre_request

        def pre_request(worker: Any, request: Any) -> None:
            request_id.variable.set(None)
            call(worker, request)

        self.cfg.set("pre_request", pre_request)


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
