"""Who may interrupt whom: the kernel's policy for Nginx and for Gunicorn's workers."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from greendock.host import scheduling
from tests.process.proxy.support import Proxy
from tests.support import Server, children, local_nginx, wait_for

POLICIES = {"batch": os.SCHED_BATCH, "normal": os.SCHED_OTHER}


@pytest.mark.parametrize("chosen", POLICIES)
@pytest.mark.parametrize("worker_class", ["lean", "sync"])
def test_every_thread_of_a_worker_is_scheduled_as_asked_and_the_master_as_ever(
    serve: Callable[..., Server], worker_class: str, chosen: str
) -> None:
    server = serve(GUNICORN_WORKER_CLASS=worker_class, GREENDOCK_SCHEDULER=chosen, WEB_CONCURRENCY="2")
    threads = [int(entry.name) for pid in server.workers() for entry in Path(f"/proc/{pid}/task").iterdir()]
    assert len(threads) >= 2
    assert {os.sched_getscheduler(thread) for thread in threads} == {POLICIES[chosen]}
    assert os.sched_getscheduler(server.pid) == os.SCHED_OTHER


@pytest.mark.parametrize("chosen", POLICIES)
def test_nginx_and_its_workers_are_scheduled_as_asked(tmp_path: Path, chosen: str) -> None:
    proxy = Proxy(tmp_path, local_nginx(), SCHEDULER=chosen, WORKER_PROCESSES="2").start()
    try:
        wait_for(lambda: len(children(proxy.pid)) >= 2, "two workers")
        assert {os.sched_getscheduler(pid) for pid in [proxy.pid, *children(proxy.pid)]} == {POLICIES[chosen]}
    finally:
        proxy.close()


def test_a_machine_that_does_not_allow_it_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "sched_setscheduler", refuse)
    scheduling.choose("batch")
