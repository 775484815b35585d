"""Fixtures for tests with a real engine."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest


@pytest.fixture(scope="session")
def engine() -> None:
    """Need a container engine with Compose; `make test-container` does not allow to go without."""
    found = shutil.which("docker") and subprocess.run(["docker", "info"], capture_output=True, check=False)
    if not found or found.returncode != 0:
        if os.environ.get("GREENDOCK_REQUIRE_ENGINE"):
            pytest.fail("no container engine answers")
        pytest.skip("no container engine answers")
