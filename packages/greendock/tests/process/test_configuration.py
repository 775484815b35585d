"""Settings on real servers: what was printed is what runs, and a reload takes what has changed."""

from __future__ import annotations

import json
import os
import re
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

from tests.support import DEADLINE, HELLO, ROOT, Server, clean_environment, greendock, wait_for

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


BROKEN = """
import time
print("hello from the application")
ok = lambda environ, start_response: []
async def asgi(scope, receive, send): ...
number = 5
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "shop.py").write_text(BROKEN)
    (tmp_path / "hangs.py").write_text("import time\ntime.sleep(600)\n")
    (tmp_path / "leaves.py").write_text("import os\nos._exit(7)\n")
    (tmp_path / "broken.py").write_text("\n\n1 / 0\n")
    (tmp_path / "needs.py").write_text("import no_such_package\n")
    return tmp_path


def test_check_loads_the_application_and_says_how_long_that_took(folder: Path) -> None:
    done = greendock("check", cwd=folder, APP_MODULE="shop:ok")
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"greendock: the configuration is right; shop:ok was loaded in [0-9.]+ s\n", done.stdout)
    assert "hello from the application" in done.stderr


@pytest.mark.parametrize(
    ("module", "said"),
    [
        ("shp:ok", "No module named 'shp'"),
        ("shop:nope", "Failed to find attribute 'nope' in 'shop'"),
        ("shop:number", "must be callable"),
        ("shop:asgi", "accepted: GUNICORN_WORKER_CLASS=asgi"),
        ("broken:app", "broken.py line 3)"),
        ("needs:app", "needs.py line 1)"),
        ("leaves:app", "ended the process (exit status 7)"),
        ("hangs:app", "was not loaded within 1 s"),
    ],
)
def test_check_refuses_an_application_that_no_worker_could_load(folder: Path, module: str, said: str) -> None:
    done = greendock("check", cwd=folder, APP_MODULE=module, GREENDOCK_BOOT_TIMEOUT="1")
    assert done.returncode == 2, done.stdout
    assert f"APP_MODULE='{module}' (from process environment)" in done.stderr
    assert said in done.stderr


def test_check_can_leave_the_application_alone(folder: Path) -> None:
    done = greendock("check", "--no-load", cwd=folder, APP_MODULE="broken:app")
    assert done.returncode == 0
    assert "was not loaded" in done.stdout


def test_check_loads_the_application_in_its_own_folder_path_and_environment(folder: Path) -> None:
    (folder / "src").mkdir()
    (folder / "src" / "deep.py").write_text("import os\nassert os.environ['COLOUR'] == 'blue'\nfrom shop import ok\n")
    (folder / ".env").write_text("COLOUR=blue\n")
    done = greendock("check", cwd=folder, APP_MODULE="deep:ok", GUNICORN_PYTHONPATH="src")
    assert done.returncode == 0, done.stderr


def test_a_peers_name_is_a_warning_of_the_check_and_of_the_start(serve: Serve, folder: Path) -> None:
    done = greendock("check", cwd=folder, APP_MODULE="shop:ok", TIMEOUT="5")
    assert done.returncode == 0
    assert "did you mean GUNICORN_TIMEOUT?" in done.stderr
    assert "did you mean GUNICORN_TIMEOUT?" in serve(TIMEOUT="5").log


def test_a_start_script_that_nothing_runs_is_pointed_out(folder: Path) -> None:
    (folder / "prestart.sh").touch()
    assert "prestart.sh is not run" in greendock("check", "--no-load", cwd=folder).stderr


def test_the_list_of_plugins_ends_with_what_is_wrong_with_the_configuration() -> None:
    done = greendock("plugins", GREENDOCK_PLUGINS="metrics,metrix", GUNICORN_TIMOUT="3")
    assert done.returncode == 2
    assert "metrics" in done.stdout
    assert "2 configuration problems" in done.stderr


BROUGHT_ALONG = """
import os
workers = int(os.environ.get("WORKERS_PER_CORE", "1")) + 2
keepalive = 120
not_a_setting = "ignored"
def post_worker_init(worker):
    worker.log.info("the file's own hook")
"""


@pytest.mark.parametrize(
    "arguments",
    [("-c", "brought.py"), ("--config=brought.py",), ()],
    ids=["-c", "--config", "in place of the template's"],
)
def test_a_configuration_file_brought_along_joins_ours_and_the_server_is_ready(
    tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    (tmp_path / ("brought.py" if arguments else "gunicorn.conf.py")).write_text(BROUGHT_ALONG)
    server = Server(tmp_path, ("greendock", "run", "gunicorn", *arguments), WEB_CONCURRENCY="", GUNICORN_KEEPALIVE="90")
    server.write_app(HELLO)
    try:
        server.start()
        assert server.wait_ready("3/3")["workers"] == 3
        assert server.get()[0] == 200
        assert server.log.count("the file's own hook") == 3
        (tmp_path / "brought.py").write_text(BROUGHT_ALONG.replace("+ 2", "+ 1"))
        (tmp_path / "gunicorn.conf.py").write_text(BROUGHT_ALONG.replace("+ 2", "+ 1"))
        server.signal(signal.SIGHUP)
        server.wait_ready("2/2")
    finally:
        server.close()


def test_a_configuration_file_brought_along_is_checked_with_the_rest(folder: Path) -> None:
    (folder / "brought.py").write_text("workers = -1\nkeepalive = 2\n")
    done = greendock("check", cwd=folder, GREENDOCK_CONFIG_FILE=str(folder / "brought.py"))
    assert done.returncode == 2
    assert f"workers='-1' (from {folder}/brought.py)" in done.stderr
    assert f"GUNICORN_KEEPALIVE='2' (from {folder}/brought.py)" in done.stderr
    (folder / "brought.py").write_text("1 / 0\n")
    done = greendock("check", cwd=folder, GREENDOCK_CONFIG_FILE=str(folder / "brought.py"))
    assert "cannot be read: ZeroDivisionError" in done.stderr
