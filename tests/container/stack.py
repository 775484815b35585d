"""A copy of the template with an application of its own, run as a Compose project of its own."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.support import DEADLINE, ROOT, free_port

LOAD_APP = Path(__file__).parent / "apps" / "load"
_BUILD_SECONDS = 300


class Stack:
    """The copy, its project and what can be done with it."""

    def __init__(
        self, folder: Path, project: str, settings: Mapping[str, str] | None = None, app: Path = LOAD_APP
    ) -> None:
        self.folder = folder
        self.project = project
        self.port = free_port()
        for name in _tracked():
            if not name.startswith(("tests/", "app/", "docs/")):
                target = folder / name
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, target)
        shutil.copytree(app, folder / "app")
        lines = {
            "COMPOSE_PROJECT_NAME": project,
            "GREENDOCK_IMAGE": project,
            "NGINX_PUBLISHED_PORT": f"127.0.0.1:{self.port}",
            "NGINX_SERVER_NAMES": "any",
            "NGINX_SHUTDOWN_TIMEOUT": "10s",
            "WEB_CONCURRENCY": "1",
            **(settings or {}),
        }
        (folder / ".env").write_text("".join(f"{name}={value}\n" for name, value in lines.items()))
        # Nginx's image has the project's name as well: parallel tests must not share a tag.
        compose = folder / "docker-compose.yml"
        compose.write_text(compose.read_text().replace("image: greendock-nginx:", f"image: {project}-nginx:"))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def get(self, path: str) -> str:
        """Ask the proxy; return the body of a good answer."""
        with urllib.request.urlopen(f"{self.url}{path}", timeout=DEADLINE) as response:  # noqa: S310
            body: bytes = response.read()
        return body.decode()

    def docker(self, *arguments: str, check: bool = True) -> str:
        """Run ``docker`` in the copy; return what it printed."""
        done = subprocess.run(
            ["docker", *arguments],
            cwd=self.folder,
            env=_environment(),
            capture_output=True,
            text=True,
            timeout=_BUILD_SECONDS,
            check=False,
        )
        assert not check or done.returncode == 0, f"docker {' '.join(arguments)}\n{done.stdout}{done.stderr}"
        return done.stdout

    def up(self, replicas: int = 1) -> None:
        """Build, start and wait until healthy."""
        self.docker("compose", "up", "--build", "--wait", "--detach", "--scale", f"app={replicas}")

    def set_version(self, version: str) -> None:
        """Change the application so that the next build is another version."""
        self.edit("app/main.py", lambda text: text.replace(self.version, f'VERSION = "{version}"'))

    @property
    def version(self) -> str:
        """The line that says which version the source is."""
        lines = (self.folder / "app/main.py").read_text().splitlines()
        return next(line for line in lines if line.startswith("VERSION = "))

    def edit(self, name: str, change: Callable[[str], str]) -> None:
        """Rewrite one file of the copy."""
        file = self.folder / name
        file.write_text(change(file.read_text()))

    def start_rollout(self, *arguments: str) -> subprocess.Popen[str]:
        """Start ``deploy/rollout`` in a process group of its own."""
        return subprocess.Popen(
            ["deploy/rollout", *arguments],
            cwd=self.folder,
            env=_environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def rollout(self, *arguments: str, expect: int = 0) -> str:
        """Run ``deploy/rollout``; return everything it printed."""
        process = self.start_rollout(*arguments)
        try:
            output, _ = process.communicate(timeout=_BUILD_SECONDS)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
        assert process.returncode == expect, output
        return output

    def containers(self, service: str = "app") -> list[str]:
        """Return the names of the service's containers, stopped ones included."""
        return sorted(self.docker("compose", "ps", "--all", "--format", "{{.Name}}", service).split())

    def down(self) -> None:
        """Remove everything the project made."""
        self.docker("compose", "down", "--volumes", "--remove-orphans", "--timeout", "1", check=False)
        for image in (f"{self.project}:latest", f"{self.project}:latest-previous", f"{self.project}-nginx:latest"):
            self.docker("image", "rm", "--force", image, check=False)


@contextmanager
def stack(
    folder: Path, project: str, replicas: int = 1, settings: Mapping[str, str] | None = None, app: Path = LOAD_APP
) -> Iterator[Stack]:
    """Run a stack that is healthy when the block begins and gone when it has ended."""
    running = Stack(folder, project, settings, app)
    try:
        running.up(replicas)
        yield running
    finally:
        running.down()


def _tracked() -> list[str]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return [name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


def _environment() -> dict[str, str]:
    """Return the environment without what would reach Compose in place of the copy's .env."""
    ours = ("COMPOSE_", "GREENDOCK_", "GUNICORN_", "NGINX_")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)}
