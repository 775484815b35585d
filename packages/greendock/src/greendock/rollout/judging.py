"""Whether a new version may serve, and may go on serving: one question before the switch, a comparison after it."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence

from greendock.rollout.answers import Answers, count
from greendock.rollout.engine import Container, Engine, EngineError, Service
from greendock.rollout.progress import Progress
from greendock.rollout.proxy import Proxy
from greendock.rollout.waiting import RolloutError

_CHECK = "GREENDOCK_ROLLOUT_CHECK"
_WATCH = "GREENDOCK_ROLLOUT_WATCH"
_OFF = "off"
# What counts as before.
_BEFORE = 60.0
_POLL = 1.0


class Judge:
    """``service``: the application, whose settings say what is asked and for how long (in seconds) is watched.

    Raises ``RolloutError`` for a setting that is none.
    """

    def __init__(self, engine: Engine, progress: Progress, service: Service) -> None:
        self._engine = engine
        self._progress = progress
        self.path = _setting(service, _CHECK) or "/"
        if self.path != _OFF and not self.path.startswith("/"):
            raise RolloutError(
                f"{_CHECK}={self.path}: accepted: a path such as /healthz, or `off`; nothing was changed"
            )
        seconds = _setting(service, _WATCH) or "10"
        try:
            self.seconds = float(seconds)
        except ValueError:
            raise RolloutError(f"{_WATCH}={seconds}: accepted: a number of seconds; nothing was changed") from None

    def check(self, proxy: Proxy, new: Sequence[Container]) -> None:
        """Ask each new replica as Nginx would. Raises ``RolloutError`` where one answers with 500 or more, or not."""
        if self.path == _OFF:
            return
        with self._progress.step(f"ask each new replica for {self.path}"):
            for container in new:
                try:
                    status = proxy.ask(container, self.path)
                except EngineError as error:
                    raise RolloutError(f"the new version does not answer {self.path}: {error}") from error
                if status >= 500:
                    raise RolloutError(f"the new version answers {self.path} with {status}")
                self._progress.detail(f"{container.name} answers {status}")

    def before(self, proxy: Container, replicas: Sequence[str] | None = None) -> Answers:
        """Return what was answered in the last minute."""
        return self.since(proxy, self._engine.now() - _BEFORE, replicas)

    def since(self, proxy: Container, moment: float, replicas: Sequence[str] | None = None) -> Answers:
        """Return what was answered since ``moment``, in the engine's time."""
        return count(self._engine.log_lines(proxy, moment), replicas)

    def watch(
        self, proxy: Container, before: Answers, replicas: Sequence[str] | None = None, seconds: float | None = None
    ) -> None:
        """Compare what is answered from now on with ``before``. Raises ``RolloutError`` as soon as it is worse."""
        seconds = self.seconds if seconds is None else seconds
        if seconds <= 0:
            return
        moment, deadline = self._engine.now(), time.monotonic() + seconds
        with self._progress.step(f"watch the answers for {seconds:g} s"):
            while (left := deadline - time.monotonic()) > 0:
                time.sleep(min(_POLL, left))
                now = self.since(proxy, moment, replicas)
                if now.worse_than(before):
                    raise RolloutError(f"the new version is worse: {now}; before: {before}")
            self._progress.detail(
                f"{now}; before: {before}" if now.total else "the access log shows no answer to judge"
            )


def _setting(service: Service, name: str) -> str:
    """Return a setting from this shell, or from ``.env`` as Compose has read it."""
    return os.environ.get(name) or service.environment.get(name, "")
