"""Settings on real servers: what was printed is what runs, and a reload takes what has changed."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as profile
from hypothesis import strategies as st

from tests.support import DEADLINE, ROOT, Server, clean_environment, greendock, wait_for

Serve = Callable[..., Server]

SHOWS_ENVIRONMENT = """
import os
def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [os.environ.get("COLOUR", "none").encode()]
"""

# Gunicorn's own loader, on the real gunicorn.conf.py, with the values written as `greendock config` writes them.
AS_GUNICORN_HAS_IT = """
import json, sys
from gunicorn.app.wsgiapp import WSGIApplication
from greendock.command import show
config = WSGIApplication("%(prog)s").cfg
json.dump({name: show._plain(setting.get()) for name, setting in config.settings.items()}, sys.stdout)
"""
VALUES = {
    "GUNICORN_TIMEOUT": ["1", "600"],
    "GUNICORN_BIND": ["127.0.0.1:9999,unix:/tmp/x", '["[::1]:80"]'],
    "GUNICORN_RAW_PASTE_GLOBAL_CONF": ['["a=1,2"]', "b=3"],
    "GUNICORN_UMASK": ["0077", "18"],
    "GUNICORN_PROXY_PROTOCOL": ["off"],
    "GUNICORN_LOGCONFIG_DICT": ["{}", '{"version": 1}'],
    "GUNICORN_WORKER_CLASS": ["gthread", "asgi", "sync"],
    "GUNICORN_THREADS": ["1"],
    "GUNICORN_STATSD_HOST": ["localhost:8125"],
    "GUNICORN_PRELOAD_APP": ["yes", "0"],
    "FORWARDED_ALLOW_IPS": ["10.0.0.0/8", "network", "*"],
    "WEB_CONCURRENCY": ["", "3"],
    "PORT": ["", "9000"],
    "LOG_LEVEL": ["debug", "ERROR"],
    "GUNICORN_CMD_ARGS": ["--timeout 77 --workers 6", "--bind 127.0.0.1:1 --keep-alive 99"],
}


@given(st.fixed_dictionaries({}, optional={name: st.sampled_from(texts) for name, texts in VALUES.items()}))
@profile(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow], database=None)
def test_what_is_printed_is_what_gunicorn_has(environment: dict[str, str]) -> None:
    printed = greendock("config", "--format", "json", **environment)
    command = [sys.executable, "-m", "greendock", "run", sys.executable, "-c", AS_GUNICORN_HAS_IT]
    loaded = subprocess.run(
        command,
        cwd=ROOT,
        env=clean_environment(**environment),
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )
    assert loaded.returncode == printed.returncode, loaded.stderr + printed.stderr
    if loaded.returncode == 0:
        shown, has = json.loads(printed.stdout), json.loads(loaded.stdout)
        hooks = {name for name, text in has.items() if shown[name]["source"].startswith("greendock")}
        unset = {name for name in has if shown[name]["value"] == "" and shown[name]["source"] == "Gunicorn's default"}
        differing = {
            n: (shown[n]["value"], has[n]) for n in has if n not in hooks | unset and shown[n]["value"] != has[n]
        }
        assert not differing


def test_a_reload_takes_an_edited_dotenv_and_forgets_a_removed_line(serve: Serve) -> None:
    server = serve(SHOWS_ENVIRONMENT, wait=False, WEB_CONCURRENCY="")
    dotenv = server.folder / ".env"
    server.close()
    dotenv.write_text("WEB_CONCURRENCY=1\nCOLOUR=red\n")
    server.start()
    server.wait_ready("1/1")
    assert server.get()[1] == "red"
    for text, workers, colour in [("WEB_CONCURRENCY=3\nCOLOUR=blue\n", 3, "blue"), ("WEB_CONCURRENCY=2\n", 2, "none")]:
        before = set(server.workers())
        dotenv.write_text(text)
        server.signal(signal.SIGHUP)
        wait_for(lambda seen=before: not seen & set(server.workers()), "new workers")
        server.wait_ready(f"{workers}/{workers}")
        assert server.get()[1] == colour


def test_a_reload_that_is_refused_leaves_the_applications_environment_as_it_was(serve: Serve) -> None:
    server = serve(SHOWS_ENVIRONMENT, wait=False)
    server.close()
    (server.folder / ".env").write_text("COLOUR=red\n")
    server.start()
    server.wait_ready()
    (server.folder / ".env").write_text("COLOUR=blue\nGUNICORN_TIMEOUT=soon\n")
    server.signal(signal.SIGHUP)
    server.wait_log("Reload failed")
    before = set(server.workers())
    for worker in before:
        os.kill(worker, signal.SIGKILL)
    wait_for(lambda: len(set(server.workers()) - before) == 2, "replacements")
    server.wait_ready("2/2")
    assert server.get()[1] == "red"


def test_the_command_line_goes_before_the_environment(tmp_path: Path) -> None:
    server = Server(
        tmp_path,
        ("greendock", "run", "gunicorn", "--workers", "1"),
        WEB_CONCURRENCY="3",
        GUNICORN_CMD_ARGS="--workers 2",
    )
    server.write_app(SHOWS_ENVIRONMENT)
    try:
        server.start().wait_ready("1/1")
        assert "Workers: 1 (Gunicorn's command line)" in server.log
    finally:
        server.close()


@pytest.mark.parametrize(
    ("arguments", "environment"),
    [
        ((), {"GUNICORN_TIMOUT": "3", "GUNICORN_KEEPALIVE": "nope"}),
        (("--workers", "0"), {}),
        (("--keep-alive", "5"), {}),
    ],
)
def test_a_wrong_configuration_ends_before_anything_is_bound(
    tmp_path: Path, arguments: tuple[str, ...], environment: dict[str, str]
) -> None:
    server = Server(tmp_path, ("greendock", "run", "gunicorn", *arguments), **environment)
    server.write_app(SHOWS_ENVIRONMENT)
    try:
        server.start()
        assert server.wait_exit() == 2
        assert "Listening at" not in server.log
        assert "Traceback" not in server.log
        assert "nothing was started" in server.log
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", server.port)) != 0
    finally:
        server.close()


def test_one_log_line_says_how_many_workers_and_why(serve: Serve) -> None:
    server = serve(WEB_CONCURRENCY="", MAX_WORKERS="1")
    assert server.log.count("Workers: 1 (MAX_WORKERS, down from floor(2 × ") == 1
