"""Real stacks for container tests: a checkout, a project name and a port for each test."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

from greendock.testing import stack as testing
from greendock.testing.stack import engine_problem as engine_problem
from tests.support import ROOT

LONG = 300.0


def docker(*arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run ``docker``; its output goes into the error when it fails."""
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, timeout=LONG, check=False)
    assert not check or done.returncode == 0, f"docker {' '.join(arguments)}: {done.stdout}{done.stderr}"
    return done


def inspect(container: str) -> dict[str, Any]:
    """Return what the engine knows of a container."""
    return dict(json.loads(docker("inspect", container).stdout)[0])


def logs(container: str) -> str:
    """Return a container's standard output and error."""
    done = docker("logs", container)
    return done.stdout + done.stderr


def readme_commands() -> tuple[str, str, str]:
    """Return the README's blocks of commands: on a machine that has nothing, with Docker, to ask a running stack."""
    bare, start, _make, ask = re.findall(r"```sh\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    return bare, start, ask


class Stack(testing.Stack):
    """A copy of the template as a project has it, started as one."""

    def __init__(self, folder: Path, **environment: str) -> None:
        super().__init__(folder, GREENDOCK_DRAIN_SECONDS="0", **environment)
        listed = ("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
        tracked = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True)
        for name in filter(None, tracked.stdout.split("\0")):
            source = ROOT / name
            if source.is_file() and not name.startswith(("packages/greendock/tests/", "tests/", "docs/", "bench/")):
                target = folder / name
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(source, target)

    def shell(self, commands: str) -> str:
        """Run commands as the README gives them, on this stack's port; return their output."""
        done = self.run("bash", "-c", "set -e\n" + commands.replace("localhost:8080", f"127.0.0.1:{self.port}"))
        assert done.returncode == 0, f"{commands}: {done.stdout}{done.stderr}\n{self.logs()}"
        return done.stdout


REQUIRED = os.environ.get("GREENDOCK_REQUIRE_ENGINE") == "1" or os.environ.get("CI") == "true"
