"""Booting, reloading and stopping without losing a request.

Gunicorn has no hook for "SIGTERM arrived", "reload is asked for" or "a worker takes too long to boot". This module
reaches past the public hooks for these: the seams it uses are named in ``SEAMS``, and a test holds the installed
Gunicorn to them. (The one other such place is ``greendock.contrib.metrics.supervisor``, which watches a child.)
"""

from __future__ import annotations

import faulthandler
import functools
import os
import signal
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from gunicorn.errors import HaltServer

from greendock.env import sources
from greendock.runtime.loading import Loading
from greendock.runtime.readiness import Readiness

# Looked up by name on the Arbiter instance, or read from it.
SEAMS = (
    *("handle_term", "handle_int", "handle_quit", "handle_hup", "manage_workers", "reload"),
    *("SIG_QUEUE", "WORKERS", "worker_age", "kill_worker", "setup"),
    *("reap_workers", "WORKER_BOOT_ERROR", "APP_LOAD_ERROR"),
)
_STOPPING = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGQUIT})
# What a reload changes on the server before it is known whether the reload succeeds.
_CONFIGURED = ("cfg", "worker_class", "address", "timeout", "proc_name")
_POLL_SECONDS = 0.05
_RESPAWN_SECONDS = 0.5
_NEVER = -1  # no exit status; None would fit a worker that a signal has ended


# Told of each reload's end, and whether it succeeded; metrics plugins append to it.
on_reload_end: list[Callable[[bool], None]] = []


class ReloadError(Exception):
    """The new workers did not boot."""


@dataclass(frozen=True)
class Lifecycle:
    """``drain`` and ``boot_timeout`` in seconds; 0 means none."""

    readiness: Readiness
    loading: Loading
    drain: float = 0
    boot_timeout: float = 0

    def install(self, server: Any) -> None:
        """``when_ready`` and ``on_reload``: put our signal handling before Gunicorn's on this one server."""
        server.handle_term = functools.partial(self._term, server)
        server.handle_int = functools.partial(self._quit, server, "handle_int")
        server.handle_quit = functools.partial(self._quit, server, "handle_quit")
        server.handle_hup = functools.partial(self._reload, server)
        server.reap_workers = functools.partial(self._reap, server)

    def start_boot_deadline(self, _server: Any, worker: Any) -> None:
        """``post_fork``: Gunicorn never times out a worker that hangs while it imports the application.

        When the time is up, every thread's stack goes to standard error and the worker exits with status 1.
        """
        worker.boot_timeout = self.boot_timeout  # an event loop's stack says nothing about who waits in it
        if self.boot_timeout:
            faulthandler.dump_traceback_later(self.boot_timeout, exit=True)

    def end_boot_deadline(self, _worker: Any) -> None:
        """``post_worker_init``, last: the worker has booted."""
        if self.boot_timeout:
            faulthandler.cancel_dump_traceback_later()

    def slow_down(self, _server: Any, worker: Any) -> None:
        """``worker_exit``: a worker that could not boot waits a moment, so that its replacements do not spin."""
        if not worker.booted and worker.alive and self.readiness.booted(worker.ppid):
            time.sleep(_RESPAWN_SECONDS)

    def _reap(self, server: Any) -> None:
        """Reap workers; one that cannot boot stops the server only when no other serves, and only once.

        Gunicorn stops the whole server for a single worker that cannot load the application: also for a replacement,
        long after the start, beside workers that serve; and while it is already stopping for that reason, in which
        case a second failure makes it skip ``on_exit``.
        """
        if getattr(server, "greendock_halted", False) or self.readiness.booted(server.pid):
            server.WORKER_BOOT_ERROR = server.APP_LOAD_ERROR = _NEVER
        try:
            type(server).reap_workers(server)
        except HaltServer as error:
            server.greendock_halted = True
            # Gunicorn logs it as its last line.
            raise HaltServer(f"{error.reason} {self.loading.reason()}".rstrip(), error.exit_status) from error
        finally:
            for name in ("WORKER_BOOT_ERROR", "APP_LOAD_ERROR"):
                vars(server).pop(name, None)

    def _term(self, server: Any) -> None:
        """SIGTERM: say draining, serve for ``drain`` seconds more, then stop gracefully. A second one stops now."""
        self.readiness.drain(server)
        if self.drain and not getattr(server, "greendock_draining", False):
            server.greendock_draining = True
            server.log.info("Draining: serving for %g s more, then stopping", self.drain)
            signal.signal(signal.SIGALRM, lambda *_: server.SIG_QUEUE.put_nowait(signal.SIGTERM))
            signal.setitimer(signal.ITIMER_REAL, self.drain)
            return
        signal.setitimer(signal.ITIMER_REAL, 0)
        type(server).handle_term(server)

    def _quit(self, server: Any, handler: str) -> None:
        self.readiness.drain(server)
        getattr(type(server), handler)(server)

    def _reload(self, server: Any) -> None:
        """SIGHUP: bring up new workers, and end the old ones only when all the new ones have booted.

        Gunicorn itself ends the old workers at once, stops the whole server when the new code does not load, and
        dies, leaving its workers behind, when the new configuration is wrong. Here, whatever goes wrong is logged
        and the old workers go on with the old configuration.
        """
        master = os.getpid()
        environ = sources.snapshot()
        before = {name: getattr(server, name) for name in _CONFIGURED}
        application = dict(vars(server.app))
        newest, workers = server.worker_age, server.num_workers
        server.manage_workers = functools.partial(self._replace_workers, server, newest)
        succeeded = False
        try:
            type(server).handle_hup(server)
            succeeded = True
        except (Exception, SystemExit) as error:
            if os.getpid() != master:
                raise  # a worker forked inside reload() is on its way out
            reason = "the new configuration is refused" if isinstance(error, SystemExit) else error
            detail = None if isinstance(error, SystemExit | ReloadError) else error
            server.log.error("Reload failed, the old workers go on: %s", reason, exc_info=detail)
            sources.restore(environ)
            vars(server.app).update(application)
            vars(server).update(before)
            server.log.setup(server.cfg)
            server.num_workers = workers
        finally:
            if os.getpid() == master:
                vars(server).pop("manage_workers", None)
                for listener in on_reload_end:
                    listener(succeeded)

    def _replace_workers(self, server: Any, newest_old: int) -> None:
        """Stand in for ``manage_workers`` during a reload: wait for the new workers first."""
        new = {pid: worker for pid, worker in server.WORKERS.items() if worker.age > newest_old}
        waiting = set(new)
        while waiting:
            waiting -= set(self.readiness.booted(server.pid))
            failed = [pid for pid in waiting if _ended(pid)]
            if failed:
                self._discard(server, new, waiting, failed)
                raise ReloadError(f"a new worker (pid:{failed[0]}) did not boot")
            if _asked_to_stop(server):
                break
            time.sleep(_POLL_SECONDS)
        type(server).manage_workers(server)

    def _discard(self, server: Any, new: dict[int, Any], unbooted: Iterable[int], failed: list[int]) -> None:
        """End the new workers. One that has not booted must be reaped here: its exit status would stop the server."""
        for pid in unbooted:
            if pid not in failed:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
            worker = server.WORKERS.pop(pid)
            worker.tmp.close()
            server.cfg.child_exit(server, worker)
        for pid in new.keys() & server.WORKERS.keys():
            server.kill_worker(pid, signal.SIGTERM)


def _ended(pid: int) -> bool:
    return os.waitpid(pid, os.WNOHANG)[0] == pid


def _asked_to_stop(server: Any) -> bool:
    """Look whether a stop is queued, leaving the queue as it is."""
    queued = []
    while not server.SIG_QUEUE.empty():
        queued.append(server.SIG_QUEUE.get_nowait())
    for number in queued:
        server.SIG_QUEUE.put_nowait(number)
    return not _STOPPING.isdisjoint(queued)
