"""Gunicorn inside a program: ``python -m app``, and the scripts of docs/hooks-and-plugins.md as given there."""

from __future__ import annotations

import re
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support import ROOT, Server, free_port, wait_for

Start = Callable[..., Server]
DOCUMENT = ROOT / "docs" / "hooks-and-plugins.md"


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start a program that embeds the server: ``start("-m", "app", **environment)``."""
    with ExitStack() as stack:

        def run(*arguments: str, wait: bool = True, **environment: str) -> Server:
            server = Server(
                tmp_path / "server", (sys.executable, *arguments), **({"PYTHONPATH": str(ROOT)} | environment)
            )
            stack.callback(server.close)
            server.start()
            if wait:
                server.wait_ready()
            return server

        yield run


def test_python_m_app_serves_and_says_that_it_is_ready(start: Start) -> None:
    server = start("-m", "app")
    assert server.health()["reason"] == "ready: 2/2 workers"
    assert "greendock sample" in server.get("/status.json")[1]


def test_hup_replaces_the_workers_and_keeps_the_server_ready(start: Start) -> None:
    server = start("-m", "app")
    before = set(server.workers())
    (server.folder / ".env").write_text("GUNICORN_PROC_NAME=renamed\nGUNICORN_MAX_REQUESTS=100000\n")
    server.signal(signal.SIGHUP)
    wait_for(lambda: not before & set(server.workers()) and server.health()["booted"] == 2, "new workers")
    assert server.health()["reason"] == "ready: 2/2 workers"
    assert server.get("/livez")[0] == 200


def test_hup_onto_a_refused_configuration_leaves_the_old_workers_serving(start: Start) -> None:
    server = start("-m", "app")
    before = server.workers()
    (server.folder / ".env").write_text("GUNICORN_TIMEOUT=soon\n")
    server.signal(signal.SIGHUP)
    server.wait_log("Reload failed, the old workers go on")
    assert server.workers() == before
    assert server.get("/livez")[0] == 200


def test_term_says_draining_and_ends_with_status_0(start: Start) -> None:
    server = start("-m", "app", GREENDOCK_DRAIN_SECONDS="2")
    server.signal(signal.SIGTERM)
    wait_for(lambda: server.health()["state"] == "draining", "draining")
    assert server.get("/livez")[0] == 200
    assert server.wait_exit() == 0
    assert not server.ready_file.exists()


def test_a_wrong_configuration_is_one_report_and_no_traceback(start: Start) -> None:
    server = start("-m", "app", wait=False, GUNICORN_TIMEOUT="soon", GUNICORN_ON_EXIT="nowhere:hook")
    assert server.wait_exit() == 2
    assert "2 configuration problems" in server.log
    assert "Traceback" not in server.log


def script(name: str) -> str:
    """Return the document's code block that begins with a comment of this name."""
    found = re.search(rf"```python\n(# {re.escape(name)}\n.*?)```", DOCUMENT.read_text(), re.DOTALL)
    assert found, name
    return found[1]


@pytest.mark.parametrize("name", ["embedded.py", "straight.py"])
def test_the_documents_script_runs_as_given(start: Start, tmp_path: Path, name: str) -> None:
    folder = tmp_path / "server"
    folder.mkdir()
    # The one change: a port that nobody else has.
    port = str(free_port())
    (folder / name).write_text(script(name).replace("127.0.0.1:8000", f"127.0.0.1:{port}"))
    server = start(name, wait=False, GUNICORN_BIND="")
    server.port = int(port)
    server.wait_log(f"listening on ['127.0.0.1:{server.port}']")
    assert "starting with 2 workers" in server.log
    assert server.get() == (200, "hello\n")
    if name == "embedded.py":
        server.wait_ready("2/2")
    else:
        server.wait_log("Booting worker", count=2)
    before = set(server.workers())
    server.signal(signal.SIGHUP)
    wait_for(lambda: len(server.workers()) == 2 and not before & set(server.workers()), "new workers")
    assert server.get() == (200, "hello\n")
    server.signal(signal.SIGTERM)
    assert server.wait_exit() == 0
    assert server.log.count("stopped after serving on") == 1
