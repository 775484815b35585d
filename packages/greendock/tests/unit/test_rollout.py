"""What a rollout decides without an engine: which containers serve, which go, which are hopeless."""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path

import pytest

from greendock.rollout import cli
from greendock.rollout.answers import Answers, count
from greendock.rollout.engine import Container, Engine, Service
from greendock.rollout.generations import Generations, split
from greendock.rollout.judging import Judge
from greendock.rollout.progress import Progress
from greendock.rollout.proxy import serving_proxy
from greendock.rollout.waiting import RolloutError, hopeless
from greendock.testing.load import Result, table


def container(number: int, image: str = "old", status: str = "running", health: str = "healthy") -> Container:
    """Return a container at 10.0.0.<number>."""
    return Container(
        id=f"id{number}",
        name=f"site-app-{number}",
        number=number,
        image=image,
        config_hash="same",
        status=status,
        health=health,
        addresses={"site_default": f"10.0.0.{number}"},
    )


def seen(*containers: Container, pinned: tuple[int, ...] = ()) -> tuple[list[int], list[int], bool]:
    """Return the numbers of those that serve and of those left over, and whether to finish."""
    found: Generations = split(
        containers, [f"10.0.0.{number}:8000" for number in pinned], lambda each: f"10.0.0.{each.number}:8000"
    )
    return [each.number for each in found.serving], [each.number for each in found.leftover], found.finished


def test_all_replicas_of_one_version_serve() -> None:
    assert seen(container(1), container(2), container(3)) == ([1, 2, 3], [], False)


def test_replicas_that_are_not_healthy_count_as_well() -> None:
    assert seen(container(1), container(2, status="restarting", health="starting")) == ([1, 2], [], False)


def test_killed_before_the_switch_is_undone() -> None:
    assert seen(container(1), container(2, "new", health="starting"), pinned=(1,)) == ([1], [2], False)


def test_killed_after_the_switch_is_finished() -> None:
    assert seen(container(1), container(2, "new"), pinned=(2,)) == ([2], [1], True)


def test_killed_while_the_old_ones_were_removed_is_finished() -> None:
    assert seen(
        container(1, status="exited"), container(2), container(3, "new"), container(4, "new"), pinned=(3, 4)
    ) == (
        [3, 4],
        [1, 2],
        True,
    )


def test_the_same_version_is_told_apart_by_where_nginx_points() -> None:
    assert seen(container(1), container(2), container(3), container(4), pinned=(3, 4)) == ([3, 4], [1, 2], True)


def test_a_replica_that_came_back_at_another_address_stays_with_its_generation() -> None:
    # The pin names the address that number 2 had before it crashed.
    assert seen(container(1), container(2), container(3, "new"), container(4, "new"), pinned=(1, 99)) == (
        [1, 2],
        [3, 4],
        False,
    )


def test_after_a_restart_of_the_engine_a_complete_new_generation_takes_over() -> None:
    assert seen(container(1), container(2, "new")) == ([2], [1], True)


def test_after_a_restart_of_the_engine_a_new_generation_that_is_not_healthy_goes() -> None:
    assert seen(container(1), container(2, "new", health="unhealthy")) == ([1], [2], False)


def test_after_a_restart_of_the_engine_an_incomplete_new_generation_goes() -> None:
    assert seen(container(1), container(2), container(3, "new")) == ([1, 2], [3], False)


def test_nothing_running_means_nothing_serves() -> None:
    assert seen(container(1, status="exited")) == ([], [1], False)


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        ({"status": "running", "health": "starting"}, None),
        ({"status": "running", "health": "healthy"}, None),
        ({"status": "running", "health": ""}, "has no healthcheck"),
        ({"status": "exited", "health": "starting"}, "has ended (exit code 0)"),
        ({"status": "running", "health": "unhealthy"}, "is unhealthy ()"),
    ],
)
def test_waiting_ends_early_where_it_is_in_vain(state: dict[str, str], reason: str | None) -> None:
    assert hopeless(container(1, **state)) == reason


@pytest.fixture
def no_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A project on a machine without ``docker``."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))


@pytest.mark.usefixtures("no_engine")
@pytest.mark.parametrize("arguments", [[], ["--nginx"], ["--back"], ["--dry-run"]])
def test_without_an_engine_one_sentence_says_so(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(arguments) == 1
    assert capsys.readouterr().err == "rollout: docker cannot be run: No such file or directory\n"


@pytest.mark.usefixtures("no_engine")
def test_two_runs_at_once_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(other, fcntl.LOCK_EX)
    try:
        assert cli.main([]) == 1
        assert "another rollout of this project is under way" in capsys.readouterr().err
    finally:
        os.close(other)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--nginx", "--back"],
        ["--nginx", "--canary", "10%"],
        ["--nginx", "--app"],
        ["--canary", "0%"],
        ["--canary", "100%"],
        ["--canary", "few"],
        ["--canary", "10%", "--promote"],
    ],
)
def test_what_contradicts_itself_is_a_wrong_command_line(arguments: list[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        cli.main(arguments)


def entry(status: int, address: str) -> str:
    return json.dumps({"http.response.status_code": status, "nginx.upstream.address": address})


def test_answers_are_counted_by_the_replica_that_gave_the_last_one() -> None:
    log = [
        entry(200, "10.0.0.1:8000"),
        entry(500, "10.0.0.1:8000, 10.0.0.2:8000"),
        entry(503, ""),
        "2026/11/21 18:00:00 [error] 7#7: no line of the access log",
        "{cut off",
        '{"level": "info"}',
    ]
    assert count(log, ["10.0.0.1:8000"]) == Answers(1, 0)
    assert count(log, ["10.0.0.2:8000"]) == Answers(1, 1)
    assert count(log) == Answers(3, 2)


@pytest.mark.parametrize(
    ("new", "old", "worse"),
    [
        (Answers(0, 0), Answers(0, 0), False),
        (Answers(2, 2), Answers(100, 0), False),
        (Answers(3, 3), Answers(0, 0), True),
        (Answers(1000, 20), Answers(1000, 0), False),
        (Answers(1000, 21), Answers(1000, 0), True),
        (Answers(100, 50), Answers(100, 49), False),
    ],
)
def test_a_version_is_worse_by_three_failures_and_two_points(new: Answers, old: Answers, worse: bool) -> None:
    assert new.worse_than(old) is worse


@pytest.mark.parametrize(
    ("containers", "serving"),
    [
        ([], None),
        ([container(1)], 1),
        ([container(1), container(2, status="created", health="")], 1),
        ([container(1), container(2, health="starting")], 1),
        ([container(1), container(2)], 2),
        ([container(1, status="exited"), container(2)], 2),
        ([container(1, health="unhealthy")], 1),
        ([container(1, status="exited")], 1),
    ],
)
def test_of_two_nginx_the_newer_stays_where_it_is_healthy(containers: list[Container], serving: int | None) -> None:
    stays = serving_proxy(containers)
    assert (stays and stays.number) == serving


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("GREENDOCK_ROLLOUT_CHECK", "healthz", "accepted: a path"),
        ("GREENDOCK_ROLLOUT_WATCH", "long", "accepted: a number of seconds"),
    ],
)
def test_a_wrong_setting_is_named_before_anything_changes(name: str, value: str, said: str) -> None:
    service = Service("site", "app", "app:latest", {name: value})
    with pytest.raises(RolloutError, match=f"{name}={value}: {said}"):
        Judge(Engine(Path()), Progress(), service)


def test_a_load_table_shows_each_outcome() -> None:
    result = Result(p99=0.0123)
    result.outcomes.update({"200": 9, "502": 1})
    assert table([("GET", result)]).endswith("| GET | 10 | 1 | – | 12 | – | 200: 9, 502: 1 |")
