"""Gunicorn's configuration file where the folder has none that uses Greendock: see ``own_file``."""

from pathlib import Path

from greendock.server.build import build_or_exit

globals().update(build_or_exit(dotenv=Path.cwd() / ".env").gunicorn())
