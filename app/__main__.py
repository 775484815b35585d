"""``python -m app``: the sample, served by an embedded Gunicorn."""

from pathlib import Path

from greendock.application import GreendockApplication

GreendockApplication("app.main:app", dotenv=Path(".env")).run()
