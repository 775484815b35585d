"""Gunicorn's hooks as data: their arguments, where they run, and what a failing one does.

Arguments and order of events: https://docs.gunicorn.org/en/stable/settings.html#server-hooks
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

# log: the failure is logged and the server goes on.
# stop: the start is given up (for a worker: unless the server has already been ready).
# refuse: the request is answered with 500.
Policy = Literal["log", "stop", "refuse"]


@dataclass(frozen=True)
class Event:
    """One hook: its name, the names of its arguments, the process it runs in, whether it undoes what others did."""

    name: str
    arguments: tuple[str, ...]
    process: str
    teardown: bool = False
    fail_fast: bool = False


_EVENTS = (
    Event("on_starting", ("server",), "master", fail_fast=True),
    Event("on_reload", ("server",), "master"),
    Event("when_ready", ("server",), "master", fail_fast=True),
    Event("pre_fork", ("server", "worker"), "master"),
    Event("post_fork", ("server", "worker"), "worker", fail_fast=True),
    Event("post_worker_init", ("worker",), "worker", fail_fast=True),
    Event("worker_int", ("worker",), "worker", teardown=True),
    Event("worker_abort", ("worker",), "worker", teardown=True),
    Event("pre_exec", ("server",), "new master"),
    Event("pre_request", ("worker", "req"), "worker"),
    Event("post_request", ("worker", "req", "environ", "resp"), "worker", teardown=True),
    Event("child_exit", ("server", "worker"), "master", teardown=True),
    Event("worker_exit", ("server", "worker"), "worker", teardown=True),
    Event("nworkers_changed", ("server", "new_value", "old_value"), "master"),
    Event("on_exit", ("server",), "master", teardown=True),
    Event("on_dirty_starting", ("arbiter",), "dirty arbiter"),
    Event("dirty_post_fork", ("arbiter", "worker"), "dirty worker"),
    Event("dirty_worker_init", ("worker",), "dirty worker"),
    Event("dirty_worker_exit", ("arbiter", "worker"), "dirty worker", teardown=True),
)
EVENTS: dict[str, Event] = {event.name: event for event in _EVENTS}
FAIL_FAST_CHOICES = tuple(event.name for event in _EVENTS if event.fail_fast)

# ``ssl_context`` returns a value, so it is one callable and never a chain. A failure is never swallowed: an ASGI
# worker whose ``ssl_context`` failed would serve plain text on the TLS port.
SSL_CONTEXT = Event("ssl_context", ("config", "default_ssl_context_factory"), "worker")


def policy(event: Event, fail_fast: tuple[str, ...]) -> Policy:
    """Return what a failing hook does, given the events that ``GREENDOCK_HOOK_FAIL_FAST`` names."""
    if event.name == "pre_request":
        return "refuse"  # it may be a check that must not be skipped
    return "stop" if event.name in fail_fast else "log"
