"""The raw result of a run: one JSON file that holds everything a table or a plot is made from."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bench.load import Sample
from bench.peers.model import CPUS, ROOT, Peer
from bench.running import Setup

FOLDER = ROOT / "bench" / "results"
_PACKAGES = ("gunicorn", "flask", "granian", "pyuwsgi", "starlette", "uvicorn", "uvicorn-worker")


@dataclass(frozen=True)
class Results:
    """``about`` says when, where and how; ``peers`` are their titles and configurations by name; ``loops`` the
    application's own rates by workload."""

    about: dict[str, Any]
    peers: dict[str, dict[str, str]]
    samples: list[Sample]
    loops: dict[str, list[float]]

    def write(self, path: Path) -> None:
        """Write everything as JSON."""
        path.parent.mkdir(parents=True, exist_ok=True)
        head = {"about": self.about, "peers": self.peers, "loops": self.loops}
        lines = ",\n".join(json.dumps(asdict(sample)) for sample in self.samples)
        path.write_text(f'{json.dumps(head, indent=1)[:-2]},\n "samples": [\n{lines}\n]\n}}\n')


def read(path: Path) -> Results:
    """Return what ``Results.write`` has written."""
    loaded = json.loads(path.read_text())
    samples = [Sample(**sample) for sample in loaded["samples"]]
    return Results(loaded["about"], loaded["peers"], samples, loaded["loops"])


def newest(prefix: str = "run") -> Path | None:
    """Return the newest result of its kind: of those whose names go on with a date."""
    return max(FOLDER.glob(f"{prefix}-[0-9]*.json"), default=None)


def describe(peers: Sequence[Peer]) -> dict[str, dict[str, str]]:
    """Return what a reader needs to know of each peer."""
    return {
        peer.name: {
            "title": peer.title,
            "kind": peer.kind,
            "source": peer.source,
            "configuration": peer.configuration,
        }
        for peer in peers
    }


def machine(setup: Setup) -> dict[str, Any]:
    """Return what the figures depend on; nothing that names the machine."""
    versions = subprocess.run(
        [*setup.python, "-m", "bench.results", setup.nginx], cwd=ROOT, capture_output=True, check=True
    )
    return {
        "cpu": _line("/proc/cpuinfo", "model name"),
        "cpus": CPUS,
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "kernel": platform.release().partition("-")[0],
        "commit": _first(["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"]),
        **json.loads(versions.stdout),
    }


def _versions(nginx: str) -> dict[str, Any]:
    """Return the versions of what serves, where this runs."""
    return {
        "python": platform.python_version(),
        "nginx": _first([nginx, "-v"]).rpartition("/")[2],
        "caddy": _first(["caddy", "version"]),
        "packages": {name: version(name) for name in _PACKAGES},
    }


def _first(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return (done.stdout + done.stderr).strip().partition("\n")[0]


def _line(path: str, name: str) -> str:
    for line in Path(path).read_text().splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return platform.machine()


if __name__ == "__main__":
    print(json.dumps(_versions(sys.argv[1])))
