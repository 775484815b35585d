"""Gunicorn inside your own Python program, configured by the same builder as ``gunicorn.conf.py``.

https://docs.gunicorn.org/en/stable/custom.html
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from gunicorn import util
from gunicorn.app.base import BaseApplication

from greendock.env.problems import ConfigurationError
from greendock.server.build import build


class GreendockApplication(BaseApplication):  # type: ignore[misc]
    """Serve ``app`` with Greendock's settings, and ``options`` above them.

    ``app`` is a WSGI or ASGI callable, or ``module:callable`` to be imported in each worker (needed for a reload to
    take new code); default: ``APP_MODULE``. ``options`` are Gunicorn settings by name; an unknown name, or a value
    Gunicorn refuses, ends the program with one error. A hook given here runs after the environment's. The
    configuration is read again at SIGHUP.
    """

    def __init__(
        self,
        app: Callable[..., Any] | str | None = None,
        options: Mapping[str, Any] | None = None,
        dotenv: Path | None = None,
    ) -> None:
        self._app = app
        self._options = dict(options or {})
        self._dotenv = dotenv
        super().__init__()

    def load_config(self) -> None:
        """Build the configuration; called by Gunicorn at start and at SIGHUP."""
        try:
            settings = build(dotenv=self._dotenv, overrides=self._options).gunicorn()
        except ConfigurationError as error:
            print(error, file=sys.stderr, flush=True)
            sys.exit(2)
        for name, value in settings.items():
            self.cfg.set(name, value)

    def load(self) -> Any:
        """Return the application; called by Gunicorn in each worker."""
        if callable(self._app):
            return self._app
        return util.import_app(self._app or self.cfg.wsgi_app)
