"""Inside a peer's container: `python -m bench.inside PEER` becomes a shell that starts its programs.

No Python of the benchmark's own stays, so that all memory in the container is the peer's. The container ends with the
first of the programs.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.peers import every
from bench.peers.model import Place, Program
from bench.processes import environment

PORT = 8080
FOLDER, STATIC = Path("/srv/peer"), Path("/srv/static")


def main(name: str) -> None:
    """Start the peer of this name on ``PORT``."""
    peer = next(peer for peer in every() if peer.name == name)
    place = Place(FOLDER, STATIC, "nginx", {"http": PORT}, access_log="/dev/stdout")
    programs = peer.programs(place)
    os.chdir(FOLDER)
    os.execvp("bash", ("bash", "-c", script(programs, environment(place))))  # noqa: S606


def script(programs: Sequence[Program], common: Mapping[str, str]) -> str:
    """Return what starts all programs and waits for the first to end, in Bash."""
    lines = []
    for program in programs:
        variables = [f"{name}={value}" for name, value in {**common, **program.environment}.items()]
        lines.append(shlex.join(["env", "--ignore-environment", *variables, *program.command]) + " &")
    return "\n".join([*lines, "wait -n"])


if __name__ == "__main__":
    main(sys.argv[1])
