"""A request may fork. A child that comes back from it ends: it must not go on as a second server."""

from __future__ import annotations

import contextlib
import os
import sys
import traceback

_server = 0


def remember_server() -> None:
    """Called in the process that serves."""
    global _server  # noqa: PLW0603 - one process is the server
    _server = os.getpid()


def end_child(error: BaseException | None = None) -> None:
    """Return in the process that serves; in a child of it, exit as a program that raised ``error`` would."""
    if os.getpid() == _server or not _server:
        return
    status = 0
    if isinstance(error, SystemExit) and (error.code is None or isinstance(error.code, int)):
        status = error.code or 0
    elif error is not None:
        traceback.print_exception(error)
        status = 1
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
    os._exit(status & 0xFF)
