"""``lean`` on the image's Python; `make test-newest-python` runs the whole of these tests there."""

from __future__ import annotations

import sysconfig

from tests.container.support import docker
from tests.support import ROOT

#: What depends most on Python's version: threads that are ended, forks, a stop.
CHOSEN = "([lean] and (asynchronous or forked)) or exceptions_in_every_thread or from_a_request or told_to_stop"


def test_lean_survives_applications_on_the_newest_python() -> None:
    source = f"{ROOT}/packages/greendock"
    packages = sysconfig.get_path("purelib")  # of another Python: what these tests need has no compiled parts
    docker(
        *("run", "--rm", "--init", "--volume", f"{ROOT}:{ROOT}:ro", "--volume", f"{packages}:{packages}:ro"),
        *("--workdir", source, "--env", "PYTHONDONTWRITEBYTECODE=1", "--env", f"PYTHONPATH={source}/src:{packages}"),
        *("python:3.14-slim", "python3", "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:hypothesispytest"),
        *("--confcutdir", "tests/process/lean", "-k", CHOSEN),
        *("tests/process/lean/test_lean_hostile.py", "tests/process/lean/test_lean_survives.py"),
    )
