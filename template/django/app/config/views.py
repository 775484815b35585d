"""A landing page, the same as JSON, a liveness view."""

from __future__ import annotations

import hashlib
import os
import platform
import socket
from functools import cache
from pathlib import Path
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.templatetags.static import static


def status(request: HttpRequest) -> dict[str, Any]:
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
    file = Path(settings.STATIC_ROOT, name)
    return f"{static(name)}?v={hashlib.sha256(file.read_bytes()).hexdigest()[:16]}"


def landing(request: HttpRequest) -> HttpResponse:
    """Show the landing page."""
    return render(request, "landing.html", status(request) | {"style_url": static_url("style.css")})


def status_json(request: HttpRequest) -> JsonResponse:
    """Return the landing page's facts as JSON."""
    return JsonResponse(status(request))


def livez(_request: HttpRequest) -> HttpResponse:
    """Answer as long as a worker answers at all. Look into no database here: this is liveness, not readiness."""
    return HttpResponse("ok\n", content_type="text/plain")
