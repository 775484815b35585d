"""Peers as processes of this machine, on the Python that runs the benchmark."""

from __future__ import annotations

import functools
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from bench import ask
from bench.peers.model import BIN, ROOT, Peer, Place
from bench.running import DEADLINE, Running, Setup, every_pid, stat


class Processes(Running):
    """A peer's programs, each in a session of its own: a process belongs to the peer by its session."""

    def __init__(self, peer: Peer, place: Place, shared: Processes | None = None) -> None:
        super().__init__(peer, place.port(peer.port), place.folder)
        self.place = place
        self._shared = shared
        self._programs: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        """Start every program without waiting."""
        for number, program in enumerate(self.peer.programs(self.place)):
            with (self.folder / f"log-{number}").open("ab") as log:
                self._programs.append(
                    subprocess.Popen(
                        program.command,
                        cwd=self.folder,
                        env=environment(self.place) | dict(program.environment),
                        stdin=subprocess.DEVNULL,
                        stdout=log,
                        stderr=log,
                        start_new_session=True,
                    )
                )

    def client(self, *command: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            command, cwd=ROOT, env=environment(self.place), stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def get(self, path: str, body: bytes | None = None) -> tuple[int, bytes]:
        return ask.get(self.port, path, body)

    def pids(self) -> list[int]:
        sessions = {str(process.pid) for process in (self._shared or self)._programs}
        return [pid for pid in every_pid() if sessions.intersection(stat(pid)[3:4])]

    def alive(self) -> bool:
        return all(process.poll() is None for process in self._programs)

    def logs(self) -> str:
        return "\n".join(path.read_text(errors="replace")[-1500:] for path in sorted(self.folder.glob("*log*")))

    def end(self) -> None:
        """End every process of this peer."""
        for process in self._programs:
            process.terminate()
        end = time.monotonic() + 3
        for process in self._programs:
            with suppress(subprocess.TimeoutExpired):
                process.wait(max(0.1, end - time.monotonic()))
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(DEADLINE)
        for pid in self.pids() if self._shared is None else []:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def setup(peers: Iterable[Peer]) -> Setup:
    """Return how these peers are run as processes, once their programs are here.

    Installs what is missing, as root on Debian. Raises ``SystemExit`` where that is not possible.
    """
    wanted = {"wrk", *(name for peer in peers for name in peer.needs)}
    missing = sorted(name for name in wanted if shutil.which(name) is None)
    if missing and subprocess.run([ROOT / "scripts" / "test-deps", *missing], check=False).returncode:
        raise SystemExit(f"bench: needs {', '.join(missing)}; as root on Debian: scripts/test-deps {' '.join(missing)}")
    return Setup(make, (sys.executable,), local_nginx())


def make(peer: Peer, shared: Running | None, folder: Path, static: Path) -> Processes:
    """Return a peer that is ready to start: a `bench.running.Maker`."""
    if isinstance(shared, Processes):
        return Processes(peer, shared.place, shared)
    return Processes(peer, Place(folder, static, local_nginx()))


@functools.cache
def local_nginx() -> str:
    """Return the path of an Nginx that is new enough."""
    found = subprocess.run([ROOT / "scripts" / "local-nginx"], capture_output=True, text=True, check=True)
    return found.stdout.strip()


def environment(place: Place) -> dict[str, str]:
    """Return an environment that configures nothing: any GUNICORN_ or NGINX_ variable of the caller is left out."""
    kept = {name: os.environ[name] for name in ("LANG", "LC_ALL", "TZ") if name in os.environ}
    return kept | {
        "PATH": f"{BIN}:{os.environ.get('PATH', '')}",
        "PYTHONPATH": str(ROOT),
        "PYTHONUNBUFFERED": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "HOME": str(place.folder),
        "BENCH_STATIC": str(place.static),
    }
