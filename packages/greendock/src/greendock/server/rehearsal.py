"""Whether the application can be loaded, found out the way a worker would, in a process of its own.

``greendock check`` asks here. An application may take long to import, hang, or end its process, so a child does it: in
Gunicorn's folder, with Gunicorn's path and environment, under a time limit. What it prints goes to standard error.
"""

from __future__ import annotations

import faulthandler
import importlib
import json
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gunicorn import util

from greendock.server import protocol

# Beside the limit, for the child to start and to show where it hangs.
_SPARE_SECONDS = 5


@dataclass(frozen=True)
class Rehearsal:
    """What is wrong with the application, if anything, and how many seconds it took to find out."""

    complaint: str | None
    seconds: float


def rehearse(config: Any, environment: Mapping[str, str], limit: float) -> Rehearsal:
    """Load the application of a complete Gunicorn ``Config`` in a child with ``environment``.

    ``limit`` is in seconds.
    """
    worker_class = config.worker_class
    order = {
        "module": config.wsgi_app,
        "folder": config.chdir,
        "path": [str(Path(folder).absolute()) for folder in (config.pythonpath or "").split(",") if folder],
        "worker_class": [worker_class.__module__, worker_class.__qualname__],
        "limit": limit,
    }
    started = time.monotonic()
    with subprocess.Popen(
        [sys.executable, "-P", "-m", "greendock.server.rehearsal"],
        env={**environment, **config.env},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    ) as process:
        answer = b""
        with suppress(subprocess.TimeoutExpired):
            answer, _ = process.communicate(json.dumps(order).encode(), limit + _SPARE_SECONDS)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    seconds = time.monotonic() - started
    if answer:
        return Rehearsal(json.loads(answer), seconds)
    if seconds > limit:
        return Rehearsal(f"was not loaded within {limit:g} s", seconds)
    return Rehearsal(f"loading it ended the process (exit status {process.returncode})", seconds)


def main() -> None:
    """Do in the child what a worker does; write what is wrong, or ``null``, as JSON to standard output."""
    order = json.load(sys.stdin)
    answer = os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # the application's own prints
    faulthandler.dump_traceback_later(order["limit"], exit=True)
    os.chdir(order["folder"])
    for folder in (order["folder"], *order["path"]):
        if folder not in sys.path:
            sys.path.insert(0, folder)
    said = _load(order["module"], *order["worker_class"])
    os.write(answer, json.dumps(said).encode())
    sys.stdout.flush()
    os._exit(0)  # threads that the application has started must not hold this process up


def _load(module: str, worker_module: str, worker_name: str) -> str | None:
    try:
        application = util.import_app(module)
    except Exception as error:  # the application is other people's code
        reason = " ".join(str(error).split())
        return f"cannot be loaded: {type(error).__name__}: {reason}{_where(error)}"
    return protocol.complaint(application, getattr(importlib.import_module(worker_module), worker_name))


def _where(error: Exception) -> str:
    """Return the last line of the application that the error came through, if there is one."""
    own = (util.__file__, __file__, importlib.__file__)
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename not in own]
    lines = [f" ({frame.filename} line {frame.lineno})" for frame in frames if not frame.filename.startswith("<")]
    return lines[-1] if lines else ""


if __name__ == "__main__":
    main()
