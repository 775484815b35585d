"""A small Flask application: a landing page for a person, the same as JSON, a liveness route."""

from __future__ import annotations

import hashlib
import os
import platform
import socket
import time
from functools import cache
from pathlib import Path
from typing import Any

from flask import Flask, Response, jsonify, render_template, request, url_for

from greendock.runtime import healthcheck

READINESS_FILE = os.environ.get("GREENDOCK_READINESS_FILE") or healthcheck.DEFAULT_FILE

app = Flask(__name__)


def ready_for() -> float | None:
    """Return the seconds since this server became ready, or ``None`` when there is no readiness file."""
    state = healthcheck.load(READINESS_FILE)
    return max(0.0, time.time() - float(state["since"])) if state else None


def status() -> dict[str, Any]:
    """Return who answered this request."""
    return {
        "service": "greendock sample",
        "container": socket.gethostname(),
        "worker": os.getpid(),
        "request_id": request.headers.get("X-Request-ID"),
        "ready_for_seconds": ready_for(),
        "python": platform.python_version(),
        "scheme": request.scheme,
        "client": request.headers.get("X-Forwarded-For", request.remote_addr),
    }


@cache
def fingerprint(filename: str) -> str:
    """Return a short hash of a static file: in its URL, it lets Nginx tell clients to keep the file for ever."""
    return hashlib.sha256(Path(app.static_folder or "", filename).read_bytes()).hexdigest()[:16]


@app.template_global()
def static_url(filename: str) -> str:
    """Return the URL of a static file, fingerprint included."""
    return url_for("static", filename=filename, v=fingerprint(filename))


@app.get("/")
def landing() -> Response | str:
    """Show the landing page; JSON for a client that prefers it."""
    if request.accept_mimetypes.best_match(["text/html", "application/json"]) == "application/json":
        return jsonify(status())
    return render_template("landing.html", **status())


@app.get("/status.json")
def status_json() -> Response:
    """Return the landing page's facts as JSON."""
    return jsonify(status())


@app.get("/livez")
def livez() -> tuple[str, int, dict[str, str]]:
    """Answer as long as a worker answers at all. Look into no database here: this is liveness, not readiness."""
    return "ok\n", 200, {"Content-Type": "text/plain"}
