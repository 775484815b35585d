"""``greendock release``: runs GREENDOCK_RELEASE_COMMAND, once for each new version, before that serves.

Exit codes: the command's own; 0 when there is none; 2 for a configuration that is refused; 124 at the time limit;
128 + the signal's number when one ended it.
"""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from greendock.server import preimport

_COMMAND = "GREENDOCK_RELEASE_COMMAND"
_TIMED_OUT = 124
# What the command gets between SIGTERM and SIGKILL.
_GRACE_SECONDS = 10
_POLL = 0.2


def main(lock: Path | None, dotenv: Path) -> int:
    """Run the release command, never beside another that holds ``lock``; return the exit code."""
    if not any(os.environ.get(name, "").strip() for name in (_COMMAND, f"{_COMMAND}_FILE")) and not dotenv.is_file():
        return _nothing()
    process = preimport.hide(os.environ)
    # It takes half a second to import, which a project without a release command need not wait for.
    from greendock.server.build import build_or_exit  # noqa: PLC0415

    options = build_or_exit(dotenv, process).options
    if not options[_COMMAND]:
        return _nothing()
    deadline = time.monotonic() + (options["GREENDOCK_RELEASE_TIMEOUT"] or float("inf"))
    try:
        with _held(lock, deadline):
            # `build` has added what only .env and secrets supply.
            return _run(options[_COMMAND], process | os.environ, deadline)
    except TimeoutError as error:
        _say(str(error))
        return _TIMED_OUT


def _nothing() -> int:
    _say(f"no {_COMMAND}, nothing to do")
    return 0


@contextmanager
def _held(lock: Path | None, deadline: float) -> Iterator[None]:
    """Wait for the lock and hold it. The kernel drops it with this process, however that ends."""
    if lock is None:
        yield
        return
    with lock.open("a") as file:
        told = False
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise TimeoutError("another release command still runs; this one did not start") from None
                if not told:
                    _say("another release command runs; waiting for its end")
                told = True
                time.sleep(_POLL)
        yield


def _run(command: str, environment: Mapping[str, str], deadline: float) -> int:
    began = time.monotonic()
    _say("the release command begins")
    # A group of its own, so that a signal reaches what the shell has started as well.
    shell = subprocess.Popen(["/bin/sh", "-c", command], env=dict(environment), process_group=0)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: os.killpg(shell.pid, signal.SIGTERM))
    try:
        code = shell.wait(None if deadline == float("inf") else max(deadline - began, 0))
    except subprocess.TimeoutExpired:
        _end(shell)
        raise TimeoutError(f"the release command was ended after {time.monotonic() - began:.0f} s") from None
    code = code if code >= 0 else 128 - code
    outcome = "is done" if code == 0 else f"failed (exit code {code})"
    _say(f"the release command {outcome} after {time.monotonic() - began:.1f} s")
    return code


def _end(shell: subprocess.Popen[bytes]) -> None:
    os.killpg(shell.pid, signal.SIGTERM)
    try:
        shell.wait(_GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(shell.pid, signal.SIGKILL)
        shell.wait()


def _say(text: str) -> None:
    print(f"greendock: {text}", file=sys.stderr, flush=True)
