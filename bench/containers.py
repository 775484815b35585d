"""Peers as containers, on the Python and the Nginx of the images.

Another project's peer is one container with all its programs. This stack is what `docker compose up` starts: two
containers and the network between them. Beside the container that is asked, one more shares its network for the
clients, so that no port is published through the engine's proxy and all load stays on 127.0.0.1.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from bench import inside
from bench.peers.model import ASGI, OURS, ROOT, WSGI, Peer
from bench.running import DEADLINE, PROC, Running, Setup, every_pid

TAG = "bench"
IMAGE = f"greendock-bench:{TAG}"
_BUILD_SECONDS = 900.0
_CODE = ("--volume", f"{ROOT / 'bench'}:/srv/repository/bench:ro", "--user", f"{os.getuid()}:{os.getgid()}")
# Everybody's output goes where this stack's goes, as docker-compose.yml has it.
_LOGGING = ("--log-driver", "json-file", "--log-opt", "max-size=10m", "--log-opt", "max-file=3")
_BASES = {"PYTHON_IMAGE": "python:3.14-slim", "NGINX_IMAGE": "nginx:1.30"}
_KEPT = ("PATH", "HOME", "DOCKER_", "BUILDX_", "BUILDKIT_", "XDG_")
_PACKAGES = "starlette anyio idna typing_extensions.py"
_PROXY_PORT, _GUNICORN_PORT = 8080, 8000


class Containers(Running):
    """``names`` are the peer's containers, the one that is asked first."""

    def __init__(self, peer: Peer, port: int, folder: Path, project: str, names: tuple[str, ...]) -> None:
        super().__init__(peer, port, folder)
        self.project, self.names = project, names
        self._clients = f"{project}-clients"
        self._ids: list[str] = []

    def start(self) -> None:
        options = ("--detach", "--init", "--name", self._clients, "--network", f"container:{self.names[0]}", *_CODE)
        try:
            self._up()
            self._ids = docker("inspect", "--format", "{{.Id}}", *self.names).split()
            docker("run", *options, IMAGE)
        except RuntimeError as error:
            raise RuntimeError(f"{error}\n{self.logs()}") from error

    def end(self) -> None:
        try:
            with suppress(RuntimeError):
                docker("rm", "--force", self._clients)
        finally:
            self._down()

    def _up(self) -> None:
        """Start what this peer does not share with another one."""

    def _down(self) -> None:
        """End what this peer does not share with another one."""

    def client(self, *command: str) -> subprocess.Popen[bytes]:
        run = ("docker", "exec", "--interactive", self._clients, *command)
        return subprocess.Popen(run, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def get(self, path: str, body: bytes | None = None) -> tuple[int, bytes]:
        with self.client("python", "-m", "bench.ask", str(self.port), path) as process:
            try:
                output, _ = process.communicate(body or b"", timeout=DEADLINE)
            except BaseException:
                process.kill()
                raise
        if process.returncode:
            raise ConnectionError(f"{self.peer.name} does not answer {path}")
        status, _, answer = output.partition(b"\n")
        return int(status), answer

    def pids(self) -> list[int]:
        """Every version of cgroups has the container's id in the names of its groups."""
        return [pid for pid in every_pid() if belongs(pid, self._ids)]

    def alive(self) -> bool:
        return "false" not in docker("inspect", "--format", "{{.State.Running}}", *self.names)

    def logs(self) -> str:
        found = []
        for name in self.names:
            with suppress(RuntimeError):  # there may be no such container
                found.append(docker("logs", "--tail", "20", name))
        return "\n".join(found)


class OneContainer(Containers):
    """All programs of a peer."""

    def __init__(self, peer: Peer, project: str, folder: Path, static: Path) -> None:
        super().__init__(peer, inside.PORT, folder, project, (project,))
        self._mounts = ("--volume", f"{folder}:{inside.FOLDER}", "--volume", f"{static}:{inside.STATIC}:ro")

    def _up(self) -> None:
        options = ("--detach", "--init", "--name", self.project, *_LOGGING, *_CODE, *self._mounts)
        docker("run", *options, IMAGE, "python", "-m", "bench.inside", self.peer.name)

    def _down(self) -> None:
        with suppress(RuntimeError):
            docker("rm", "--force", "--volumes", self.project)


class Stack(Containers):
    """This repository, run by Compose as its users run it."""

    def __init__(self, peer: Peer, project: str, folder: Path, static: Path) -> None:
        super().__init__(peer, _PROXY_PORT, folder, project, (f"{project}-nginx-1", f"{project}-app-1"))
        self._packages = folder / "packages"
        self.environment = _environment(
            COMPOSE_PROJECT_NAME=project,
            NGINX_PUBLISHED_PORT="127.0.0.1:",
            BENCH_STATIC=str(static),
            BENCH_PACKAGES=str(self._packages),
            **{"APP_MODULE": WSGI} | dict(peer.environment),
        )

    def _up(self) -> None:
        self._packages.mkdir()
        if self.environment["APP_MODULE"] == ASGI:
            copy = f'cd "$(python -c "import starlette; print(*starlette.__path__)")/.." && cp -r {_PACKAGES} /packages'
            docker("run", "--rm", *_CODE, "--volume", f"{self._packages}:/packages", IMAGE, "sh", "-c", copy)
        self._compose("up", "--detach", "--wait", "--wait-timeout", "120")

    def _down(self) -> None:
        with suppress(RuntimeError):
            self._compose("down", "--volumes", "--timeout", "5")

    def _compose(self, *arguments: str) -> None:
        files = ("--file", "docker-compose.yml", "--file", "bench/compose.yml")
        docker("compose", "--env-file", os.devnull, *files, *arguments, environment=self.environment)


def make(peer: Peer, shared: Running | None, folder: Path, static: Path) -> Containers:
    """Return a peer that is ready to start: a `bench.running.Maker`."""
    project = f"bench{os.getpid()}-{peer.name}"
    if isinstance(shared, Containers):
        return Containers(peer, _GUNICORN_PORT, folder, project, shared.names[::-1])
    return (Stack if peer.kind == OURS else OneContainer)(peer, project, folder, static)


def setup(say: Callable[[str], None]) -> Setup:
    """Build the images of this tree, which are left in place for the next run. Raises ``SystemExit``."""
    try:
        docker("info")
    except (OSError, RuntimeError) as error:
        raise SystemExit(f"bench: no container engine; `make engine` finds or installs one\n{error}") from error
    say("building the images")
    bases = _bases()
    subprocess.run([ROOT / "scripts" / "base-images"], env=os.environ | bases, check=True)
    arguments = [f"--build-arg={name}={image}" for name, image in bases.items()]
    stack = ("compose", "--env-file", os.devnull, "--file", "docker-compose.yml", "build")
    peers = ("build", "--file", "bench/Dockerfile", "--tag", IMAGE, *arguments, ".")
    try:
        for command in (stack, peers):
            docker(*command, environment=_environment(), timeout=_BUILD_SECONDS)
    except RuntimeError as error:
        raise SystemExit(f"bench: {error}") from error
    return Setup(make, ("docker", "run", "--rm", *_CODE, IMAGE, "python"), "nginx")


def docker(*arguments: str, environment: Mapping[str, str] | None = None, timeout: float = 150) -> str:
    """Run ``docker`` in this repository's root; return its output. Raises ``RuntimeError`` when it fails."""
    process = subprocess.Popen(
        ("docker", *arguments),
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,  # Ctrl-C is for the benchmark, which then ends what this has started
    )
    try:
        output, _ = process.communicate(timeout=timeout)
    except BaseException:
        # What the engine was asked for comes to be all the same; only then can it be removed.
        with suppress(subprocess.TimeoutExpired):
            process.communicate(timeout=10)
        process.kill()
        process.wait()
        raise
    if process.returncode:
        raise RuntimeError(f"docker {' '.join(arguments)}: {output}")
    return output


def belongs(pid: int, ids: list[str]) -> bool:
    """Say whether this process runs in one of these containers."""
    try:
        groups = (PROC / str(pid) / "cgroup").read_text()
    except OSError:
        return False
    return any(each in groups for each in ids)


def _bases() -> dict[str, str]:
    return {name: os.environ.get(name) or image for name, image in _BASES.items()}


def _environment(**variables: str) -> dict[str, str]:
    """Return an environment for Compose that configures nothing of the stack beside ``variables``."""
    kept = {name: value for name, value in os.environ.items() if name.startswith(_KEPT)}
    return kept | _bases() | {"GREENDOCK_TAG": TAG} | variables
