"""WSGI or ASGI: what an application is, what a worker class serves, and what to set when the two differ.

An application of the other kind boots well and then answers every request with 500.
https://peps.python.org/pep-3333/, https://asgi.readthedocs.io/en/latest/specs/main.html
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

WSGI, ASGI = "WSGI", "ASGI"
_CALLED_WITH = {WSGI: "(environ, start_response)", ASGI: "(scope, receive, send)"}
_ARTICLE = {WSGI: "a", ASGI: "an"}
_SERVED_BY = {WSGI: "lean (the default) or gthread", ASGI: "asgi"}
# By name, because importing Gunicorn's ASGI or gevent worker to compare has effects of its own.
_WORKERS = {
    **dict.fromkeys(("SyncWorker", "ThreadWorker", "LeanWorker", "AsyncWorker", "TornadoWorker"), WSGI),
    **dict.fromkeys(("ASGIWorker", "AsgiWorker", "UvicornWorker"), ASGI),
}


def spoken_by(application: Callable[..., Any]) -> str | None:
    """Return ``WSGI`` or ``ASGI``, or ``None`` where its arguments do not tell."""
    if inspect.iscoroutinefunction(application) or inspect.iscoroutinefunction(type(application).__call__):
        return ASGI
    two, three = _takes(application, 2), _takes(application, 3)
    if two == three:
        return None
    return WSGI if two else ASGI


def served_by(worker_class: type) -> str | None:
    """Return what a worker class serves, or ``None`` for one that derives from nothing we know."""
    return next((_WORKERS[base.__name__] for base in worker_class.__mro__ if base.__name__ in _WORKERS), None)


def complaint(application: Callable[..., Any], worker_class: type) -> str | None:
    """Say why a worker class cannot serve an application, and what can; ``None`` when nothing speaks against it."""
    if _takes(application, 0) and not _takes(application, 2) and not _takes(application, 3):
        return "takes no arguments: for a factory, write module:factory()"
    spoken, served = spoken_by(application), served_by(worker_class)
    if spoken is None or served is None or spoken == served:
        return None
    return (
        f"is {_ARTICLE[spoken]} {spoken} application {_CALLED_WITH[spoken]}, "
        f"and {worker_class.__name__} serves {served}; "
        f"accepted: GUNICORN_WORKER_CLASS={_SERVED_BY[spoken]}"
    )


def _takes(application: Callable[..., Any], count: int) -> bool:
    try:
        inspect.signature(application).bind(*range(count))
    except TypeError:
        return False
    except ValueError:
        return True  # a builtin that does not tell
    return True
