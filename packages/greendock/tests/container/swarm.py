"""A swarm of two engines on this machine, each in a container of its own, with the project's own stack file.

The engine that the tests themselves use joins nothing. The stack file uses no IPVS, which not every kernel has.
"""

from __future__ import annotations

import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.container.stack import LOAD_ASGI, Site, use_asgi
from tests.support import DEADLINE, ROOT, wait_for

_HERE = Path(__file__).parent
_STACK = "site"
_ENGINE_IMAGE = "greendock-test-engine"
_SECONDS = 240
REPLICAS = 3
SETTINGS = "WEB_CONCURRENCY=1\\nGREENDOCK_DRAIN_SECONDS=1\\n"
ASGI = SETTINGS + "GUNICORN_WORKER_CLASS=asgi\\nAPP_MODULE=app.asgi:app\\n"


class Swarm:
    """Two engines, ``name-1`` (the manager) and ``name-2``, and the stack they run."""

    def __init__(self, images: Site) -> None:
        self.name = images.name
        self.nodes = [f"{self.name}-1", f"{self.name}-2"]

    def start(self) -> None:
        """Start both engines and make them a swarm."""
        _docker("build", "--quiet", "--tag", _ENGINE_IMAGE, str(_HERE / "engine"))
        _docker("network", "create", self.name)
        for node in self.nodes:
            _docker("run", "--detach", "--privileged", "--name", node, "--hostname", node,
                    "--network", self.name, _ENGINE_IMAGE)  # fmt: skip
        for node in self.nodes:
            wait_for(lambda node=node: self.on(node, "docker info", check=False), f"{node} answers")  # type: ignore[misc]
        self.on(self.nodes[0], "docker swarm init --advertise-addr eth0")
        token = self.on(self.nodes[0], "docker swarm join-token --quiet worker").strip()
        self.on(self.nodes[1], f"docker swarm join --token {token} {self.nodes[0]}:2377")

    def load(self, *images: str) -> None:
        """Give images to both engines: there is no registry."""
        both = " ".join(f">(docker exec -i {node} docker load --quiet)" for node in self.nodes[1:])
        pipe = f"docker save {' '.join(images)} | tee {both} | docker exec -i {self.nodes[0]} docker load --quiet"
        subprocess.run(["bash", "-euo", "pipefail", "-c", pipe], check=True, capture_output=True, timeout=_SECONDS)
        wait_for(lambda: all(self._has(node, images) for node in self.nodes), "both engines have the images")

    def _has(self, node: str, images: tuple[str, ...]) -> bool:
        return bool(self.on(node, f"docker image inspect --format x {' '.join(images)}", check=False))

    def deploy(self, version: str, settings: str = "") -> str:
        """Deploy the stack with the application's image of this tag; return once that has succeeded or failed."""
        _docker("cp", str(ROOT / "deploy/swarm"), f"{self.nodes[0]}:/")
        names = f"GREENDOCK_IMAGE={self.name} GREENDOCK_TAG={version} GREENDOCK_NGINX_TAG={self.name} UPDATE_MONITOR=2s"
        return self.manage(
            f"cd /swarm && printf '{settings}' >app.env && env {names}"
            f" docker stack deploy --detach=false --resolve-image never -c stack.yml -c secrets.yml {_STACK} 2>&1"
        )

    def manage(self, command: str) -> str:
        """Run a shell command on the manager."""
        return self.on(self.nodes[0], command)

    def on(self, node: str, command: str, *, check: bool = True) -> str:
        """Run a shell command on ``node``."""
        return _docker("exec", node, "sh", "-c", command, check=check)

    def update_state(self) -> str:
        """Return how the last update of the application ended."""
        form = "{{if .UpdateStatus}}{{.UpdateStatus.State}}{{end}}"
        return self.manage(f"docker service inspect --format '{form}' {_STACK}_app").strip()

    def replicas(self) -> list[str]:
        """Return the nodes on which the application's running tasks are."""
        listed = self.manage(f"docker service ps --filter desired-state=running --format '{{{{.Node}}}} {{{{.CurrentState}}}}' {_STACK}_app")  # noqa: E501  # fmt: skip
        return [line.split()[0] for line in listed.splitlines() if line.split()[1] == "Running"]

    def url(self, node: int = 0) -> str:
        """Return the address of a node's Nginx."""
        form = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
        return f"http://{_docker('inspect', '--format', form, self.nodes[node]).strip()}:8080"

    def get(self, path: str, node: int = 0) -> str:
        """Ask a node's Nginx; return the body of a good answer."""
        with urllib.request.urlopen(self.url(node) + path, timeout=DEADLINE) as response:  # noqa: S310
            body: bytes = response.read()
        return body.decode()

    def lose(self, node: int) -> None:
        """Have a machine vanish, as by a power cut."""
        _docker("kill", self.nodes[node])

    def down(self) -> None:
        """Remove the engines with everything in them."""
        _docker("rm", "--force", "--volumes", *self.nodes, check=False)
        _docker("network", "rm", self.name, check=False)


@contextmanager
def swarm(folder: Path) -> Iterator[Swarm]:
    """Run the stack with version ``one``; ``two`` and ``broken`` are there to be deployed."""
    images = Site(folder)
    running = Swarm(images)
    tags = [f"{images.name}:{version}" for version in ("one", "two", "broken")]
    # The same images serve an ASGI application too.
    asgi = (LOAD_ASGI / "main.py").read_text().replace('VERSION = "one"', "from app.main import VERSION")
    (images.folder / "app/asgi.py").write_text(asgi)
    try:
        use_asgi(images)
        images.compose("build", "nginx")
        for tag in tags:
            version = tag.rpartition(":")[2]
            images.set_version(version)
            if version == "broken":
                images.edit("app/main.py", lambda text: text + "\nraise RuntimeError('broken on purpose')\n")
            images.compose("build", "app")
            _docker("image", "tag", f"greendock-app:{images.name}", tag)
        running.start()
        running.load(*tags, f"greendock-nginx:{images.name}")
        running.manage("printf %s postgresql://user:hunter2@db/site | docker secret create database_url -")
        running.deploy("one", SETTINGS)
        yield running
    finally:
        running.down()
        _docker("image", "rm", "--force", *tags, check=False)
        images.down()


def _docker(*arguments: str, check: bool = True) -> str:
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, timeout=_SECONDS, check=False)
    assert not check or done.returncode == 0, f"docker {' '.join(arguments)}\n{done.stdout}{done.stderr}"
    return done.stdout
