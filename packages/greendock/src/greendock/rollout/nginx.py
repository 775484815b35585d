"""Rolling out Nginx itself: its files by a reload, its image or its environment by a new container.

Two containers cannot publish the same port, so a new container is a gap in which connections are refused. The new one
is created and its configuration tested before the old one stops, which keeps the gap short. docs/deploying.md has the
figures.
"""

from __future__ import annotations

from greendock.rollout.engine import Container, Engine, EngineError
from greendock.rollout.progress import Progress
from greendock.rollout.proxy import Proxy
from greendock.rollout.rollout import NGINX, Options
from greendock.rollout.waiting import RolloutError, wait_healthy

# The port is closed from the first moment of a graceful stop: each second spent on requests under way refuses new ones.
_STOP_SECONDS = 1


class NginxRollout:
    """One run. Where nothing but files that Nginx reads has changed, it is a reload, and nothing is lost."""

    def __init__(self, engine: Engine, progress: Progress, options: Options) -> None:
        self._engine = engine
        self._progress = progress
        self._options = options
        self._service = engine.service(NGINX)

    def run(self) -> None:
        """Roll out. Raises ``RolloutError``; the old Nginx then serves, unless the text says otherwise."""
        if self._options.dry_run:
            self._show_plan()
            return
        old = self._settle()
        if self._options.source == "build":
            with self._progress.step(f"build {self._service.image}"):
                self._build()
        with self._progress.step("create a container of the new version and test its configuration"):
            new = self._create(old)
        if new.version == old.version:
            with self._progress.step("neither image nor environment differ: reload"):
                self._engine.remove([new])
                self._reload(old)
            return
        with self._progress.step(f"stop the old container ({_STOP_SECONDS} s at most), start the new one"):
            self._replace(old, new)
        with self._progress.step("remove the old container"):
            self._engine.remove([old])

    def _settle(self) -> Container:
        """Return the one that serves, after clearing up what an interrupted run left."""
        containers = self._engine.containers(self._service)
        if not containers:
            raise RolloutError(f"no container of {NGINX} exists: start the stack first (make up)")
        serving = next((each for each in containers if each.alive), containers[0])
        if not serving.alive:
            self._progress.note(f"undo an interrupted rollout: start {serving.name}")
            self._engine.start([serving])
        if leftover := [each for each in containers if each.id != serving.id]:
            self._discard(leftover)
        return serving

    def _build(self) -> None:
        try:
            self._engine.build(self._service)
        except EngineError as error:
            raise RolloutError(f"the image does not build, the old Nginx serves: {error}") from error

    def _create(self, old: Container) -> Container:
        try:
            self._engine.create_beside(self._service, 2)
            self._engine.try_in(self._service, "greendock", "check")
        except (EngineError, KeyboardInterrupt) as error:
            self._undo(old)
            reason = "interrupted" if isinstance(error, KeyboardInterrupt) else str(error)
            raise RolloutError(f"the new Nginx cannot be used, the old one serves: {reason}") from error
        return next(each for each in self._engine.containers(self._service) if each.id != old.id)

    def _reload(self, old: Container) -> None:
        try:
            Proxy(self._engine, old).reload()
        except EngineError as error:
            raise RolloutError(f"Nginx goes on with its former configuration: {error}") from error

    def _replace(self, old: Container, new: Container) -> None:
        try:
            self._engine.stop([old], _STOP_SECONDS)
            self._engine.start([new])
            wait_healthy(self._engine, self._progress, lambda: self._only(new), self._options.timeout)
        except (EngineError, RolloutError, KeyboardInterrupt) as error:
            reason = "interrupted" if isinstance(error, KeyboardInterrupt) else str(error)
            self._progress.note("roll back")
            self._engine.stop([new], _STOP_SECONDS)
            self._engine.start([old])
            self._undo(old)
            raise RolloutError(f"the new Nginx does not serve, the old one does again: {reason}") from error

    def _only(self, container: Container) -> list[Container]:
        return [each for each in self._engine.containers(self._service) if each.id == container.id]

    def _undo(self, old: Container) -> None:
        self._engine.tag(old.image, self._service.image)
        if leftover := [each for each in self._engine.containers(self._service) if each.id != old.id]:
            self._discard(leftover)

    def _discard(self, containers: list[Container]) -> None:
        self._engine.stop(containers, _STOP_SECONDS)
        self._engine.remove(containers)

    def _show_plan(self) -> None:
        steps = [
            f"build {self._service.image}",
            "create a container of the new version and test its configuration",
            "reload, when neither image nor environment differ; else",
            f"stop the old container ({_STOP_SECONDS} s at most), start the new one; go back if it fails",
            "remove the old container",
        ]
        for number, step in enumerate(steps, 1):
            self._progress.note(f"{number}. {step}")
