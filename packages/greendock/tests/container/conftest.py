"""Fixtures for container tests. Without an engine they are skipped on a developer's machine and fail in CI."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.container.support import REQUIRED, Stack, docker, engine_problem
from tests.support import ROOT


@pytest.fixture(scope="session", autouse=True)
def engine() -> None:
    problem = engine_problem()
    if problem and REQUIRED:
        pytest.fail(f"container tests must run here: {problem}", pytrace=False)
    if problem:
        pytest.skip(problem)


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    """A stack that is not up yet."""
    stack = Stack(tmp_path / "checkout")
    try:
        yield stack
    finally:
        stack.down()


@pytest.fixture(scope="session")
def image() -> Iterator[str]:
    """The application's image."""
    name = f"greendock-test:{uuid.uuid4().hex[:10]}"
    docker("build", "--quiet", "--tag", name, str(ROOT))
    yield name
    docker("image", "rm", name, check=False)


@pytest.fixture(scope="session")
def proxy_image() -> Iterator[str]:
    """The proxy's image."""
    name = f"greendock-test-nginx:{uuid.uuid4().hex[:10]}"
    docker("build", "--quiet", "--target", "nginx", "--tag", name, str(ROOT))
    yield name
    docker("image", "rm", name, check=False)


@pytest.fixture
def run(image: str) -> Iterator[Callable[..., str]]:
    """Start a container of the application's image: ``run("--cpus", "1", command=[…])`` returns its id."""
    with ExitStack() as stack:

        def start(*options: str, command: tuple[str, ...] = ()) -> str:
            hardened = ("--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--init")
            tmpfs = ("--tmpfs", "/run/greendock:uid=10001,gid=10001,mode=0700", "--tmpfs", "/tmp")  # noqa: S108
            drain = ("--env", "GREENDOCK_DRAIN_SECONDS=0")
            container = docker("run", "--detach", *hardened, *tmpfs, *drain, *options, image, *command).stdout.strip()
            stack.callback(docker, "rm", "--force", "--volumes", container, check=False)
            return container

        yield start
