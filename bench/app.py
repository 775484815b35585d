"""The application every peer serves: ``wsgi`` (Flask) and ``asgi`` (Starlette) give the same answers.

``/hello`` goes round the framework, so that it shows the server alone.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from functools import cache
from pathlib import Path
from typing import Any

from flask import Flask, Response, jsonify, request, send_from_directory

HELLO = b"Hello, world!\n"
ITEM = {"id": 7, "name": "A thing of the usual size", "price": 12.5, "tags": ["red", "round"], "in_stock": True}
PAGE = {"items": [ITEM | {"id": number} for number in range(950)]}
LARGE = json.dumps(PAGE).encode()
BULK = bytes(1024 * 1024)
WAIT_SECONDS = 0.05
STATIC = Path(os.environ.get("BENCH_STATIC", "static"))

flask = Flask(__name__, static_folder=None)


@flask.get("/json")
def _json() -> Response:
    return jsonify(ITEM)


@flask.get("/wait")
def _wait() -> Response:
    time.sleep(WAIT_SECONDS)
    return jsonify(ITEM)


@flask.get("/large")
def _large() -> Response:
    return Response(json.dumps(PAGE), mimetype="application/json")


@flask.get("/bulk")
def _bulk() -> Response:
    return Response(BULK, mimetype="application/octet-stream")


@flask.get("/static/<path:name>")
def _static(name: str) -> Response:
    return send_from_directory(STATIC.resolve(), name)


@flask.post("/upload")
def _upload() -> Response:
    size = 0
    while chunk := request.stream.read(65536):
        size += len(chunk)
    return jsonify(size=size)


def wsgi(environ: Any, start_response: Any) -> Any:
    """Serve one WSGI request."""
    if environ["PATH_INFO"] == "/hello":
        start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(HELLO)))])
        return [HELLO]
    return flask.wsgi_app(environ, start_response)


@cache
def _starlette() -> Any:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import JSONResponse
    from starlette.responses import Response as Answer
    from starlette.routing import Mount, Route
    from starlette.staticfiles import StaticFiles

    async def item(_: Request) -> Answer:
        return JSONResponse(ITEM)

    async def wait(_: Request) -> Answer:
        await asyncio.sleep(WAIT_SECONDS)
        return JSONResponse(ITEM)

    async def large(_: Request) -> Answer:
        return Answer(json.dumps(PAGE), media_type="application/json")

    async def bulk(_: Request) -> Answer:
        return Answer(BULK, media_type="application/octet-stream")

    async def upload(request: Request) -> Answer:
        size = 0
        async for chunk in request.stream():
            size += len(chunk)
        return JSONResponse({"size": size})

    return Starlette(
        routes=[
            Route("/json", item),
            Route("/wait", wait),
            Route("/large", large),
            Route("/bulk", bulk),
            Route("/upload", upload, methods=["POST"]),
            Mount("/static", StaticFiles(directory=STATIC, check_dir=False)),
        ]
    )


async def asgi(scope: Any, receive: Any, send: Any) -> None:
    """Serve one ASGI connection."""
    if scope["type"] == "http" and scope["path"] == "/hello":
        headers = [(b"content-type", b"text/plain"), (b"content-length", b"%d" % len(HELLO))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": HELLO})
        return
    await _starlette()(scope, receive, send)
