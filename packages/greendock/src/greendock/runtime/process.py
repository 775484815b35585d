"""What a container runs, written down by its entrypoint for ``greendock.runtime.healthcheck`` to read.

Until a server has written its readiness file, only this tells a server that starts from a migration or a background
worker, which is no server and must be left alone.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from greendock.runtime import healthcheck


def announce(command: Sequence[str], *, server: bool = False) -> None:
    """Say that this process is about to become ``command``: a server when that is Gunicorn, or when ``server``.

    One that was announced before and lives is left alone: this is then a second command in the same container. Where
    nothing can be written, nothing is said.
    """
    path = os.environ.get("GREENDOCK_READINESS_FILE") or healthcheck.DEFAULT_FILE
    if healthcheck.started(path) is not None:
        return
    pid = os.getpid()
    facts = {
        "kind": healthcheck.SERVER if server or is_gunicorn(command) else healthcheck.OTHER,
        "pid": pid,
        "started": healthcheck.start_time(pid),
        "command": "".join(letter if letter.isprintable() else "?" for letter in Path(command[0]).name),
    }
    with suppress(OSError):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path + ".process").write_text("".join(f"{name}={value}\n" for name, value in facts.items()))


def is_gunicorn(command: Sequence[str]) -> bool:
    """Say whether a command is ``gunicorn``, or ``python -m gunicorn``."""
    names = [Path(word).name for word in command[:3]]
    return names[0] == "gunicorn" or (names[0].startswith("python") and names[1:] == ["-m", "gunicorn"])
