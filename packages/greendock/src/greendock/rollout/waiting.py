"""Waiting until new containers are healthy, and knowing when that is in vain."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from greendock.rollout.engine import Container, Engine
from greendock.rollout.progress import Progress

_POLL = 0.5
_LOG_LINES = 20
# A container that has ended this often by itself will not become healthy.
_RESTARTS = 3


class RolloutError(Exception):
    """The rollout did not happen, or not in full; the text is one sentence that says what serves now."""


def wait_healthy(
    engine: Engine, progress: Progress, look: Callable[[], Sequence[Container]], timeout: float
) -> list[Container]:
    """Return the containers that ``look`` finds as soon as all are healthy.

    Raises ``RolloutError`` after ``timeout`` seconds, or when waiting is in vain; the end of the log is then shown.
    """
    deadline = time.monotonic() + timeout
    while True:
        new = list(look())
        if new and all(container.healthy for container in new):
            return new
        for container in new:
            if reason := hopeless(container):
                raise _never_healthy(engine, progress, container, reason)
        if time.monotonic() > deadline:
            last = next((each for each in new if not each.healthy), None)
            if last is None:
                raise RolloutError("the new replicas are gone")
            said = f" ({last.last_check})" if last.last_check else ""
            raise _never_healthy(engine, progress, last, f"not healthy after {timeout:g} s{said}")
        progress.detail(f"{sum(container.healthy for container in new)} of {len(new)} healthy")
        time.sleep(_POLL)


def _never_healthy(engine: Engine, progress: Progress, container: Container, reason: str) -> RolloutError:
    progress.quote(f"the end of {container.name}'s log", engine.last_lines(container, _LOG_LINES))
    return RolloutError(f"the new version does not become healthy: {container.name} {reason}")


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
