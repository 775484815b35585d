"""The other services of the application's image: background workers, a scheduler.

They serve nobody through Nginx, and a scheduler must never run twice. So each is stopped, within its own grace period,
before its successor starts; what waits in a queue meanwhile waits a little longer.
"""

from __future__ import annotations

from collections.abc import Sequence

from greendock.rollout.engine import Container, Engine, EngineError, Service
from greendock.rollout.progress import Progress
from greendock.rollout.waiting import RolloutError, wait_healthy

_UNDO_SECONDS = 10


class Workers:
    """The services to replace once the application's new version serves. ``timeout`` in seconds, for each."""

    def __init__(self, engine: Engine, progress: Progress, services: Sequence[Service], timeout: float) -> None:
        self._engine = engine
        self._progress = progress
        self._services = services
        self._timeout = timeout

    def plan(self) -> list[str]:
        """Return a line for each service that runs."""
        return [f"replace {each.name}: stop, then start the new version" for each in self._services if self._old(each)]

    def replace(self) -> None:
        """Replace the containers of each service that runs.

        Raises ``RolloutError`` at the first that fails: it then goes on with its old version, as do those after it.
        """
        for service in self._services:
            old = self._old(service)
            if not old:
                self._progress.note(f"{service.name} does not run and is left alone")
                continue
            try:
                with self._progress.step(f"replace {service.name}: stop, then start the new version"):
                    self._replace(service, old)
            except (EngineError, RolloutError, KeyboardInterrupt) as error:
                reason = "interrupted" if isinstance(error, KeyboardInterrupt) else error
                served = f"the new version serves, but {service.name} goes on with the old one (run this again)"
                raise RolloutError(f"{served}: {reason}") from error

    def _old(self, service: Service) -> list[Container]:
        """Return the containers to replace; none where the service does not run.

        A run that was killed between stop and start has left stopped containers beside some that never started.
        """
        containers = self._engine.containers(service)
        alive = [each for each in containers if each.alive]
        interrupted = any(each.status == "created" for each in containers)
        return alive or (containers if interrupted else [])

    def _replace(self, service: Service, old: Sequence[Container]) -> None:
        kept = {container.id for container in old}
        # Never started, or stopped long ago: of no use to anybody.
        if leftover := [each for each in self._engine.containers(service) if each.id not in kept]:
            self._engine.remove(leftover)
        count = sum(each.alive for each in old) or sum(each.status == "created" for each in old)
        self._engine.create_beside(service, len(old) + count)

        def new() -> list[Container]:
            return [each for each in self._engine.containers(service) if each.id not in kept]

        try:
            self._engine.stop(old)
            self._engine.start(new())
            wait_healthy(self._engine, self._progress, new, self._timeout)
        except BaseException:
            self._engine.stop(new(), _UNDO_SECONDS)
            self._engine.start([each for each in old if each.status != "created"])
            self._engine.remove(new())
            raise
        self._engine.remove(old)
