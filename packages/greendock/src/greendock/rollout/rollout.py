"""The rollout of the application: new replicas beside the old, then Nginx, then the old ones go."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from greendock.rollout import dotenv
from greendock.rollout.engine import Container, Engine, EngineError
from greendock.rollout.generations import Generations, split
from greendock.rollout.progress import Progress
from greendock.rollout.proxy import Proxy
from greendock.rollout.waiting import RolloutError, wait_healthy
from greendock.rollout.workers import Workers

APP = "app"
NGINX = "nginx"
RELEASE = "release"
_RELEASE_COMMAND = "GREENDOCK_RELEASE_COMMAND"
# New replicas that never served need no drain.
_UNDO_SECONDS = 10


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
        self._services = engine.services()
        if APP not in self._services:
            raise EngineError(f"the Compose file has no service {APP}")
        self._service = self._services[APP]
        self._proxy = find_proxy(engine)
        alike = [each for each in self._services.values() if each.image == self._service.image]
        self._workers = Workers(
            engine, progress, [each for each in alike if each.name not in (APP, RELEASE)], options.timeout
        )

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
            self._read_dotenv()
            self._release()
            new = self._bring_up(old)
        except BaseException as error:
            raise self._undo(error, before) from error
        self._retire(old, new)
        self._workers.replace()

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

    def _read_dotenv(self) -> None:
        if self._options.source == "build" and not dotenv.means_the_same_inside(self._engine.folder):
            raise RolloutError("a value in .env would be another one in the containers")

    def _release(self) -> None:
        """Run the release command in a container of the new image, if there is one.

        The way back has none: what an older version would do to a newer database is nothing, or wrong.
        """
        if not self._releases:
            return
        with self._step("run the release command in a container of the new image"):
            try:
                self._engine.run_once(self._services[RELEASE])
            except EngineError as error:
                raise RolloutError(f"the release command failed: {error}") from error

    def _forget_release(self) -> None:
        """Remove the container that `docker compose up` once ran the release command in, when its image is another.

        Compose would replace it at the next `up`, and with it every service that depends on it.
        """
        if service := self._services.get(RELEASE):
            image = self._engine.image_id(service.image)
            stale = [each for each in self._engine.containers(service) if each.image != image and not each.alive]
            if stale:
                self._engine.remove(stale)

    @property
    def _releases(self) -> bool:
        service = self._services.get(RELEASE)
        return (
            service is not None
            and bool(service.environment.get(_RELEASE_COMMAND))
            and self._options.source != "previous"
        )

    def _bring_up(self, old: Sequence[Container]) -> list[Container]:
        count, known = len(old), {container.id for container in old}
        with self._step(f"point Nginx at the {_replicas(count)} that run, so that new ones get nothing yet"):
            self._proxy.point_at([each for each in old if each.status == "running"] or old, wait=False)
        with self._step(f"start {_replicas(count)} of the new version beside the old"):
            self._forget_release()
            self._engine.create_beside(self._service, 2 * count)
            self._engine.start([each for each in self._all() if each.id not in known])
        with self._step(f"wait until healthy, {self._options.timeout:g} s at most"):
            new = wait_healthy(
                self._engine,
                self._progress,
                lambda: [each for each in self._all() if each.id not in known],
                self._options.timeout,
            )
        with self._step("point Nginx at the new ones and wait until nothing uses the old"):
            self._proxy.point_at(new, wait=True)
        return new

    def _all(self) -> list[Container]:
        return self._engine.containers(self._service)

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
            self._forget_release()
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
            *(["run the release command in a container of the new image"] if self._releases else []),
            f"point Nginx at {names}",
            f"start {_replicas(count)} of the new version beside the old",
            f"wait until healthy, {self._options.timeout:g} s at most; else remove them again",
            "point Nginx at the new ones and wait until nothing uses the old",
            f"name the old image {self._previous}; drain, stop and remove {names}",
            f"let Nginx follow {self._proxy.default} again",
            *self._workers.plan(),
        ]
        for number, step in enumerate(steps, 1):
            note(f"{number}. {step}")

    def _step(self, title: str) -> Progress:
        return self._progress.step(title)


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
