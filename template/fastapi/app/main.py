"""A small FastAPI application: a landing page, the same as JSON, a liveness route."""

from __future__ import annotations

import hashlib
import os
import platform
import socket
from functools import cache
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, PlainTextResponse
from fastapi.staticfiles import StaticFiles
from fastapi.templating import Jinja2Templates

HERE = Path(__file__).parent

app = FastAPI()
# Nginx answers for these files; this is for a server of your own, on your machine.
app.mount("/static", StaticFiles(directory=HERE / "static"), name="static")
templates = Jinja2Templates(HERE / "templates")


def status(request: Request) -> dict[str, str | int | None]:
    """Return who answered this request."""
    return {
        "container": socket.gethostname(),
        "worker": os.getpid(),
        "python": platform.python_version(),
        "request_id": request.headers.get("X-Request-ID"),
    }


@cache
def static_url(name: str) -> str:
    """Return the URL of a static file. With a short hash of the file in it, Nginx lets clients keep it for ever."""
    return f"/static/{name}?v={hashlib.sha256((HERE / 'static' / name).read_bytes()).hexdigest()[:16]}"


@app.get("/")
async def landing(request: Request) -> HTMLResponse:
    """Show the landing page."""
    return templates.TemplateResponse(request, "landing.html", status(request) | {"static_url": static_url})


@app.get("/status.json")
async def status_json(request: Request) -> dict[str, str | int | None]:
    """Return the landing page's facts as JSON."""
    return status(request)


@app.get("/livez", response_class=PlainTextResponse)
async def livez() -> str:
    """Answer as long as a worker answers at all. Look into no database here: this is liveness, not readiness."""
    return "ok\n"
