"""Where Nginx sends requests: what this program asks of `greendock.proxy` inside Nginx's container."""

from __future__ import annotations

import re
from collections.abc import Sequence

from greendock.rollout.engine import Container, Engine, EngineError

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
        text = self._ask("config")
        block = re.search(r"^\s*upstream app \{(.*?)^\s*\}", text, re.MULTILINE | re.DOTALL)
        servers = re.findall(r"^\s*server (\S+)", block[1], re.MULTILINE) if block else []
        return [server for server in servers if server != self.default]

    def address(self, container: Container) -> str:
        """Return ``address:port`` of ``container`` on a network it shares with Nginx."""
        for network in sorted(self.container.addresses):
            if network in container.addresses:
                return f"{container.addresses[network]}:{self.default.rpartition(':')[2]}"
        raise EngineError(f"{container.name} has no address on a network of {self.container.name}")

    def point_at(self, containers: Sequence[Container], *, wait: bool) -> None:
        """Send new requests to ``containers`` alone.

        With ``wait``, return when nothing uses the former ones any more, at most NGINX_SHUTDOWN_TIMEOUT later. What
        is longer, a WebSocket for one, goes on for as long as its replica does.
        """
        self._upstream(*map(self.address, containers), wait=wait)

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
