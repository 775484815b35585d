"""Which containers are the old version and which the new: derived from what runs, never from a file of our own.

An interrupted rollout leaves two generations side by side. The one that Nginx is pointed at serves; the other has never
been used, or is used no more. Only when the engine or Nginx was restarted in between does Nginx follow DNS again and
reach both; then Compose's own notion of a version tells them apart.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from greendock.rollout.engine import Container


@dataclass(frozen=True)
class Generations:
    """``serving`` stays; ``leftover`` is what an interrupted rollout left behind, stopped containers included."""

    serving: list[Container]
    leftover: list[Container]

    @property
    def finished(self) -> bool:
        """Whether the interrupted rollout had got as far as the switch: the newer containers serve."""
        old = [container.number for container in self.leftover]
        return bool(old) and bool(self.serving) and max(old) < min(each.number for each in self.serving)


def split(containers: Sequence[Container], pinned: Sequence[str], address: Callable[[Container], str]) -> Generations:
    """Tell the serving containers from leftovers. ``pinned``: where Nginx is pointed at explicitly, if anywhere."""
    alive = [container for container in containers if container.alive]
    serving = _pointed_at(alive, pinned, address) or _complete(alive)
    kept = {container.id for container in serving}
    return Generations(serving, [container for container in containers if container.id not in kept])


def _pointed_at(
    alive: Sequence[Container], pinned: Sequence[str], address: Callable[[Container], str]
) -> list[Container]:
    hit = [container for container in alive if container.status == "running" and address(container) in pinned]
    # One that crashed and came back has another address; it still belongs to its generation.
    versions = {container.version for container in hit}
    kin = [container for container in alive if container.version in versions]
    return hit if len(kin) == len(alive) else kin


def _complete(alive: Sequence[Container]) -> list[Container]:
    """Return the newer generation if it could take over, else the older; all when they are of one version."""
    if not alive:
        return []
    newest = alive[-1].version
    new = [container for container in alive if container.version == newest]
    old = [container for container in alive if container.version != newest]
    if old and not (all(container.healthy for container in new) and len(new) >= len(old)):
        return old
    return new
