"""``asgi``: a Gunicorn worker for FastAPI, Starlette, Django and other ASGI applications that loses no request.

Requests are parsed by the rules of ``lean`` and of Gunicorn itself; WebSockets are uvicorn's; the event loop is uvloop
where it is installed. The extra ``asgi`` brings what it needs. https://asgi.readthedocs.io/en/latest/specs/main.html
"""

from __future__ import annotations

try:
    import uvicorn  # noqa: F401
    import websockets  # noqa: F401
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(f"{error}; install the extra: greendock[asgi]", name=error.name) from None

from greendock.contrib.asgi.worker import AsgiWorker

__all__ = ["AsgiWorker"]
