"""The smallest WSGI application: put yours in its place (APP_MODULE in the Dockerfile says where it is)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any


def app(_environ: dict[str, Any], start_response: Callable[..., object]) -> Iterable[bytes]:
    """Answer every request with a line of text."""
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"It works.\n"]
