"""A Flask application that counts its visitors in Redis."""

from __future__ import annotations

import pool
from flask import Flask

app = Flask(__name__)


@app.get("/")
def visit() -> dict[str, object]:
    """Count one visitor."""
    return {"visitors": pool.client().incr("visitors")}


@app.get("/livez")
def livez() -> str:
    """Answer without asking Redis: this is liveness."""
    return "ok\n"
