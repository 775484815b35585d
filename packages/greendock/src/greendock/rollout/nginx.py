"""Rolling out Nginx itself: its files by a reload, its image or its environment by a new container.

The container `port` holds the published ports. Two Nginx containers accept from its sockets side by side; then the old
one ends what it is at, and goes.
"""

from __future__ import annotations

from collections.abc import Sequence

from greendock.rollout.engine import Container, Engine, EngineError, Service
from greendock.rollout.judging import Judge
from greendock.rollout.progress import Progress
from greendock.rollout.proxy import NGINX, Proxy, serving_proxy
from greendock.rollout.waiting import RolloutError, wait_healthy

# In a container of its own: what this version's configuration needs is there, and its static files are shared.
_TRY = ("sh", "-c", "greendock check && greendock assets")


class NginxRollout:
    """One run, in three steps: ``settle``, ``prepare``, ``switch``. ``timeout``: seconds to become healthy in."""

    def __init__(
        self, engine: Engine, progress: Progress, services: dict[str, Service], judge: Judge, timeout: float
    ) -> None:
        self._engine = engine
        self._progress = progress
        self._judge = judge
        self._timeout = timeout
        self.service = services[NGINX]
        if self.service.publishes:
            raise RolloutError(
                f"{NGINX} publishes ports of its own, which two containers cannot: `--app` rolls out the application, "
                f"`docker compose up` replaces {NGINX} with a gap"
            )

    def settle(self) -> Container:
        """Return the one that serves, after clearing up what an interrupted run left."""
        containers = self._engine.containers(self.service)
        serving = serving_proxy(containers)
        if serving is None:
            raise RolloutError(f"no container of {NGINX} exists: start the stack first (make up)")
        if not serving.alive:
            self._progress.note(f"undo an interrupted rollout: start {serving.name}")
            self._engine.start([serving])
        if leftover := [each for each in containers if each.id != serving.id]:
            what = "finish" if leftover[0].number < serving.number else "undo"
            self._progress.note(f"{what} an interrupted rollout: {', '.join(each.name for each in leftover)}")
            self._discard(leftover)
        return serving

    def prepare(self, old: Container) -> Container | None:
        """Create a container of the version that is built, and try it; return ``None`` where nothing has changed.

        Raises ``RolloutError``; everything is then as before, but the image's name.
        """
        try:
            with self._progress.step("create a container of Nginx, test its configuration, share static files"):
                self._engine.create_beside(self.service, 2)
                (new,) = self._beside(old)
                if new.version == old.version:
                    self._engine.remove([new])
                    return None
                Proxy(self._engine, old).share_assets()
                self._engine.try_in(self.service, *_TRY)
        except (EngineError, KeyboardInterrupt) as error:
            self.undo(old)
            raise RolloutError(f"the new Nginx cannot be used, the old one serves: {_said(error)}") from error
        return new

    def switch(self, old: Container, new: Container) -> Container:
        """Have ``new`` accept beside ``old``, judge its answers, then have ``old`` accept no more; return ``new``.

        Raises ``RolloutError``; the old one then serves.
        """
        try:
            before = self._judge.before(old)
            with self._progress.step(
                f"start Nginx beside the old one; wait until healthy, {self._timeout:g} s at most"
            ):
                self._engine.start([new])
                (new,) = wait_healthy(self._engine, self._progress, lambda: self._beside(old), self._timeout)
            self._judge.watch(new, before)
            self._engine.signal(old, "QUIT")
        except (EngineError, RolloutError, KeyboardInterrupt) as error:
            self._progress.note("roll back")
            self.undo(old)
            raise RolloutError(f"{_said(error)}; the old Nginx serves") from error
        return new

    def finish(self, old: Container) -> None:
        """Wait for the end of ``old``, within its stop grace period, and remove it."""
        try:
            with self._progress.step("let the old Nginx end the requests under way; remove it"):
                self._discard([old])
        except (EngineError, KeyboardInterrupt) as error:
            raise RolloutError(
                f"the new Nginx serves, but cleaning up failed (run this again): {_said(error)}"
            ) from error

    def reload(self, old: Container) -> None:
        """Have Nginx read its files again. Raises ``RolloutError``."""
        try:
            with self._progress.step("neither image nor environment of Nginx differ: reload"):
                Proxy(self._engine, old).reload()
        except EngineError as error:
            raise RolloutError(f"Nginx goes on with its former configuration: {error}") from error

    def undo(self, old: Container) -> None:
        """Leave nothing but ``old``, and give its image the name again."""
        self._engine.tag(old.image, self.service.image)
        self.put_off(old)

    def _beside(self, old: Container) -> list[Container]:
        return [each for each in self._engine.containers(self.service) if each.id != old.id]

    def _discard(self, containers: Sequence[Container]) -> None:
        """Nginx stops accepting at once, and ends when its requests have: within its stop grace period."""
        self._engine.stop(containers)
        self._engine.remove(containers)

    def put_off(self, old: Container) -> None:
        """Leave nothing but ``old``; the new image keeps the name, for later."""
        if leftover := self._beside(old):
            self._discard(leftover)

    def plan_before(self) -> list[str]:
        """Return the steps before the application's, for a reader."""
        return ["create a container of Nginx, test its configuration, share static files"]

    def plan_after(self) -> list[str]:
        """Return the steps after the application's, for a reader."""
        return [
            "where Nginx differs: start it beside the old one, both accept; go back if the answers are worse",
            "let the old Nginx end the requests under way; remove it",
        ]


def _said(error: BaseException) -> str:
    return "interrupted" if isinstance(error, KeyboardInterrupt) else str(error)
