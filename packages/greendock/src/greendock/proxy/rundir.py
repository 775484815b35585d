"""The run directory, a tmpfs: the rendered configuration, and where a rollout points Nginx."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from greendock.proxy.types import SHARED_UPSTREAM


@dataclass(frozen=True)
class RunDir:
    """Paths below the run directory, and what is read from and written to them."""

    path: Path

    @property
    def configuration(self) -> Path:
        return self.path / "nginx.conf"

    def keep_others_out(self) -> None:
        """Close the directory to other accounts where it is this one's own, whatever mode the engine gave it.

        Root leaves it open: its Nginx workers, of another account, look for the maintenance flag here.
        """
        if self.path.stat().st_uid == os.geteuid() != 0:
            self.path.chmod(0o700)

    def pid(self) -> int | None:
        """Return the process id of the running Nginx master, or ``None``."""
        try:
            pid = int((self.path / "nginx.pid").read_text())
            os.kill(pid, 0)
        except (OSError, ValueError):
            return None
        return pid

    def upstream(self) -> list[str] | None:
        """Return what the ``upstream`` command has set, or ``None`` where ``NGINX_UPSTREAM`` counts.

        Addresses, some of them with the share of the requests that they get together: ``10.0.0.4:8000=10``.
        Raises ``ValueError`` for a file that holds anything else.
        """
        try:
            text = (self.path / "upstream").read_text()
        except FileNotFoundError:
            return None
        addresses: list[str] = SHARED_UPSTREAM.parse(text)
        return addresses

    def set_upstream(self, addresses: list[str] | None) -> None:
        """Keep ``addresses`` for later reloads; ``None`` returns to ``NGINX_UPSTREAM``."""
        if addresses is None:
            (self.path / "upstream").unlink(missing_ok=True)
        else:
            self.write("upstream", "\n".join(addresses) + "\n")

    def write(self, name: str, text: str) -> Path:
        """Write ``name`` so that a reader sees the old text or the new one."""
        new = self.path / f"{name}.new"
        new.write_text(text, encoding="utf-8")
        return new.replace(self.path / name)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Let one command at a time change what Nginx runs with."""
        with (self.path / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
