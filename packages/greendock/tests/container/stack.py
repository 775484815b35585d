"""A copy of the template with an application of its own, as somebody who uses the template has it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.container.support import LONG, Stack, docker
from tests.support import ROOT

LOAD_APP = Path(__file__).parent / "apps" / "load"
LOAD_ASGI = Path(__file__).parent / "apps" / "load_asgi"
ASGI_SETTINGS = {"GUNICORN_WORKER_CLASS": "asgi"}


class Site(Stack):
    """The copy and its ``.env``; ``greendock rollout`` runs in it."""

    def __init__(self, folder: Path, settings: Mapping[str, str] | None = None, app: Path = LOAD_APP) -> None:
        super().__init__(folder)
        # What the containers get is in .env, as a user has it.
        del self.environment["GREENDOCK_DRAIN_SECONDS"]
        shutil.rmtree(folder / "app")
        shutil.copytree(app, folder / "app")
        lines = {
            "NGINX_SERVER_NAMES": "any",
            "NGINX_SHUTDOWN_TIMEOUT": "10s",
            "WEB_CONCURRENCY": "1",
            "GREENDOCK_ROLLOUT_WATCH": "2",
            **(settings or {}),
        }
        (folder / ".env").write_text("".join(f"{name}={value}\n" for name, value in lines.items()))

    def start(self, replicas: int = 1) -> None:
        """Build, start and wait until healthy."""
        self.up("--scale", f"app={replicas}")

    def set_version(self, version: str) -> None:
        """Change the application so that the next build is another version."""
        lines = (self.folder / "app/main.py").read_text().splitlines()
        current = next(line for line in lines if line.startswith("VERSION = "))
        self.edit("app/main.py", lambda text: text.replace(current, f'VERSION = "{version}"'))

    def edit(self, name: str, change: Callable[[str], str]) -> None:
        """Rewrite one file of the copy."""
        file = self.folder / name
        file.write_text(change(file.read_text()))

    def version(self) -> str:
        """Return the version that answers."""
        return self.get("/").raise_for_status().text.split()[0]

    def start_rollout(self, *arguments: str) -> subprocess.Popen[str]:
        """Start ``greendock rollout`` in a process group of its own."""
        return subprocess.Popen(
            [sys.executable, "-m", "greendock", "rollout", *arguments],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def rollout(self, *arguments: str, expect: int = 0) -> str:
        """Run ``greendock rollout``; return everything it printed."""
        process = self.start_rollout(*arguments)
        try:
            output, _ = process.communicate(timeout=LONG)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
        assert process.returncode == expect, output
        return output

    def down(self) -> None:
        """Remove everything the project made."""
        super().down()
        docker("image", "rm", f"greendock-app:{self.name}-previous", check=False)


def use_asgi(stack: Stack) -> None:
    """Take the extra ``asgi`` among the dependencies, as docs/asgi.md says."""
    project = stack.folder / "pyproject.toml"
    project.write_text(project.read_text().replace("greendock[json-logs", "greendock[asgi,json-logs"))
    locked = stack.run(str(ROOT / "scripts" / "uv"), "lock")
    assert locked.returncode == 0, locked.stderr


@contextmanager
def started(
    folder: Path, replicas: int = 1, settings: Mapping[str, str] | None = None, asgi: bool = False
) -> Iterator[Site]:
    """Run a site that is healthy when the block begins and gone when it has ended."""
    running = Site(folder, ASGI_SETTINGS | dict(settings or {}), LOAD_ASGI) if asgi else Site(folder, settings)
    try:
        if asgi:
            use_asgi(running)
        running.start(replicas)
        yield running
    finally:
        running.down()
