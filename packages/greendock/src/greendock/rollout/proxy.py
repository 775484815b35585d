"""Where Nginx sends requests: what this program asks of `greendock.proxy` inside Nginx's container."""

from __future__ import annotations

import re
from collections.abc import Sequence

from greendock.rollout.engine import Container, Engine, EngineError

NGINX = "nginx"
PORT = "port"
_COMMAND = "greendock"
_DEFAULT = "app:8000"  # NGINX_UPSTREAM's default


class Proxy:
    """One running Nginx. Every method raises ``EngineError``."""

    def __init__(self, engine: Engine, container: Container) -> None:
        self._engine = engine
        self.container = container
        self.default = container.environment.get("NGINX_UPSTREAM") or _DEFAULT
        if not re.fullmatch(r"[A-Za-z0-9_.-]+:[0-9]+", self.default):
            raise EngineError(f"NGINX_UPSTREAM={self.default}: a rollout needs it to be one name:port")

    def pinned(self) -> list[str]:
        """Return the addresses Nginx is pointed at explicitly; none while it follows ``NGINX_UPSTREAM``."""
        return [each for each in self._ask("upstream").split() if each != self.default and "=" not in each]

    def canaries(self) -> list[str]:
        """Return the addresses that get a share of the requests beside those."""
        return [each.partition("=")[0] for each in self._ask("upstream").split() if "=" in each]

    def address(self, container: Container) -> str:
        """Return ``address:port`` of ``container`` on a network it shares with Nginx."""
        for network in sorted(self.container.addresses):
            if network in container.addresses:
                return f"{container.addresses[network]}:{self.default.rpartition(':')[2]}"
        raise EngineError(f"{container.name} has no address on a network of {self.container.name}")

    def point_at(
        self, containers: Sequence[Container], *, wait: bool, canaries: Sequence[Container] = (), share: int = 0
    ) -> None:
        """Send new requests to ``containers`` alone; ``share`` percent of them to ``canaries``.

        With ``wait``, return when nothing uses the former ones any more, at most NGINX_SHUTDOWN_TIMEOUT later. What
        is longer, a WebSocket for one, goes on for as long as its replica does.
        """
        few = (f"{self.address(each)}={share}" for each in canaries)
        self._upstream(*map(self.address, containers), *few, wait=wait)

    def settle(self) -> None:
        """Return when nothing uses what Nginx was pointed at before."""
        self._ask("settle")

    def ask(self, container: Container, path: str) -> int:
        """Ask ``container`` for ``path`` as Nginx would; return the status of its answer."""
        return int(self._ask("ask", self.address(container), path))

    def share_assets(self) -> None:
        """Put this version's static files where the next one finds them, and remove those of all others."""
        self._ask("assets", "--only")

    def release(self, containers: Sequence[Container]) -> None:
        """Follow ``NGINX_UPSTREAM`` again, so that later scaling is seen.

        In two reloads: a name that a new configuration brings has no address until DNS has answered; a name that the
        former configuration had keeps its addresses.
        """
        self._upstream(*map(self.address, containers), self.default, wait=False)
        self._upstream("--default", wait=False)

    def reload(self) -> None:
        """Render the configuration again and reload; a refused configuration changes nothing."""
        self._ask("reload", "--wait")

    def _upstream(self, *arguments: str, wait: bool) -> None:
        self._ask("upstream", *arguments, *([] if wait else ["--no-wait"]))

    def _ask(self, *arguments: str) -> str:
        return self._engine.execute(self.container, _COMMAND, *arguments)


def serving_proxy(containers: Sequence[Container]) -> Container | None:
    """Return the Nginx that stays: of two, which an interrupted rollout left, the newer where it is healthy."""
    alive = [each for each in containers if each.alive]
    healthy = [each for each in alive if each.healthy]
    return next(iter(healthy[-1:] or alive[:1] or containers[:1]), None)


def find_proxy(engine: Engine) -> Proxy:
    """Return the project's running Nginx. Raises ``EngineError``."""
    serving = serving_proxy(engine.containers(engine.service(NGINX)))
    if serving is None or serving.status != "running":
        raise EngineError(f"no container of {NGINX} runs: start the stack first (make up)")
    return Proxy(engine, serving)
