"""Other frameworks run with the settings that the examples name."""

from __future__ import annotations

import shutil
import signal
import sys
from pathlib import Path

import pytest

from tests.support import ROOT, Server, wait_for


@pytest.mark.parametrize(
    ("example", "environment"),
    [
        ("django", {"APP_MODULE": "app.main:application"}),
        ("fastapi", {"APP_MODULE": "app.main:app", "GUNICORN_WORKER_CLASS": "asgi"}),
    ],
)
def test_the_example_is_served(tmp_path: Path, example: str, environment: dict[str, str]) -> None:
    shutil.copytree(ROOT / "examples" / example / "app", tmp_path / "app")
    server = Server(tmp_path, **environment)
    try:
        server.start().wait_ready("2/2")
        assert (
            server.get() == (200, f'{{"framework":"{example}"}}') or server.get()[1] == f'{{"framework": "{example}"}}'
        )
    finally:
        server.close()


def test_the_sample_run_as_a_module_is_ready_reloads_and_stops_as_under_the_command_line(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "app", tmp_path / "app")
    server = Server(tmp_path, (sys.executable, "-m", "app"), APP_MODULE="app.main:app")
    try:
        server.start().wait_ready("2/2")
        before = set(server.workers())
        assert server.get("/livez") == (200, "ok\n")
        server.signal(signal.SIGHUP)
        wait_for(lambda: not before & set(server.workers()), "new workers")
        server.wait_ready("2/2")
        server.signal(signal.SIGTERM)
        assert server.wait_exit() == 0
    finally:
        server.close()
