"""The readiness file: what the master and its workers write for ``greendock.healthcheck`` to read.

``when_ready`` fires before a single worker is forked, so the file alone only says "listening". Each worker that has
booted adds an empty file of its own beside it, which ``child_exit`` takes away; the healthcheck counts them.
"""

from __future__ import annotations

import os
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from greendock.runtime import healthcheck

_BLOCK = 4096


@dataclass(frozen=True)
class Readiness:
    """One server's readiness file. ``minimum`` workers make it ready; the rest is for the healthcheck."""

    path: Path
    minimum: int = 1
    health_path: str = ""
    health_host: str = "localhost"
    restart_after: int = 120
    stop_grace: int = 75

    @property
    def workers(self) -> Path:
        """The folder with one empty file for each booted worker."""
        return self.path.with_name(self.path.name + ".workers")

    @property
    def previous(self) -> Path:
        """The older master's file, kept while a USR2 upgrade is under way."""
        return self.path.with_name(self.path.name + ".previous")

    def claim(self, server: Any) -> None:
        """``on_starting``: take the file, or end with one sentence when that cannot be.

        A file left behind by a dead master is removed. One of a living master is respected: two servers need two
        files. The exception is the master that started this one by USR2; its file is kept aside.
        """
        try:
            self.workers.mkdir(parents=True, exist_ok=True)
            state = self._state()
            if state is not None and healthcheck.alive(int(state["pid"]), int(state["started"])):
                if int(state["pid"]) not in (os.getppid(), os.getpid()):
                    self._give_up(server, f"belongs to the running server {state['pid']}; give each server its own")
                self.path.replace(self.previous)
            else:
                self.path.unlink(missing_ok=True)
            self._probe_folder()
        except OSError as error:
            self._give_up(server, f"cannot be written: {error.strerror}")

    def _probe_folder(self) -> None:
        probe = self.path.with_name(f"{self.path.name}.{os.getpid()}")
        probe.touch()
        probe.unlink()

    def _give_up(self, server: Any, reason: str) -> None:
        server.log.error("GREENDOCK_READINESS_FILE=%s %s", self.path, reason)
        sys.exit(1)

    def announce(self, server: Any) -> None:
        """``when_ready``: the sockets are bound. Forget workers of masters that are gone, and write the file."""
        for entry in self.workers.iterdir():
            master = entry.name.partition(".")[0]
            if not master.isdigit() or int(master) == os.getpid() or not healthcheck.start_time(int(master)):
                entry.unlink(missing_ok=True)
        self._write(server, "serving", str(time.time()))

    def resize(self, server: Any, new_value: int, old_value: int | None) -> None:
        """``nworkers_changed``: keep the number of workers wanted (TTIN, TTOU, reload)."""
        state = self._own()
        if state is not None and old_value is not None:
            self._write(server, state["state"], state["since"], workers=new_value)

    def drain(self, server: Any) -> None:
        """Say that this server is stopping; it may go on serving for a while."""
        state = self._own()
        if state is not None:
            self._write(server, "draining", state["since"], workers=int(state["workers"]))

    def refresh(self, server: Any) -> None:
        """``on_reload``: write the file again, for options that the reload has changed."""
        state = self._own()
        if state is not None:
            self._write(server, state["state"], state["since"])

    def record(self, worker: Any) -> None:
        """``post_worker_init``, last: this worker has booted."""
        pid = os.getpid()
        (self.workers / f"{worker.ppid}.{pid}.{healthcheck.start_time(pid)}").touch()

    def forget(self, _server: Any, worker: Any) -> None:
        """``child_exit``: this worker is gone."""
        for entry in self.workers.glob(f"{os.getpid()}.{worker.pid}.*"):
            entry.unlink(missing_ok=True)

    def booted(self, master: int) -> list[int]:
        """Return the pids of the living workers of ``master`` that have booted."""
        return healthcheck.booted(str(self.path), master)

    def remove(self, _server: Any) -> None:
        """``on_exit``: remove what is ours. A newer master's file (USR2) is not."""
        if self._own() is not None:
            self.path.unlink(missing_ok=True)
            self.previous.unlink(missing_ok=True)
        for entry in self.workers.glob(f"{os.getpid()}.*"):
            entry.unlink(missing_ok=True)

    def _state(self) -> dict[str, str] | None:
        try:
            return healthcheck.parse(self.path.read_text())
        except (OSError, ValueError):
            return None

    def _own(self) -> dict[str, str] | None:
        state = self._state()
        return state if state is not None and int(state["pid"]) == os.getpid() else None

    def _write(self, server: Any, state: str, since: str, workers: int | None = None) -> None:
        content = {
            "pid": os.getpid(),
            "started": healthcheck.start_time(os.getpid()),
            "state": state,
            "workers": server.cfg.workers if workers is None else workers,
            "minimum": self.minimum,
            "since": since,
            "health_path": self.health_path,
            "health_host": self.health_host,
            "address": _address(server),
            "restart_after": self.restart_after,
            "stop_grace": self.stop_grace,
        }
        try:
            self._replace("".join(f"{name}={value}\n" for name, value in content.items()))
        except OSError as error:
            # Better no readiness than a wrong one.
            with suppress(OSError):
                self.path.unlink(missing_ok=True)
            server.log.error("Readiness file %s cannot be written: %s", self.path, error.strerror)

    def _replace(self, text: str) -> None:
        """Put ``text`` in place in one step; on a full disk, into the block the file already has."""
        temporary = self.path.with_name(f"{self.path.name}.{os.getpid()}")
        try:
            temporary.write_text(text)
            temporary.replace(self.path)
        except OSError:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            with self.path.open("r+") as file:
                file.write(text.ljust(_BLOCK))


def _address(server: Any) -> str:
    """Return where the healthcheck can reach Gunicorn from the same host: ``host:port`` or a socket's path."""
    for listener in server.LISTENERS:
        address = listener.getsockname()
        if isinstance(address, str):
            return address
        if len(address) == 2:
            host = "127.0.0.1" if address[0] == "0.0.0.0" else address[0]  # noqa: S104
            return f"{host}:{address[1]}"
    return ""
