"""The application every peer serves, on Flask. `bench/asgi.py` gives the same answers on Starlette.

``/hello`` goes round the framework, so that it shows the server alone.
"""

from __future__ import annotations

import json
import os
import time
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
