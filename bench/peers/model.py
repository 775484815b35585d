"""What a peer is: the programs it consists of, and where its configuration comes from."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
BIN = Path(sys.executable).parent
CPUS = len(os.sched_getaffinity(0))
WSGI, ASGI = "bench.app:wsgi", "bench.asgi:asgi"

OURS, PROXIED, BARE, LIMIT = "this stack", "behind a proxy", "without a proxy", "limit"


@dataclass(frozen=True)
class Place:
    """A folder of its own for one peer, and what all peers share. ``access_log``: where images send it, not a file."""

    folder: Path
    static: Path
    nginx: str
    ports: dict[str, int] = field(default_factory=dict)
    access_log: str = ""

    def port(self, name: str = "http") -> int:
        """Return a free port; the same one for the same name."""
        if name not in self.ports:
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                self.ports[name] = probe.getsockname()[1]
        return self.ports[name]

    def write(self, name: str, text: str, **values: object) -> Path:
        """Write a configuration file; ``@NAME@`` in it is replaced."""
        own = {"FOLDER": self.folder, "STATIC": self.static, "HTTP": self.port(), "USER": _user(), "TEMP": self._temp()}
        own |= {"ACCESS_LOG": self.access_log or self.folder / "access.log"}
        values = own | values
        for key, value in values.items():
            text = text.replace(f"@{key}@", str(value))
        path = self.folder / name
        path.write_text(text)
        return path

    def _temp(self) -> str:
        """Nginx insists on all five folders, and an Nginx of one's own may have them where nobody can write."""
        names = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        return " ".join(f"{name}_temp_path {self.folder / name};" for name in names)

    def run_nginx(self, text: str, **values: object) -> Program:
        """Return Nginx with this configuration."""
        path = self.write("nginx.conf", text, **values)
        return Program((self.nginx, "-c", str(path), "-e", str(self.folder / "nginx-error.log"), "-g", "daemon off;"))


@dataclass(frozen=True)
class Program:
    """A command that stays in the foreground, and what it gets beside a clean environment."""

    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Peer:
    """Somebody's usual way to serve a Python application.

    ``source`` names whose configuration this is; ``configuration`` says it in a line. ``workloads`` are the names of
    those that make sense for it; none: all. ``port`` is asked, out of those of ``place_of`` (or of its own place).
    ``environment`` is what this stack's containers get. ``needs`` names the programs that no Python package brings.
    """

    name: str
    title: str
    kind: str
    source: str
    configuration: str
    programs: Callable[[Place], list[Program]]
    workloads: frozenset[str] = frozenset()
    port: str = "http"
    place_of: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    needs: tuple[str, ...] = ()

    def runs(self, workload: str) -> bool:
        """Say whether this workload makes sense here."""
        return not self.workloads or workload in self.workloads


def python(*arguments: str) -> tuple[str, ...]:
    """Return a command of this Python."""
    return (sys.executable, *arguments)


def installed(program: str) -> str:
    """Return the path of a program that a Python package brought."""
    return str(BIN / program)


def _user() -> str:
    return "user root;" if os.geteuid() == 0 else ""
