"""The rollout of the application: new replicas beside the old, then Nginx, then the old ones go."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from greendock.rollout.engine import Container, Engine, EngineError
from greendock.rollout.generations import Generations, split
from greendock.rollout.progress import Progress
from greendock.rollout.proxy import Proxy

APP = "app"
NGINX = "nginx"
_POLL = 0.5
_LOG_LINES = 20
# A container that has ended this often by itself will not become healthy.
_RESTARTS = 3
# New replicas that never served need no drain.
_UNDO_SECONDS = 10


class RolloutError(Exception):
    """The rollout did not happen, or not in full; the text is one sentence that says what serves now."""


@dataclass(frozen=True)
class Options:
    """``source``: ``build``, ``present`` (the image as it is named now) or ``previous``; ``timeout`` in seconds."""

    source: str = "build"
    timeout: float = 180
    dry_run: bool = False


class Rollout:
    """One run. ``progress`` is told each step."""

    def __init__(self, engine: Engine, progress: Progress, options: Options) -> None:
        self._engine = engine
        self._progress = progress
        self._options = options
        self._service = engine.service(APP)
        self._proxy = find_proxy(engine)

    @property
    def _previous(self) -> str:
        return f"{self._service.image}-previous"

    def run(self) -> None:
        """Roll out. Raises ``RolloutError``; the old version then serves, unless the text says otherwise."""
        generations = self._look()
        old = generations.serving
        if not old:
            raise RolloutError(f"no container of {APP} runs: start the stack first (make up)")
        if self._options.dry_run:
            self._show_plan(generations)
            return
        self._clear(generations)
        before = old[-1].image
        self._take_image()
        try:
            new = self._bring_up(old)
        except BaseException as error:
            raise self._undo(error, before) from error
        self._retire(old, new)

    def _look(self) -> Generations:
        return split(self._engine.containers(self._service), self._proxy.pinned(), self._proxy.address)

    def _take_image(self) -> None:
        """Have the service's image name mean the version to roll out."""
        image = self._service.image
        match self._options.source:
            case "build":
                with self._step(f"build {image}"):
                    try:
                        self._engine.build(self._service)
                    except EngineError as error:
                        raise RolloutError(f"the image does not build, the old version serves: {error}") from error
            case "previous":
                previous = self._engine.image_id(self._previous)
                if previous is None:
                    raise RolloutError(f"there is no {self._previous} to go back to; nothing was changed")
                with self._step(f"take {self._previous}"):
                    self._engine.tag(previous, image)
            case _:
                if self._engine.image_id(image) is None:
                    raise RolloutError(f"there is no image {image}; nothing was changed")

    def _bring_up(self, old: Sequence[Container]) -> list[Container]:
        count, known = len(old), {container.id for container in old}
        with self._step(f"point Nginx at the {_replicas(count)} that run, so that new ones get nothing yet"):
            self._proxy.point_at([each for each in old if each.status == "running"] or old, wait=False)
        with self._step(f"start {_replicas(count)} of the new version beside the old"):
            self._engine.start_beside(self._service, 2 * count)
        with self._step(f"wait until healthy, {self._options.timeout:g} s at most"):
            new = self._wait_healthy(lambda: [each for each in self._all() if each.id not in known])
        with self._step("point Nginx at the new ones and wait until nothing uses the old"):
            self._proxy.point_at(new, wait=True)
        return new

    def _all(self) -> list[Container]:
        return self._engine.containers(self._service)

    def _wait_healthy(self, look: Callable[[], list[Container]]) -> list[Container]:
        deadline = time.monotonic() + self._options.timeout
        while True:
            new = look()
            if new and all(container.healthy for container in new):
                return new
            for container in new:
                if reason := hopeless(container):
                    raise self._never_healthy(container, reason)
            if time.monotonic() > deadline:
                last = next((each for each in new if not each.healthy), None)
                if last is None:
                    raise RolloutError("the new replicas are gone")
                said = f" ({last.last_check})" if last.last_check else ""
                raise self._never_healthy(last, f"not healthy after {self._options.timeout:g} s{said}")
            self._progress.detail(f"{sum(container.healthy for container in new)} of {len(new)} healthy")
            time.sleep(_POLL)

    def _never_healthy(self, container: Container, reason: str) -> RolloutError:
        self._progress.quote(f"the end of {container.name}'s log", self._engine.last_lines(container, _LOG_LINES))
        return RolloutError(f"the new version does not become healthy: {container.name} {reason}")

    def _retire(self, old: Sequence[Container], new: Sequence[Container]) -> None:
        """From here on there is no way back: an old replica may have stopped. What fails is left to the next run."""
        try:
            self._remove_served(old)
            with self._step(f"let Nginx follow {self._proxy.default} again"):
                self._proxy.release(new)
        except (EngineError, KeyboardInterrupt) as error:
            reason = "interrupted" if isinstance(error, KeyboardInterrupt) else error
            raise RolloutError(f"the new version serves, but cleaning up failed (run this again): {reason}") from error

    def _remove_served(self, old: Sequence[Container]) -> None:
        image = old[-1].image
        if image != self._engine.image_id(self._service.image):
            self._engine.tag(image, self._previous)
        with self._step("let the old ones drain and stop; remove them"):
            self._engine.stop(old)
            self._engine.remove(old)

    def _clear(self, generations: Generations) -> None:
        """Finish or undo what an interrupted rollout left behind."""
        pinned = bool(self._proxy.pinned())
        if generations.leftover:
            names = ", ".join(container.name for container in generations.leftover)
            what = "finish" if generations.finished else "undo"
            self._progress.note(f"{what} an interrupted rollout: {names} {_goes(generations.leftover)}")
            if any(container.alive for container in generations.leftover):
                with self._step("point Nginx at the rest and wait until nothing uses them"):
                    self._proxy.point_at(generations.serving, wait=True)
                pinned = True
            if generations.finished:
                self._remove_served(generations.leftover)
            else:
                self._engine.stop(generations.leftover, _UNDO_SECONDS)
                self._engine.remove(generations.leftover)
        if pinned:
            with self._step(f"let Nginx follow {self._proxy.default} again"):
                self._proxy.release(generations.serving)

    def _undo(self, error: BaseException, before: str) -> RolloutError:
        """Have the old version serve as it did; return what to tell. Where that fails too, the next run does it."""
        reason = "interrupted" if isinstance(error, KeyboardInterrupt) else str(error)
        self._progress.note("roll back")
        try:
            generations = self._look()
            self._clear(generations)
            if generations.finished:
                return RolloutError(f"{reason} after the switch; the new version serves")
            self._engine.tag(before, self._service.image)
        except EngineError as second:
            return RolloutError(f"{reason}; rolling back failed as well, run this again to finish it: {second}")
        return RolloutError(f"{reason}; the old version serves")

    def _show_plan(self, generations: Generations) -> None:
        count = len(generations.serving)
        names = ", ".join(container.name for container in generations.serving)
        note = self._progress.note
        if generations.leftover:
            left = ", ".join(container.name for container in generations.leftover)
            note(f"{'finish' if generations.finished else 'undo'} an interrupted rollout: remove {left}")
        source = {"build": f"build {self._service.image}", "previous": f"take {self._previous}"}
        steps = [
            source.get(self._options.source, f"take {self._service.image} as it is"),
            f"point Nginx at {names}",
            f"start {_replicas(count)} of the new version beside the old",
            f"wait until healthy, {self._options.timeout:g} s at most; else remove them again",
            "point Nginx at the new ones and wait until nothing uses the old",
            f"name the old image {self._previous}; drain, stop and remove {names}",
            f"let Nginx follow {self._proxy.default} again",
        ]
        for number, step in enumerate(steps, 1):
            note(f"{number}. {step}")

    def _step(self, title: str) -> Progress:
        return self._progress.step(title)


def hopeless(container: Container) -> str | None:
    """Return why a new container is not going to become healthy, or ``None`` while it may."""
    if container.restarts >= _RESTARTS:
        return f"has ended {container.restarts} times"
    if container.status in ("exited", "dead"):
        return f"has ended (exit code {container.exit_code})"
    if container.status == "running" and not container.health:
        return "has no healthcheck"
    if container.health == "unhealthy":
        return f"is unhealthy ({container.last_check})"
    return None


def find_proxy(engine: Engine) -> Proxy:
    """Return the project's running Nginx. Raises ``RolloutError``."""
    running = [each for each in engine.containers(engine.service(NGINX)) if each.status == "running"]
    if len(running) != 1:
        raise RolloutError(f"{len(running)} containers of {NGINX} run, one is needed: start the stack first (make up)")
    return Proxy(engine, running[0])


def _replicas(count: int) -> str:
    return "1 replica" if count == 1 else f"{count} replicas"


def _goes(containers: Sequence[Container]) -> str:
    return "goes" if len(containers) == 1 else "go"
