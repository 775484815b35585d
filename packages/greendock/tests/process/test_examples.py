"""The plugin packages in ``examples/``, installed for real and used with the Flask sample."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import ROOT, Server, clean_environment, greendock

Serve = Callable[..., Server]
PACKAGES = ("warm-up", "server-timing", "logfmt")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the packages as a user does, into a folder that is put on the path."""
    # A copy: building leaves files behind.
    source = shutil.copytree(ROOT / "examples", tmp_path_factory.mktemp("examples"), dirs_exist_ok=True)
    target = tmp_path_factory.mktemp("installed")
    command = [str(ROOT / "scripts" / "uv"), "pip", "install", "--quiet", "--python", sys.executable]
    # Without dependencies: Gunicorn is here, and must not be installed once more.
    command += ["--no-deps", "--target", str(target), *(str(source / name) for name in PACKAGES)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return target


@pytest.fixture
def sample(serve: Serve, installed: Path) -> Callable[..., Server]:
    """Start the Flask sample with the packages on its path."""

    def start(**environment: str) -> Server:
        path = os.pathsep.join([str(installed), str(ROOT)])
        return serve("", APP_MODULE="app.main:app", PYTHONPATH=path, WEB_CONCURRENCY="1", **environment)

    return start


def test_each_packages_own_tests_pass(installed: Path) -> None:
    tests = [str(ROOT / "examples" / name / "tests") for name in PACKAGES]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--import-mode=importlib", *tests],
        cwd=installed,
        env=clean_environment(PYTHONPATH=str(installed), PYTHONDONTWRITEBYTECODE="1"),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_greendock_plugins_lists_them_with_package_and_version(installed: Path, tmp_path: Path) -> None:
    environment = {"GREENDOCK_PLUGINS": "warm-up", "GUNICORN_LOGGER_CLASS": "logfmt", "PYTHONPATH": str(installed)}
    done = greendock("plugins", "--format", "json", cwd=tmp_path, **environment)
    rows = {row["name"]: row for row in json.loads(done.stdout)}
    assert {name: (rows[name]["kind"], rows[name]["package"], rows[name]["enabled"]) for name in PACKAGES} == {
        "warm-up": ("server", "greendock-warm-up 1.0.0", "enabled"),
        "server-timing": ("HTTP handler", "greendock-server-timing 1.0.0", ""),
        "logfmt": ("log handler", "greendock-logfmt 1.0.0", "enabled"),
    }


def test_all_three_kinds_work_together_with_the_flask_sample(sample: Callable[..., Server]) -> None:
    server = sample(
        GREENDOCK_PLUGINS="warm-up",
        GREENDOCK_WARM_UP_PATHS="/,/status.json",
        GUNICORN_WORKER_CLASS="server-timing",
        GUNICORN_LOGGER_CLASS="logfmt",
        GUNICORN_ACCESSLOG="-",
    )
    assert "Warmed up: / 200 OK" in server.log
    assert "Warmed up: /status.json 200 OK" in server.log
    assert json.loads(server.get("/status.json")[1])["service"] == "greendock sample"
    server.wait_log("method=GET path=/status.json status=200 ")
    with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/livez") as answer:
        assert re.fullmatch(r"app;dur=\d+\.\d", answer.headers["Server-Timing"])


def test_a_plugins_own_check_is_part_of_the_one_report(sample: Callable[..., Server], installed: Path) -> None:
    done = greendock(
        "check",
        GREENDOCK_PLUGINS="warm-up",
        GREENDOCK_WARM_UP_PATHS="index",
        GUNICORN_TIMEOUT="soon",
        PYTHONPATH=str(installed),
    )
    assert done.returncode == 2
    assert "GREENDOCK_WARM_UP_PATHS: index does not start with /" in done.stderr
    assert "GUNICORN_TIMEOUT='soon'" in done.stderr
