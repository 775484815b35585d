"""What a rollout does with workers when a step of it fails: decided on an engine that only remembers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import cast

import pytest

from greendock.rollout.engine import Container, Engine, Service
from greendock.rollout.progress import Progress
from greendock.rollout.waiting import RolloutError
from greendock.rollout.workers import Workers

WORKER = Service("site", "worker", "site-app:latest")


class Remembered:
    """Containers by state; new ones are of image ``new`` and, when ``broken``, end at once."""

    def __init__(self, *containers: Container, broken: bool = False) -> None:
        self.list = list(containers)
        self.broken = broken
        self.calls: list[str] = []

    def containers(self, _service: Service) -> list[Container]:
        return list(self.list)

    def create_beside(self, _service: Service, total: int) -> None:
        self.calls.append("create")
        while len(self.list) < total:
            self.list.append(container(1 + max((each.number for each in self.list), default=0), "new", "created"))

    def start(self, containers: Sequence[Container]) -> None:
        self._change("start", containers, "running", "healthy")

    def stop(self, containers: Sequence[Container], _seconds: int | None = None) -> None:
        self._change("stop", containers, "exited", "")

    def remove(self, containers: Sequence[Container]) -> None:
        self.calls.append(f"remove {_numbers(containers)}")
        gone = {each.id for each in containers}
        self.list = [each for each in self.list if each.id not in gone]

    def last_lines(self, _container: Container, _lines: int) -> str:
        return ""

    def _change(self, verb: str, containers: Sequence[Container], status: str, health: str) -> None:
        self.calls.append(f"{verb} {_numbers(containers)}")
        changed = {each.id for each in containers}
        if self.broken and verb == "start" and any(each.image == "new" for each in containers):
            status, health = "exited", ""
        self.list = [replace(each, status=status, health=health) if each.id in changed else each for each in self.list]


def _numbers(containers: Sequence[Container]) -> str:
    return ",".join(str(each.number) for each in containers)


def container(number: int, image: str = "old", status: str = "running") -> Container:
    health = "healthy" if status == "running" else ""
    return Container(f"id{number}", f"site-worker-{number}", number, image, "same", status, health)


def workers(engine: Remembered) -> Workers:
    return Workers(cast(Engine, engine), Progress(), [WORKER], 5)


def seen(engine: Remembered) -> list[tuple[int, str, str]]:
    return [(each.number, each.image, each.status) for each in engine.list]


def test_the_old_one_has_stopped_before_the_new_one_starts() -> None:
    engine = Remembered(container(1), container(2))
    workers(engine).replace()
    assert engine.calls == ["create", "stop 1,2", "start 3,4", "remove 1,2"]
    assert seen(engine) == [(3, "new", "running"), (4, "new", "running")]


def test_a_new_one_that_ends_is_removed_and_the_old_one_works_again() -> None:
    engine = Remembered(container(1), broken=True)
    with pytest.raises(RolloutError, match="the new version serves, but worker goes on with the old one"):
        workers(engine).replace()
    assert seen(engine) == [(1, "old", "running")]


def test_a_run_that_was_killed_between_stop_and_start_is_made_good() -> None:
    engine = Remembered(container(1, status="exited"), container(2, "new", "created"))
    workers(engine).replace()
    assert seen(engine) == [(3, "new", "running")]


def test_what_an_interrupted_run_never_started_does_not_come_back_beside_the_old_one() -> None:
    engine = Remembered(container(1, status="exited"), container(2, "new", "created"), broken=True)
    with pytest.raises(RolloutError):
        workers(engine).replace()
    assert [each.number for each in engine.list if each.status == "running"] == [1]


def test_a_run_that_was_killed_before_the_stop_leaves_nothing_behind() -> None:
    engine = Remembered(container(1), container(2, "new", "created"))
    workers(engine).replace()
    assert [(image, status) for _, image, status in seen(engine)] == [("new", "running")]


@pytest.mark.parametrize("containers", [(), (container(1, status="exited"),)])
def test_what_does_not_run_is_left_alone(containers: tuple[Container, ...], capsys: pytest.CaptureFixture[str]) -> None:
    engine = Remembered(*containers)
    workers(engine).replace()
    assert engine.calls == []
    assert "worker does not run and is left alone" in capsys.readouterr().err
