"""``greendock up``, with a stand-in for Docker on PATH."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.support import clean_environment


class Docker:
    """A ``docker`` of the test's own: what each command prints, whether ``up`` succeeds, and what was called."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.calls = folder, folder / "calls"
        self.calls.touch()

    def program(self, *, succeeds: bool, containers: list[dict[str, object]]) -> None:
        (self.folder / "listed").write_text(json.dumps(containers))
        ids = " ".join(str(container["Id"]) for container in containers)
        path = self.folder / "docker"
        path.write_text(
            f"""#!/bin/sh
echo "$*" >>"{self.calls}"
case "$*" in
"compose up "*) exit {0 if succeeds else 1} ;;
"compose ps "*) echo {ids} ;;
"compose port port 9090") echo 127.0.0.1:18080 ;;
"compose config --environment") echo NGINX_HTTP_PORT=9090 ;;
info*) echo 2026-01-01T12:00:00Z ;;
inspect*) cat "{self.folder}/listed" ;;
logs*) echo "it cannot import app" ;;
esac
"""
        )
        path.chmod(0o755)

    def up(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        environment = clean_environment()
        environment["PATH"] = f"{self.folder}{os.pathsep}{environment['PATH']}"
        return subprocess.run(
            ["greendock", "up", *arguments],
            cwd=self.folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def called(self, prefix: str) -> list[str]:
        return [line for line in self.calls.read_text().splitlines() if line.startswith(prefix)]


@pytest.fixture
def docker(tmp_path: Path) -> Docker:
    return Docker(tmp_path)


def container(name: str, status: str, health: str = "", error: str = "", code: int = 0) -> dict[str, object]:
    state: dict[str, object] = {"Status": status, "ExitCode": code, "Error": error}
    if health:
        state["Health"] = {"Status": health, "Log": [{"Output": "starting: 0/3 workers booted\n"}]}
    return {"Id": name, "Name": f"/site-{name}-1", "RestartCount": 2, "State": state}


def test_a_stack_that_becomes_healthy_is_named_by_its_address(docker: Docker) -> None:
    docker.program(succeeds=True, containers=[])
    result = docker.up("--no-build")
    assert (result.returncode, result.stderr) == (0, "up: ready at http://localhost:18080/\n")
    assert docker.called("compose up")[0].endswith("--wait-timeout 120 --no-build")


def test_what_does_not_become_healthy_is_shown_and_stopped(docker: Docker) -> None:
    taken = "driver failed: Bind for 0.0.0.0:8080 failed: port is already allocated"
    docker.program(
        succeeds=False,
        containers=[
            container("app", "running", "unhealthy"),
            container("nginx", "created", error=taken),
            container("release", "exited"),
            container("db", "running", "healthy"),
        ],
    )
    result = docker.up()
    assert result.returncode == 1
    shown = "up: /site-app-1: running, exit code 0, 2 restarts, unhealthy (starting: 0/3 workers booted)"
    assert shown in result.stderr
    assert "it cannot import app" in result.stderr
    assert "the port is taken" in result.stderr
    assert "site-release" not in result.stderr
    # The database was healthy before: it is left as it was. The first is for the app that was unhealthy before.
    assert docker.called("stop") == ["stop app", "stop app", "stop nginx", "stop release"]


def test_a_verdict_on_the_start_before_is_not_told(docker: Docker) -> None:
    app = container("app", "exited", "unhealthy", code=3)
    state = dict(app["State"])  # type: ignore[call-overload]
    state["StartedAt"] = "2026-01-01T12:00:05.123456789Z"
    checks = {"13:00:00.5+01:00": "the old verdict", "13:00:06.123456789+01:00": "the new one"}
    state["Health"]["Log"] = [{"Start": f"2026-01-01T{start}", "Output": said} for start, said in checks.items()]
    docker.program(succeeds=False, containers=[app | {"State": state}])
    assert "(the new one)" in docker.up().stderr
    state["Health"]["Log"].pop()
    docker.program(succeeds=False, containers=[app | {"State": state}])
    assert "verdict" not in docker.up().stderr


def test_the_verdict_and_the_words_of_the_time_before_are_not_those_of_this_start(docker: Docker) -> None:
    """Compose gives up at once on a container that has been unhealthy, though what it lacked may be there by now."""
    docker.program(succeeds=False, containers=[container("app", "running", "unhealthy"), container("db", "running")])
    assert "/site-app-1 has been unhealthy and is started again" in docker.up().stderr
    calls = docker.calls.read_text().splitlines()
    up = next(number for number, call in enumerate(calls) if call.startswith("compose up"))
    assert [call for call in calls[:up] if call.startswith("stop")] == ["stop app"]
    assert "logs --tail 80 --since 2026-01-01T12:00:00Z app" in calls[up:]


def test_without_docker_one_sentence_says_so(tmp_path: Path) -> None:
    environment = clean_environment()
    greendock = Path(environment["PATH"].split(os.pathsep)[0]) / "greendock"
    result = subprocess.run(
        [greendock, "up"], env=environment | {"PATH": str(tmp_path)}, capture_output=True, text=True, check=False
    )
    assert result.returncode == 1
    assert result.stderr.startswith("up: docker: No such file or directory")
    assert len(result.stderr.splitlines()) == 1
