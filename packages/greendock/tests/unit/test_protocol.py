"""WSGI or ASGI: told from the callable, before it is asked for anything."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import django
import pytest
from django.conf import settings
from fastapi import FastAPI
from flask import Flask
from gunicorn.workers.gasgi import ASGIWorker
from gunicorn.workers.gthread import ThreadWorker
from starlette.applications import Starlette

from greendock.contrib.lean import LeanWorker
from greendock.server import protocol
from greendock.server.protocol import ASGI, WSGI


def wsgi(environ: object, start_response: object) -> None: ...
def asgi_by_a_plain_function(scope: object, receive: object, send: object) -> None: ...
async def asgi(scope: object, receive: object, send: object) -> None: ...
def wrapped(*arguments: object) -> None: ...
def factory() -> None: ...


class Iterated:
    """The WSGI application as a class, as the specification shows it."""

    def __init__(self, environ: object, start_response: object) -> None: ...


def django_application(kind: str) -> Any:
    if not settings.configured:
        settings.configure(ALLOWED_HOSTS=["*"])
        django.setup()
    from django.core.handlers.asgi import ASGIHandler  # noqa: PLC0415
    from django.core.handlers.wsgi import WSGIHandler  # noqa: PLC0415

    return WSGIHandler() if kind == WSGI else ASGIHandler()


@pytest.mark.parametrize(
    ("make", "spoken"),
    [
        (lambda: wsgi, WSGI),
        (lambda: asgi, ASGI),
        (lambda: asgi_by_a_plain_function, ASGI),
        (lambda: functools.partial(asgi), ASGI),
        (lambda: Iterated, WSGI),
        (lambda: wrapped, None),
        (lambda: Flask("shop"), WSGI),
        (FastAPI, ASGI),
        (Starlette, ASGI),
        (lambda: django_application(WSGI), WSGI),
        (lambda: django_application(ASGI), ASGI),
    ],
)
def test_an_applications_kind_is_told_from_how_it_is_called(make: Callable[[], Any], spoken: str | None) -> None:
    assert protocol.spoken_by(make()) == spoken


def test_the_other_kinds_worker_class_is_named() -> None:
    assert protocol.complaint(wsgi, LeanWorker) is None
    assert protocol.complaint(asgi, ASGIWorker) is None
    assert "GUNICORN_WORKER_CLASS=asgi" in str(protocol.complaint(asgi, LeanWorker))
    assert "GUNICORN_WORKER_CLASS=lean" in str(protocol.complaint(wsgi, ASGIWorker))
    assert "module:factory()" in str(protocol.complaint(factory, ThreadWorker))


def test_a_worker_class_that_derives_from_nothing_known_is_believed() -> None:
    assert protocol.complaint(asgi, type("Own", (), {})) is None
