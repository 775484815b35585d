"""The stack of a project, run by Compose under a name, an image tag and ports of its own."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from greendock.proxy.static import fingerprint
from greendock.testing.waiting import free_ports, wait_for

_LONG = 600.0
_DEADLINE = 60.0
# Compose puts "erase this line" before a line without a prefix.
_TERMINAL = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_OURS = ("GUNICORN_", "GREENDOCK_", "NGINX_", "COMPOSE_")
_CONVENTIONS = {"APP_MODULE", "FORWARDED_ALLOW_IPS", "LOG_LEVEL", "MAX_WORKERS", "PORT", "SENDFILE", "WEB_CONCURRENCY"}


def clean_environment(**extra: str) -> dict[str, str]:
    """Return this process's environment without what configures the stack, and with ``extra``: ``.env`` counts."""
    kept = {name: text for name, text in os.environ.items() if not name.startswith(_OURS) and name not in _CONVENTIONS}
    return kept | extra


@dataclass
class Asked:
    """What a client saw that asked again and again: how many answers, and each that was not as it should be."""

    total: int = 0
    failed: list[str] = field(default_factory=list)


class Stack:
    """One running copy of the project in ``folder``.

    Its settings are the project's own: ``.env`` beside the Compose file. ``environment`` adds variables for Compose, as
    a shell would.
    """

    def __init__(self, folder: Path, **environment: str) -> None:
        self.folder = folder
        self.name = f"test{uuid.uuid4().hex[:10]}"
        self.port, self.tls_port = free_ports(2)
        self.address = engine_address()
        # Of another machine's engine no loopback address can be reached.
        published = "127.0.0.1:" if self.address == "127.0.0.1" else ""
        self.environment = clean_environment(
            COMPOSE_PROJECT_NAME=self.name,
            GREENDOCK_TAG=self.name,
            GREENDOCK_PORT_IMAGE=f"greendock-port:{self.name}",
            NGINX_PUBLISHED_PORT=f"{published}{self.port}",
            NGINX_PUBLISHED_TLS_PORT=f"{published}{self.tls_port}",
            **environment,
        )
        self._client = httpx.Client(verify=False, timeout=30)  # noqa: S501 - whatever certificate the project has

    # --- what runs ---------------------------------------------------------------------------------------------------

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command in the project's folder, with this stack's environment; it gets no input."""
        return subprocess.run(
            command,
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_LONG,
            check=False,
        )

    def compose(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run ``docker compose`` on this stack. Raises ``AssertionError`` with its output and the logs on a failure."""
        done = self.run("docker", "compose", *arguments)
        if check and done.returncode != 0:
            raise AssertionError(f"docker compose {' '.join(arguments)}:\n{done.stdout}{done.stderr}\n{self.logs()}")
        return done

    def up(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Build, start, and wait until every container is healthy."""
        return self.compose("up", "--build", "--wait", *arguments, check=check)

    def down(self) -> None:
        """Remove containers, networks, volumes and this stack's images."""
        images = {line for line in self.compose("config", "--images", check=False).stdout.split() if self.name in line}
        self.compose("down", "--volumes", "--remove-orphans", "--timeout", "5", check=False)
        for image in images:
            self.run("docker", "image", "rm", image, f"{image}-previous")
        self._client.close()

    def rollout(self, *arguments: str) -> str:
        """Do what ``make rollout`` does; return what it printed. Raises ``AssertionError`` when it fails."""
        done = self.run(sys.executable, "-m", "greendock", "rollout", *arguments)
        assert done.returncode == 0, f"{done.stdout}{done.stderr}\n{self.logs()}"
        return done.stdout + done.stderr

    def containers(self, service: str) -> list[str]:
        """Return the ids of a service's containers, stopped ones included."""
        return self.compose("ps", "--all", "--quiet", service).stdout.split()

    def container(self, service: str) -> str:
        """Return the id of the one container of a service."""
        (only,) = self.containers(service)
        return only

    def inspect(self, service: str) -> dict[str, Any]:
        """Return what the engine knows of the one container of a service."""
        return dict(json.loads(self.run("docker", "inspect", self.container(service)).stdout)[0])

    def execute(self, service: str, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command in a service's container."""
        return self.compose("exec", "--no-TTY", service, *command, check=False)

    def health(self, service: str) -> str:
        """Return what the engine says of a service's one container: ``healthy``, ``unhealthy`` or ``starting``."""
        return str(self.inspect(service)["State"].get("Health", {}).get("Status", "no healthcheck"))

    def wait_health(self, service: str, health: str = "healthy") -> None:
        """Wait until the engine says so of a service's one container."""
        wait_for(lambda: self.health(service) == health, f"{service} {health}", _DEADLINE)

    def logs(self, *services: str) -> str:
        """Return everything that the containers have printed."""
        done = self.compose("logs", "--no-color", "--no-log-prefix", *services, check=False)
        return _TERMINAL.sub("", done.stdout)

    # --- what it answers ---------------------------------------------------------------------------------------------

    def url(self, path: str = "/") -> str:
        """Return the address of a path, through Nginx."""
        secure = self._settings.get("NGINX_TLS", "off").lower() not in ("", "off")
        return f"https://{self.address}:{self.tls_port}{path}" if secure else f"http://{self.address}:{self.port}{path}"

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Ask through Nginx by the first of the host names that it answers; ``options`` are those of httpx."""
        headers = {"Host": self.host} | dict(options.pop("headers", {}))
        extensions = {"sni_hostname": self.host}
        return self._client.request(method, self.url(path), headers=headers, extensions=extensions, **options)

    def get(self, path: str = "/", **headers: str) -> httpx.Response:
        """Ask for a path with these headers."""
        return self.request("GET", path, headers=headers)

    def static(self, name: str) -> httpx.Response:
        """Ask for a file of ``app/static/`` by the URL that carries its fingerprint, ``/static/name?v=…``."""
        url = self._settings.get("NGINX_STATIC_URL") or "/static/"
        return self.get(f"{url}{name}?v={fingerprint(self.folder / 'app' / 'static' / name)}")

    def access_log(self, answer: httpx.Response) -> dict[str, Any]:
        """Return the line of Nginx's JSON access log about an answer, found by its ``X-Request-ID``."""
        sought = answer.headers["x-request-id"]

        def line() -> dict[str, Any] | None:
            lines = (text for text in self.logs("nginx").splitlines() if sought in text and text.startswith("{"))
            return next((dict(json.loads(text)) for text in lines), None)

        return wait_for(line, f"{sought} in Nginx's log") or {}

    def can_write(self, service: str, path: str) -> bool:
        """Say whether a service's account can make a file there."""
        return self.execute(service, "touch", path).returncode == 0

    def while_asked(self, work: Callable[[], object], path: str = "/", clients: int = 4) -> Asked:
        """Run ``work`` while some clients ask for ``path`` again and again; return what they saw.

        Half of them keep their connection, half open a new one for each request. An answer of 500 or more, or none,
        has failed.
        """
        stop, asked, lock = threading.Event(), Asked(), threading.Lock()
        threads = [
            threading.Thread(target=self._ask, args=(path, number % 2 == 0, stop, asked, lock))
            for number in range(clients)
        ]
        for thread in threads:
            thread.start()
        try:
            work()
        finally:
            stop.set()
            for thread in threads:
                thread.join(_DEADLINE)
        return asked

    def rollout_under_load(self, path: str = "/") -> Asked:
        """Roll out the application, changed or not, while clients ask for ``path``; return what they saw."""
        return self.while_asked(lambda: self.rollout("--app"), path)

    def _ask(self, path: str, keep: bool, stop: threading.Event, asked: Asked, lock: threading.Lock) -> None:
        with httpx.Client(verify=False, timeout=30) as client:  # noqa: S501
            while not stop.wait(0.02):
                headers = {"Host": self.host} | ({} if keep else {"Connection": "close"})
                try:
                    answer = client.get(self.url(path), headers=headers, extensions={"sni_hostname": self.host})
                    wrong = str(answer.status_code) if answer.status_code >= 500 else ""
                except httpx.HTTPError as error:
                    wrong = type(error).__name__
                with lock:
                    asked.total += 1
                    asked.failed += [wrong] if wrong else []

    @property
    def host(self) -> str:
        """The host name that requests carry: the first of ``NGINX_SERVER_NAMES``, ``localhost`` where it names none."""
        first = (self._settings.get("NGINX_SERVER_NAMES") or "local").replace(",", " ").split()[0]
        if first in ("local", "any"):
            return "localhost"
        return f"www{first.removeprefix('*')}" if first.startswith(("*", ".")) else first

    @property
    def _settings(self) -> Mapping[str, str]:
        """The proxy's variables, as Compose finds them in ``.env`` and this stack's environment."""
        if not hasattr(self, "_read"):
            services = json.loads(self.compose("config", "--format", "json").stdout)["services"]
            self._read = {name: text or "" for name, text in (services["nginx"].get("environment") or {}).items()}
        return self._read


def engine_address() -> str:
    """Return the address that published ports are reached at: this machine's, or that of ``DOCKER_HOST=tcp://…``.

    CI systems that run jobs in containers have the engine beside the job (Docker in Docker).
    """
    host = urlsplit(os.environ.get("DOCKER_HOST", ""))
    return host.hostname if host.scheme == "tcp" and host.hostname else "127.0.0.1"


def engine_problem() -> str | None:
    """Say why no stack can be started here, or ``None``."""
    try:
        done = subprocess.run(["docker", "info"], capture_output=True, text=True, timeout=30, check=False)
    except OSError as error:
        return f"docker cannot be run ({error.strerror})"
    return (done.stderr.strip() or "`docker info` failed") if done.returncode else None
