"""Keeps the exporter running as a child process of the master.

Gunicorn reaps every child and tells nobody about those that are no workers. What it looks up by name when a child has
ended, ``handle_chld``, is the only place to notice; a test holds the installed Gunicorn to that.
"""

from __future__ import annotations

import functools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from greendock.runtime import healthcheck

# Which of the two names a signal's handler has depends on the order of names in the signal module.
SEAMS = ("handle_chld", "handle_cld")
_SHORT_LIFE_SECONDS = 5
_PAUSE_SECONDS = 1


class Supervisor:
    """One child process, started again when it ends."""

    def __init__(self, arguments: Sequence[str]) -> None:
        self._arguments = list(arguments)
        self._pid = 0
        self._started = 0
        self._since = 0.0

    def watch(self, server: Any) -> None:
        """Start the process, and look after it from now on."""
        for name in SEAMS:
            setattr(server, name, functools.partial(self._child_ended, server, name))
        self._spawn(server)

    def _child_ended(self, server: Any, name: str) -> None:
        getattr(type(server), name)(server)
        if self._pid and not healthcheck.alive(self._pid, self._started):
            server.log.warning("Metrics: the exporter (pid:%s) has ended; starting it again", self._pid)
            short = time.monotonic() - self._since < _SHORT_LIFE_SECONDS
            self._spawn(server, pause=_PAUSE_SECONDS if short else 0)

    def _spawn(self, server: Any, pause: int = 0) -> None:
        # -P: a module of the application must not stand in for one of the standard library.
        command = [sys.executable, "-P", "-m", "greendock.contrib.metrics.exporter", *self._arguments, str(pause)]
        try:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        except OSError as error:  # tried again when the next child ends; an exception here would end the master
            server.log.error("Metrics: the exporter cannot be started: %s", error)
            return
        self._pid, self._since = process.pid, time.monotonic()
        self._started = healthcheck.start_time(process.pid)
        process.returncode = 0  # Gunicorn reaps it

    def stop(self) -> None:
        """End the process."""
        pid, self._pid = self._pid, 0
        if pid and healthcheck.alive(pid, self._started):
            os.kill(pid, signal.SIGTERM)
            with suppress(ChildProcessError):
                os.waitpid(pid, 0)
