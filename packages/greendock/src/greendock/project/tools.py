"""Programs that the commands about images call: Docker, uv, and those of the extra ``audit`` beside this Python."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


class ToolError(Exception):
    """A program is missing or has failed; the text is one sentence with its last words."""


def run(*command: str | Path, accepted: tuple[int, ...] = (0,)) -> str:
    """Return a program's output. Raises ToolError unless its exit code is one of ``accepted``."""
    words = [str(word) for word in command]
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    environment = {**os.environ, "PATH": path}
    try:
        done = subprocess.run(words, capture_output=True, env=environment, text=True, check=False)
    except FileNotFoundError:
        raise ToolError(f"{words[0]} is not installed: `make sbom` and `make audit` bring it") from None
    if done.returncode not in accepted:
        said = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise ToolError(f"{' '.join(words[:2])}: {said[-1]}")
    return done.stdout


def uv(folder: Path) -> str:
    """Return the project's own ``scripts/uv``, which installs uv where there is none; else the one on PATH."""
    own = folder / "scripts" / "uv"
    return str(own) if own.exists() else "uv"
