"""Tests of the plugin by itself: no server needed."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any

import pytest
from greendock_warm_up import PATHS, WarmUp


def worker(asked: list[str], status: str = "200 OK") -> Any:
    def app(environ: Any, start_response: Any) -> list[bytes]:
        asked.append(environ["PATH_INFO"])
        start_response(status, [])
        return [b"ok"]

    return SimpleNamespace(wsgi=app, log=logging.getLogger("test"))


def test_every_path_is_asked_for_in_order() -> None:
    plugin, asked = WarmUp(), []  # type: ignore[var-annotated]
    assert list(plugin.configure({PATHS: ["/", "/two"]})) == []
    plugin.post_worker_init(worker(asked))
    assert asked == ["/", "/two"]


def test_a_path_that_fails_is_an_error() -> None:
    plugin = WarmUp()
    plugin.configure({PATHS: ["/"]})
    with pytest.raises(RuntimeError, match="/ answered 503"):
        plugin.post_worker_init(worker([], "503 Service Unavailable"))


def test_what_is_no_path_is_complained_about() -> None:
    assert list(WarmUp().configure({PATHS: ["index"]})) == [f"{PATHS}: index does not start with /"]
