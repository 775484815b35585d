"""The plugins and examples that ship with Greendock, with lean as the worker class.

What a plugin's own tests say of every worker class is asked here of lean.
"""

from __future__ import annotations

import os
import re
import shutil
import urllib.request

import pytest

from tests.process import test_json_logs, test_request_id
from tests.support import ROOT, Server

LEAN = {"GUNICORN_WORKER_CLASS": "lean"}


def with_lean(serve, **settings):
    """Start servers with lean (and ``settings``), whatever worker class a test asks for."""
    return lambda source, **environment: serve(source, **(environment | LEAN | settings))


def test_json_logs_have_the_schemas_fields(serve):
    test_json_logs.test_the_access_log_has_the_schemas_fields(with_lean(serve))


def test_the_django_example_is_served(tmp_path):
    shutil.copytree(ROOT / "examples" / "django" / "app", tmp_path / "app")
    server = Server(tmp_path, APP_MODULE="app.main:application", **LEAN)
    try:
        server.start().wait_ready("2/2")
        assert server.get() == (200, '{"framework": "django"}')
    finally:
        server.close()


EXAMPLES = """
from app.main import app
from greendock.contrib.lean import LeanWorker
from greendock_server_timing import timed
from greendock_warm_up import WarmUp

class Timed(LeanWorker):
    def load_wsgi(self):
        super().load_wsgi()
        self.wsgi = timed(self.wsgi)

def warm_up(worker):
    plugin = WarmUp()
    plugin.paths = ["/", "/status.json"]
    plugin.post_worker_init(worker)
"""


def test_the_examples_plugins_work_together(serve):
    """``server-timing`` is a subclass of ``drain``; what it does works in a subclass of lean as well."""
    examples = [str(ROOT / "examples" / name) for name in ("warm-up", "server-timing", "logfmt")]
    server = serve(
        EXAMPLES,
        PYTHONPATH=os.pathsep.join([*examples, str(ROOT), "."]),
        GUNICORN_WORKER_CLASS="wsgi.Timed",
        GUNICORN_LOGGER_CLASS="greendock_logfmt.LogfmtLogger",
        GUNICORN_ACCESSLOG="-",
        GUNICORN_POST_WORKER_INIT="wsgi:warm_up",
        WEB_CONCURRENCY="1",
    )
    assert "Warmed up: /status.json 200 OK" in server.log
    with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/status.json") as answer:
        assert re.fullmatch(r"app;dur=\d+\.\d", answer.headers["Server-Timing"])
    server.wait_log("method=GET path=/status.json status=200 ")


IDS = """
from greendock.contrib.lean import LeanWorker
from greendock.contrib.request_id.threaded import RequestIdThreads

class Ids(RequestIdThreads, LeanWorker):
    pass
"""


@pytest.fixture
def with_ids(serve, tmp_path):
    """What ``test_request_id`` has of every worker class: one thread, and a logger that shows ids."""
    (tmp_path / "shown.py").write_text(test_request_id.FORMAT)
    return serve(
        test_request_id.WSGI + IDS,
        GUNICORN_WORKER_CLASS="wsgi.Ids",
        GUNICORN_THREADS="1",
        GUNICORN_LOGGER_CLASS="shown.Logger",
        GUNICORN_ACCESSLOG="-",
        GUNICORN_PRE_REQUEST="shown:look",
        PYTHONPATH=os.pathsep.join([str(tmp_path), "."]),
        WEB_CONCURRENCY="1",
    )


def test_the_request_ids_mixin_gives_each_request_its_id(with_ids):
    test_request_id.test_the_proxys_id_is_in_the_application_its_context_and_the_response(with_ids)
    test_request_id.test_an_id_that_is_missing_or_not_well_formed_is_replaced_everywhere(with_ids, ["short"])
    test_request_id.test_concurrent_requests_do_not_mix_their_ids(with_ids)


def test_the_request_ids_mixin_leaves_no_id_behind(with_ids):
    test_request_id.test_every_record_of_a_request_carries_its_id_and_no_other(with_ids)
