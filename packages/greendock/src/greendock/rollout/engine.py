"""The container engine, as this program needs it: what runs, and the few commands that change it."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

_PROJECT = "com.docker.compose.project"
_SERVICE = "com.docker.compose.service"
_ONE_OFF = "com.docker.compose.oneoff"
_NUMBER = "com.docker.compose.container-number"
_HASH = "com.docker.compose.config-hash"
# What a command gets to end by itself when the rollout is interrupted.
_ONE_OFF_SECONDS = 10


class EngineError(Exception):
    """A command of the engine failed; the text is one sentence."""


@dataclass(frozen=True)
class Container:
    """One container of a service, as the engine saw it."""

    id: str
    name: str
    number: int
    image: str
    config_hash: str
    status: str
    health: str = ""
    restarts: int = 0
    exit_code: int = 0
    last_check: str = ""
    addresses: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def alive(self) -> bool:
        """Whether the engine runs it or keeps starting it again."""
        return self.status in ("running", "restarting", "paused")

    @property
    def healthy(self) -> bool:
        return self.status == "running" and self.health == "healthy"

    @property
    def version(self) -> tuple[str, str]:
        """Image and configuration: containers that have both in common are alike."""
        return self.image, self.config_hash


@dataclass(frozen=True)
class Service:
    """A service as the Compose file has it now. ``image`` is the name of its image, tag included.

    ``needs`` are the services it depends on, those of these included; ``publishes``: whether it publishes ports.
    """

    project: str
    name: str
    image: str
    environment: Mapping[str, str] = field(default_factory=dict)
    needs: tuple[str, ...] = ()
    publishes: bool = False


class Engine:
    """Commands of ``docker`` and ``docker compose``, run in the project's folder.

    Every method raises ``EngineError``. ``inherited`` is kept open in every command started, so that the lock it
    stands for lasts as long as a command that outlives this program.
    """

    def __init__(self, folder: Path, inherited: int | None = None) -> None:
        self.folder = folder
        self._inherited = () if inherited is None else (inherited,)

    def services(self) -> dict[str, Service]:
        """Return the services of the Compose file by name; those of profiles that are not active are left out."""
        config = json.loads(self._output("compose", "config", "--format", "json"))
        return {name: _service(config, name) for name in config["services"]}

    def service(self, name: str) -> Service:
        """Return the service called ``name``."""
        services = self.services()
        if name not in services:
            raise EngineError(f"the Compose file has no service {name}")
        return services[name]

    def containers(self, service: Service) -> list[Container]:
        """Return the service's containers, whatever their state, oldest first."""
        return self._containers(service.project, service.name)

    def _containers(self, project: str, service: str) -> list[Container]:
        labels = {_PROJECT: project, _SERVICE: service, _ONE_OFF: "False"}
        filters = [word for label in labels.items() for word in ("--filter", "label={}={}".format(*label))]
        ids = self._output("ps", "--all", "--quiet", "--no-trunc", *filters).split()
        described = json.loads(self._output("inspect", "--type", "container", *ids)) if ids else []
        return sorted(map(_container, described), key=lambda container: container.number)

    def image_id(self, reference: str) -> str | None:
        """Return the id of the image that ``reference`` names, or ``None`` when there is none."""
        done = self._run(("image", "inspect", "--format", "{{.Id}}", reference))
        return done.stdout.strip() if done.returncode == 0 else None

    def tag(self, image: str, reference: str) -> None:
        """Give ``image`` the name ``reference``."""
        self._output("image", "tag", image, reference)

    def build(self, *services: Service) -> None:
        """Build the services' images; the builder's own output goes to standard error."""
        self._show("compose", "build", *(service.name for service in services))

    def create_beside(self, service: Service, total: int) -> None:
        """Create containers of the current version, without starting any, until there are ``total``.

        Those there are left as they are. Not with ``--no-deps``: Compose would leave the dependencies out of the hash
        that it compares later. As many of each dependency as there are, because `up` would take away what is above the
        number in the Compose file.
        """
        counts = {name: len(self._containers(service.project, name)) for name in service.needs}
        totals = {name: count for name, count in counts.items() if count > 1} | {service.name: total}
        scale = [word for name, count in totals.items() for word in ("--scale", f"{name}={count}")]
        self._output("compose", "up", "--no-start", "--no-recreate", "--no-build", *scale, service.name)

    def start(self, containers: Sequence[Container]) -> None:
        """Start containers that are there, and nothing that they depend on."""
        self._output("start", *(container.id for container in containers))

    def try_in(self, service: Service, *command: str) -> None:
        """Run ``command`` in a container of the current version that is removed afterwards; its output is shown."""
        self._show("compose", "run", "--rm", "--no-deps", "--no-TTY", service.name, *command)

    def run_once(self, service: Service) -> None:
        """Run the service's command in a container of the current version; its output is shown.

        An interruption ends the command as well.
        """
        name = f"{service.project}-{service.name}-{os.getpid()}"
        try:
            self._show("compose", "run", "--rm", "--no-deps", "--no-TTY", "--name", name, service.name)
        except KeyboardInterrupt:
            self._run(("stop", "--time", str(_ONE_OFF_SECONDS), name))
            raise

    def execute(self, container: Container, *command: str) -> str:
        """Run ``command`` inside ``container``; return what it printed."""
        return self._output("exec", container.id, *command)

    def stop(self, containers: Sequence[Container], seconds: int | None = None) -> None:
        """Stop all at once: SIGTERM, and SIGKILL after ``seconds`` (``None``: the container's stop grace period)."""
        limit = [] if seconds is None else ["--time", str(seconds)]
        self._output("stop", *limit, *(container.id for container in containers))

    def signal(self, container: Container, name: str) -> None:
        """Send a signal to the container's first process; with its stop signal, the engine does not start it again."""
        self._output("kill", "--signal", name, container.id)

    def remove(self, containers: Sequence[Container]) -> None:
        """Remove stopped containers and their anonymous volumes."""
        self._output("rm", "--volumes", *(container.id for container in containers))

    def now(self) -> float:
        """Return the time by the engine's clock, in seconds since 1970."""
        text = self._output("info", "--format", "{{.SystemTime}}").strip()
        return datetime.fromisoformat(text).timestamp()

    def log_lines(self, container: Container, since: float) -> list[str]:
        """Return what the container has written to standard output since then."""
        return self._output("logs", "--since", f"{since:.3f}", container.id).splitlines()

    def last_lines(self, container: Container, lines: int) -> str:
        """Return the end of the container's log."""
        done = self._run(("logs", "--tail", str(lines), container.id), merged=True)
        return done.stdout.rstrip()

    def _output(self, *command: str) -> str:
        done = self._run(command)
        if done.returncode != 0:
            raise EngineError(_complaint(command, done.stderr or done.stdout))
        return done.stdout

    def _show(self, *command: str) -> None:
        """Run a command whose output is for the reader."""
        done = subprocess.run(
            ["docker", *command], cwd=self.folder, check=False, stdout=2, pass_fds=self._inherited
        )  # fmt: skip
        if done.returncode != 0:
            said = f"ended with exit code {done.returncode}; what it said is above"
            raise EngineError(f"`docker {' '.join(command)}` {said}")

    def _run(self, command: Sequence[str], *, merged: bool = False) -> subprocess.CompletedProcess[str]:
        try:
            return subprocess.run(
                ["docker", *command],
                cwd=self.folder,
                check=False,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT if merged else subprocess.PIPE,
                text=True,
                errors="replace",
                pass_fds=self._inherited,
            )
        except OSError as error:
            raise EngineError(f"docker cannot be run: {error.strerror}") from error


def _complaint(command: Sequence[str], output: str) -> str:
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    said = lines[-1] if lines else "it said nothing"
    return f"`docker {' '.join(command[:3])}` failed: {said}"


def _service(config: dict[str, Any], name: str) -> Service:
    services = config["services"]
    needs: dict[str, None] = {}
    ahead = [name]
    while ahead:
        direct = [each for each in services[ahead.pop()].get("depends_on") or () if each in services]
        ahead += [each for each in direct if each not in needs]
        needs |= dict.fromkeys(direct)
    image = services[name].get("image") or f"{config['name']}-{name}"
    return Service(
        config["name"],
        name,
        image if ":" in image.rpartition("/")[2] else f"{image}:latest",
        {variable: text or "" for variable, text in (services[name].get("environment") or {}).items()},
        tuple(needs),
        bool(services[name].get("ports")),
    )


def _container(described: dict[str, Any]) -> Container:
    state, config, labels = described["State"], described["Config"], described["Config"]["Labels"]
    health = state.get("Health") or {}
    checks = health.get("Log") or [{}]
    networks = described["NetworkSettings"]["Networks"] or {}
    return Container(
        id=described["Id"],
        name=described["Name"].lstrip("/"),
        number=int(labels.get(_NUMBER, 0)),
        image=described["Image"],
        config_hash=labels.get(_HASH, ""),
        status=state["Status"],
        health=health.get("Status", ""),
        restarts=described["RestartCount"],
        exit_code=state["ExitCode"],
        last_check=checks[-1].get("Output", "").strip(),
        addresses={name: address for name, network in networks.items() if (address := _address(network))},
        environment=dict(entry.partition("=")[::2] for entry in config["Env"] or ()),
    )


def _address(network: Mapping[str, Any]) -> str:
    v6 = network.get("GlobalIPv6Address")
    return network.get("IPAddress") or (f"[{v6}]" if v6 else "")
