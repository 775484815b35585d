"""Real stacks for container tests: a checkout, a project name and a port for each test."""

from __future__ import annotations

import json
import os
import subprocess
import uuid
from pathlib import Path
from typing import Any

import httpx

from tests.support import ROOT, clean_environment, free_port, wait_for

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


class Stack:
    """A copy of this checkout, run by Compose under a name, a tag and a port of its own."""

    def __init__(self, folder: Path, **environment: str) -> None:
        self.name = f"gd{uuid.uuid4().hex[:10]}"
        self.folder = folder
        self.port = free_port()
        self.environment = clean_environment(
            **{"COMPOSE_PROJECT_NAME": self.name, "GREENDOCK_TAG": self.name}
            | {"NGINX_PUBLISHED_PORT": f"127.0.0.1:{self.port}", "GREENDOCK_DRAIN_SECONDS": "0"}
            | environment
        )
        tracked = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
        for name in filter(None, tracked.stdout.split("\0")):
            source = ROOT / name
            if source.is_file() and not name.startswith(("packages/greendock/tests/", "tests/", "docs/", "bench/")):
                target = folder / name
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(source.read_bytes())

    def _run(self, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=LONG,
            check=False,
            stdin=subprocess.DEVNULL,
        )

    def compose(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run ``docker compose`` on this stack."""
        done = self._run("docker", "compose", *arguments)
        assert not check or done.returncode == 0, f"compose {arguments}: {done.stdout}{done.stderr}\n{self.logs()}"
        return done

    def shell(self, commands: str) -> str:
        """Run commands as the README gives them, on this stack's port; return their output."""
        script = "set -e\n" + commands.replace("localhost:8080", f"127.0.0.1:{self.port}")
        done = self._run("bash", "-c", script)
        assert done.returncode == 0, f"{commands}: {done.stdout}{done.stderr}\n{self.logs()}"
        return done.stdout

    def up(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Do what the README says."""
        return self.compose("up", "--build", "--wait", *arguments, check=check)

    def containers(self, service: str) -> list[str]:
        """Return the ids of a service's containers, stopped ones included."""
        return self.compose("ps", "--all", "--quiet", service).stdout.split()

    def container(self, service: str) -> str:
        """Return the id of the one container of a service."""
        (only,) = self.containers(service)
        return only

    def logs(self) -> str:
        """Return everything that the containers have printed."""
        return self.compose("logs", "--no-color", check=False).stdout

    def url(self, path: str = "/") -> str:
        """Return the address of a path, through Nginx."""
        return f"http://127.0.0.1:{self.port}{path}"

    def get(self, path: str = "/", **headers: str) -> httpx.Response:
        """Ask through Nginx."""
        return httpx.get(self.url(path), headers=headers, timeout=30)

    def wait_health(self, service: str, health: str = "healthy") -> None:
        """Wait until the engine calls the service's one container so."""
        wait_for(
            lambda: inspect(self.container(service))["State"].get("Health", {}).get("Status") == health,
            f"{service} {health}",
            60,
        )

    def down(self) -> None:
        """Remove containers, network, volume and this stack's image tags."""
        self.compose("down", "--volumes", "--remove-orphans", "--timeout", "5", check=False)
        for image in ("greendock-app", "greendock-nginx"):
            docker("image", "rm", f"{image}:{self.name}", check=False)


def engine_problem() -> str | None:
    """Say why container tests cannot run, or ``None``."""
    try:
        done = subprocess.run(["docker", "info"], capture_output=True, text=True, timeout=30, check=False)
    except OSError as error:
        return f"no docker: {error}"
    return done.stderr.strip() or "docker info failed" if done.returncode else None


REQUIRED = os.environ.get("GREENDOCK_REQUIRE_ENGINE") == "1" or os.environ.get("CI") == "true"
