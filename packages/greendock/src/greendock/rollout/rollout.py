"""The rollout of the application: new replicas beside the old, then Nginx, then the old ones go."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum

from greendock.rollout import dotenv
from greendock.rollout.answers import Answers
from greendock.rollout.engine import Container, Engine, EngineError, Service
from greendock.rollout.generations import Generations, split
from greendock.rollout.judging import Judge
from greendock.rollout.progress import Progress
from greendock.rollout.proxy import Proxy, find_proxy
from greendock.rollout.waiting import RolloutError, wait_healthy
from greendock.rollout.workers import Workers

APP = "app"
RELEASE = "release"
_RELEASE_COMMAND = "GREENDOCK_RELEASE_COMMAND"
# New replicas that never served need no drain.
_UNDO_SECONDS = 10


@dataclass(frozen=True)
class Options:
    """What to roll out, and how far.

    ``source``: ``build``, ``present`` (the image as it is named now), ``previous``, or ``canary`` (the one under way);
    ``always``: replace what has not changed as well; ``canary``: the share of requests in percent that the new version
    gets for ``seconds`` before it gets all, or, where that is 0, until somebody decides; ``timeout`` in seconds.
    """

    source: str = "build"
    timeout: float = 180
    dry_run: bool = False
    always: bool = False
    canary: int = 0
    seconds: float = 0


class Outcome(Enum):
    """How a run ended: the new version ``REPLACED`` the old one, was ``UNCHANGED``, or, as a canary, is ``WAITING`` for
    somebody's decision or has ``ENDED``.
    """

    REPLACED = 1
    UNCHANGED = 2
    WAITING = 3
    ENDED = 4


class Rollout:
    """One run. ``progress`` is told each step."""

    def __init__(
        self, engine: Engine, progress: Progress, services: dict[str, Service], judge: Judge, options: Options
    ) -> None:
        self._engine = engine
        self._progress = progress
        self._options = options
        self._services = services
        self._judge = judge
        self._service = services[APP]
        self._proxy = find_proxy(engine)
        alike = [each for each in self._services.values() if each.image == self._service.image]
        self._workers = Workers(
            engine, progress, [each for each in alike if each.name not in (APP, RELEASE)], options.timeout
        )

    @property
    def _previous(self) -> str:
        return f"{self._service.image}-previous"

    def run(self, change_proxy: Callable[[], Container]) -> Outcome:
        """Roll out; return how it ended.

        ``change_proxy`` is called when all requests go to the new version and the old one still runs, and returns the
        Nginx that serves from then on. So a WebSocket, which ends with the old version, comes back to that one.
        Raises ``RolloutError``; the old version then serves, unless the text says otherwise.
        """
        generations = self._look()
        old = generations.serving
        if self._options.source == "canary":
            return self._promote(generations, change_proxy)
        if self._ends_canary(generations):
            return Outcome.ENDED
        self._clear(generations)
        before = old[-1].image
        self._take_image()
        try:
            self._read_dotenv()
            new = self._create(old)
            if not new:
                return Outcome.UNCHANGED
            self._release()
            new = self._start(old, new)
            if self._options.canary and not self._try_share(old, new):
                return Outcome.WAITING
            self._switch(old, new)
        except BaseException as error:
            raise self._undo(error, before) from error
        self._retire(old, new, change_proxy)
        self._workers.replace()
        return Outcome.REPLACED

    def serving_image(self) -> str:
        """Return the image of the version that serves. Raises ``RolloutError`` where none does."""
        serving = self._look().serving
        if not serving:
            raise RolloutError(f"no container of {APP} runs: start the stack first (make up)")
        return serving[-1].image

    def _promote(self, generations: Generations, change_proxy: Callable[[], Container]) -> Outcome:
        """Give the canary all requests."""
        new = self._canaries(generations)
        if not new:
            raise RolloutError("no canary is under way; nothing was changed")
        old = generations.serving
        try:
            self._switch(old, new)
        except BaseException as error:
            raise self._undo(error, old[-1].image) from error
        self._retire([*old, *(each for each in generations.leftover if each not in new)], new, change_proxy)
        self._workers.replace()
        return Outcome.REPLACED

    def _ends_canary(self, generations: Generations) -> bool:
        """With ``--back``: end the canary that is under way, if there is one."""
        if self._options.source != "previous" or not self._canaries(generations):
            return False
        self._clear(generations)
        return True

    def _canaries(self, generations: Generations) -> list[Container]:
        addresses = self._proxy.canaries()
        return [each for each in generations.leftover if each.healthy and self._proxy.address(each) in addresses]

    def _look(self) -> Generations:
        return split(self._engine.containers(self._service), self._proxy.pinned(), self._proxy.address)

    def _take_image(self) -> None:
        """Have the service's image name mean the version to roll out."""
        """Give the previous image its name again, with ``--back``."""
        if self._options.source == "previous":
            previous = self._engine.image_id(self._previous)
            if previous is None:
                raise RolloutError(f"there is no {self._previous} to go back to; nothing was changed")
            with self._step(f"take {self._previous}"):
                self._engine.tag(previous, self._service.image)

    def _read_dotenv(self) -> None:
        if self._options.source != "previous" and not dotenv.means_the_same_inside(self._engine.folder):
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

    def forget_release(self) -> None:
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

    def _create(self, old: Sequence[Container]) -> list[Container]:
        """Create as many replicas of the new version; return them, or none where nothing differs from the old."""
        count, known = len(old), {container.id for container in old}
        with self._step(f"create {_replicas(count)} of the new version"):
            self.forget_release()
            self._engine.create_beside(self._service, 2 * count)
            new = [each for each in self._all() if each.id not in known]
            if not self._options.always and {each.version for each in (*old, *new)} == {old[0].version}:
                self._engine.remove(new)
                new = []
        if not new:
            self._progress.note("neither image nor configuration of the application differ: it stays")
        return new

    def _start(self, old: Sequence[Container], new: Sequence[Container]) -> list[Container]:
        """Start the new replicas while the old ones get all requests, and see what they answer; return them healthy."""
        known = {container.id for container in old}
        with self._step(f"point Nginx at the {_replicas(len(old))} that run, so that new ones get nothing yet"):
            self._proxy.point_at([each for each in old if each.status == "running"] or old, wait=False)
        with self._step(f"start {_replicas(len(new))} of the new version beside the old"):
            self._engine.start(new)
        with self._step(f"wait until healthy, {self._options.timeout:g} s at most"):
            healthy = wait_healthy(
                self._engine,
                self._progress,
                lambda: [each for each in self._all() if each.id not in known],
                self._options.timeout,
            )
        self._judge.check(self._proxy, healthy)
        return healthy

    def _try_share(self, old: Sequence[Container], new: Sequence[Container]) -> bool:
        """Give the new version its share; return whether it proved good, or ``False`` where somebody decides."""
        share, seconds = self._options.canary, self._options.seconds
        with self._step(f"send {share}% of the requests to the new version"):
            self._proxy.point_at(old, wait=False, canaries=new, share=share)
        if not seconds:
            self._progress.note(
                "`--promote` gives it all requests, `--back` none; leave `docker compose up` until then"
            )
            return False
        with self._going_back(old):
            self._judge.watch(self._proxy.container, self._before(old), self._addresses(new), seconds)
        return True

    def _switch(self, old: Sequence[Container], new: Sequence[Container]) -> None:
        """Send all requests to the new replicas; back to the old ones where the answers get worse."""
        before = self._before(old)
        with self._step("point Nginx at the new ones"):
            self._proxy.point_at(new, wait=False)
        with self._going_back(old):
            self._judge.watch(self._proxy.container, before, self._addresses(new))
        with self._step("wait until nothing uses the old"):
            self._proxy.settle()

    @contextmanager
    def _going_back(self, old: Sequence[Container]) -> Iterator[None]:
        try:
            yield
        except RolloutError:
            with self._step("point Nginx back at the old ones and wait until nothing uses the new"):
                self._proxy.point_at(old, wait=True)
            raise

    def _before(self, old: Sequence[Container]) -> Answers:
        return self._judge.before(self._proxy.container, self._addresses(old))

    def _addresses(self, containers: Sequence[Container]) -> list[str]:
        return [self._proxy.address(each) for each in containers]

    def _all(self) -> list[Container]:
        return self._engine.containers(self._service)

    def _retire(
        self, old: Sequence[Container], new: Sequence[Container], change_proxy: Callable[[], Container]
    ) -> None:
        """From here on there is no way back: an old replica may have stopped. What fails is left to the next run."""
        try:
            proxy = Proxy(self._engine, change_proxy())
            if proxy.container.id != self._proxy.container.id:
                self._proxy = proxy
                self._proxy.point_at(new, wait=True)
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
            self.forget_release()
        except EngineError as second:
            return RolloutError(f"{reason}; rolling back failed as well, run this again to finish it: {second}")
        return RolloutError(f"{reason}; the old version serves")

    def plan(self) -> list[str]:
        """Return the steps, for a reader."""
        generations = self._look()
        count = len(generations.serving)
        names = ", ".join(container.name for container in generations.serving)
        left = ", ".join(container.name for container in generations.leftover)
        ended = f"{'finish' if generations.finished else 'undo'} an interrupted rollout: remove {left}"
        watched = f"watch the answers for {self._judge.seconds:g} s; back to the old ones if they are worse"
        shared = f"send {self._options.canary}% of the requests to the new ones; watch the answers"
        return [
            *([ended] if left else []),
            *([f"take {self._previous}"] if self._options.source == "previous" else []),
            f"create {_replicas(count)} of the new version; none, when neither image nor configuration differ",
            *(["run the release command in a container of the new image"] if self._releases else []),
            f"point Nginx at {names}",
            f"start {_replicas(count)} of the new version beside the old",
            f"wait until healthy, {self._options.timeout:g} s at most; else remove them again",
            f"ask each new replica for {self._judge.path}; else remove them again",
            *([shared] if self._options.canary else []),
            f"point Nginx at the new ones; {watched}",
            "wait until nothing uses the old",
            f"name the old image {self._previous}; drain, stop and remove {names}",
            f"let Nginx follow {self._proxy.default} again",
            *self._workers.plan(),
        ]

    def _step(self, title: str) -> Progress:
        return self._progress.step(title)


def _replicas(count: int) -> str:
    return "1 replica" if count == 1 else f"{count} replicas"


def _goes(containers: Sequence[Container]) -> str:
    return "goes" if len(containers) == 1 else "go"
