"""The worker process: an event loop, its listeners, and an orderly end."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import signal
import sys
import traceback
from collections.abc import Callable, Coroutine, Iterator
from email.utils import formatdate
from math import inf
from types import FrameType
from typing import Any

from gunicorn.arbiter import Arbiter
from gunicorn.workers.base import Worker

from greendock.contrib.asgi import websocket
from greendock.contrib.asgi.connection import Connection
from greendock.contrib.asgi.head import Limits
from greendock.contrib.asgi.lifespan import Lifespan, LifespanError
from greendock.contrib.asgi.websocket import WebSocket

#: Seconds between two heartbeats, and between two looks at the deadlines, at most.
TICK = 1.0

#: The part of graceful_timeout, at most this many seconds, kept for cancelled requests and lifespan.shutdown.
_LAST_PART, _LAST_SECONDS = 0.2, 3.0

#: The part kept for what comes after, before the arbiter kills.
_SPARE_PART, _SPARE_SECONDS = 0.1, 0.5

_OUT_OF_RESOURCES = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_STARTUP_TOLD_AFTER = 10.0


def refusals(value: Callable[[str], Any]) -> Iterator[tuple[str, str]]:
    """Yield the settings that ask for what this worker leaves to the proxy in front, each with what is accepted.

    ``value`` gives a Gunicorn setting's value by name.
    """
    for name in ("certfile", "keyfile"):
        if value(name):
            yield name, "TLS is Nginx's job: leave it unset, or use worker_class=gunicorn-asgi"
    if "h2" in value("http_protocols"):
        yield "http_protocols", "HTTP/2 is Nginx's job: leave it at h1, or use worker_class=gunicorn-asgi"
    if value("http2_cleartext") != "off":
        yield "http2_cleartext", "HTTP/2 is Nginx's job: leave it off, or use worker_class=gunicorn-asgi"
    if value("proxy_protocol") != "off":
        yield "proxy_protocol", "the PROXY protocol is Nginx's job: leave it off, or use worker_class=gunicorn-asgi"
    if value("protocol") != "http":
        yield "protocol", "asgi speaks HTTP only: leave it at http, or use worker_class=gunicorn-asgi"


class AsgiWorker(Worker):  # type: ignore[misc]
    """A Gunicorn worker for ASGI applications behind Nginx.

    Plugins wrap ``self.asgi``: after ``super().load_wsgi()``, or in ``post_worker_init``.
    """

    alive: bool
    sockets: list[Any]
    aborting = False
    boot_timeout = 0.0  # GREENDOCK_BOOT_TIMEOUT, if Greendock starts it
    workers_per_core = 1.0  # more would only take turns: a worker whose requests wait serves others meanwhile
    refusals = staticmethod(refusals)

    @classmethod
    def check_config(cls, cfg: Any, _log: Any) -> None:
        """Called by Gunicorn's arbiter before it starts workers. Raises RuntimeError for settings refused here."""
        if refused := [f"{name}: {accepted}" for name, accepted in cls.refusals(lambda name: cfg.settings[name].get())]:
            raise RuntimeError("the asgi worker cannot start: " + "; ".join(refused))

    # Booting.

    def init_process(self) -> None:
        """Called by the arbiter in the new process; checks again, because a reload skips ``check_config``."""
        self.check_config(self.cfg, self.log)
        self.limits = Limits(self.cfg)
        self.loop = _new_loop(self.cfg.asgi_loop)
        asyncio.set_event_loop(self.loop)
        self.loop.set_exception_handler(self._log_stray)
        self.connections: set[Connection | WebSocket] = set()
        self.tasks: set[asyncio.Task[None]] = set()
        self.state: dict[str, Any] = {}
        self.recycling = self.quick = False
        self.date = b""
        # The arbiter's limit is twice self.timeout: two heartbeats must fit into it.
        self.tick = min(TICK, self.timeout or TICK)
        load = self.load_wsgi

        def load_and_start() -> None:
            load()
            self._start_lifespan()

        # post_worker_init, which says that this worker is ready, comes after lifespan.startup.
        self.__dict__["load_wsgi"] = load_and_start
        super().init_process()

    def _log_stray(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Log an error that belongs to no request: of a callback, of a task that nobody awaits."""
        self.log.error("%s", context["message"], exc_info=context.get("exception"))

    def load_wsgi(self) -> None:
        """Load the application."""
        super().load_wsgi()
        broken = self.wsgi.__module__ == "gunicorn.util" if hasattr(self.wsgi, "__module__") else False
        self.asgi = _failing if broken else self.wsgi

    def _start_lifespan(self) -> None:
        self.lifespan = Lifespan(self.asgi, self.cfg.asgi_lifespan, self.state, self.log)
        seconds = min(_STARTUP_TOLD_AFTER, 0.8 * self.boot_timeout or inf)
        told = self.loop.call_later(seconds, self._tell_startup, seconds)
        try:
            self.loop.run_until_complete(self.lifespan.startup())
        except LifespanError as error:
            self.log.error("lifespan.startup failed: %s", error, exc_info=error.__cause__)
            sys.exit(Arbiter.WORKER_BOOT_ERROR)
        finally:
            told.cancel()

    def _tell_startup(self, seconds: float) -> None:
        self.log.warning("lifespan.startup takes longer than %g s; it waits in %s", seconds, self.lifespan.where())

    def init_signals(self) -> None:
        """Gunicorn's handlers; the loop brings its own way of being woken by a signal."""
        super().init_signals()
        signal.set_wakeup_fd(-1)

    # Serving.

    def run(self) -> None:
        """Serve until told to stop, or until the parent is gone; then stop in order."""
        cfg = self.cfg
        # Without a hook or an access log nothing needs to be told of each request.
        self.tells = self.log.access_log_enabled or any(
            getattr(cfg, name) is not cfg.settings[name].default for name in ("pre_request", "post_request")
        )
        self.websocket_config = websocket.config(self)
        self.websocket_state = websocket.State(self)
        try:
            self.loop.run_until_complete(self._serve())
        except (RuntimeError, SystemExit):
            if not self.aborting:
                raise
            for task in self.tasks:
                if task.done() and not task.cancelled():
                    task.exception()  # nobody else asks, which asyncio would complain about
            sys.exit(1)  # RuntimeError: somebody has caught the SystemExit of handle_abort
        for close in (self.loop.shutdown_asyncgens, self.loop.shutdown_default_executor):
            with contextlib.suppress(Exception):
                self.loop.run_until_complete(asyncio.wait_for(close(), TICK))
        self.loop.close()

    async def _serve(self) -> None:
        self.woken = asyncio.Event()
        self.loop.add_reader(self.PIPE[0], self._wake)  # the reloader's
        self.accepting = False
        for listener in self.sockets:
            listener.setblocking(False)
        next_tick = 0.0
        while self.alive:
            if (now := self.loop.time()) >= next_tick:
                next_tick = now + self.tick
                self._do_tick()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.woken.wait(), next_tick - now)
                self.woken.clear()
        self.loop.remove_reader(self.PIPE[0])
        await self._stop()

    def _do_tick(self) -> None:
        self.notify()
        self.date = b"date: %s\r\n" % formatdate(usegmt=True).encode()
        if self.ppid != os.getppid():
            self.log.info("Parent changed, shutting down: %s", self)
            self.alive = False
        self._close_overdue()
        self._set_accepting(True)

    def _close_overdue(self) -> None:
        now = self.loop.time()
        for connection in [connection for connection in self.connections if connection.deadline < now]:
            connection.overdue()

    def _wake(self) -> None:
        self.woken.set()

    def start(self, call: Coroutine[Any, Any, None]) -> None:
        """Run one request."""
        task = self.loop.create_task(call)
        self.tasks.add(task)
        task.add_done_callback(self._task_done)

    def _task_done(self, task: asyncio.Task[None]) -> None:
        self.tasks.discard(task)
        if not self.alive:
            self.woken.set()

    def count_request(self) -> None:
        """Count one request towards ``max_requests``."""
        self.nr += 1
        if self.nr >= self.max_requests and self.alive:
            self.log.info("Autorestarting worker after current request.")
            self.recycling = True
            self.alive = False
            self.woken.set()

    def keeps_connections(self) -> bool:
        """Whether a connection may stay open for another request."""
        return self.alive and self.cfg.keepalive > 0 and len(self.connections) < self.cfg.worker_connections

    def lost(self, connection: Connection | WebSocket) -> None:
        """A connection has ended."""
        self.connections.discard(connection)
        if not self.alive:
            self.woken.set()
        elif not self.accepting:
            self._set_accepting(True)

    # Listening.

    def _set_accepting(self, wanted: bool) -> None:
        """Watch the listeners, or stop doing so; a worker with ``worker_connections`` connections does not."""
        wanted = wanted and self.alive and len(self.connections) < self.cfg.worker_connections
        if wanted == self.accepting:
            return
        self.accepting = wanted
        for listener in self.sockets:
            if wanted:
                self.loop.add_reader(listener.fileno(), self._accept, listener)
            else:
                self.loop.remove_reader(listener.fileno())

    def _accept(self, listener: Any) -> None:
        """Accept one connection, and no more, so that each worker gets its share."""
        try:
            sock, _ = listener.accept()
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno in _OUT_OF_RESOURCES:
                self.log.error("Cannot accept a connection (%s); trying again in a moment.", error)
                self._set_accepting(False)
                self.loop.call_later(TICK / 10, self._set_accepting, True)
            return
        self._begin(sock)
        if len(self.connections) >= self.cfg.worker_connections - 1:
            self._set_accepting(False)

    def _begin(self, sock: Any) -> None:
        sock.setblocking(False)
        self.start(self._connect(sock))

    async def _connect(self, sock: Any) -> None:
        try:
            await self.loop.connect_accepted_socket(lambda: Connection(self), sock)
        except OSError:
            sock.close()  # reset before it was served

    # Stopping.

    def handle_exit(self, _sig: int, _frame: FrameType | None) -> None:
        """SIGTERM: stop in order."""
        self.alive = False
        self._wake_threadsafe()

    def handle_quit(self, sig: int, frame: FrameType | None) -> None:
        """SIGQUIT, SIGINT: stop at once."""
        if not self.booted:
            super().handle_quit(sig, frame)
        self.cfg.worker_int(self)
        self.alive, self.quick = False, True
        self._wake_threadsafe()

    def handle_abort(self, _sig: int, frame: FrameType | None) -> None:
        """SIGABRT: the arbiter has had no heartbeat, because something blocks the event loop."""
        self.alive = False
        stack = "".join(traceback.format_stack(frame)[-5:])
        self.log.error("The event loop was blocked for longer than timeout, in:\n%s", stack)
        self.cfg.worker_abort(self)
        self.aborting = True
        self.loop.call_soon_threadsafe(self.loop.stop)  # should the application catch the SystemExit
        sys.exit(1)

    def _wake_threadsafe(self) -> None:
        if hasattr(self, "woken") and not self.loop.is_closed():
            self.loop.call_soon_threadsafe(self._wake)

    async def _stop(self) -> None:
        """Serve what the kernel has queued and what is under way, then end the application's lifespan.

        Gunicorn kills the worker when ``graceful_timeout`` is over, so a part of it is kept for the end.
        """
        now = self.loop.time()
        limit = TICK if self.quick else self.cfg.graceful_timeout
        end = now + limit - min(_SPARE_SECONDS, _SPARE_PART * limit)
        last = end - min(_LAST_SECONDS, _LAST_PART * limit)
        self._set_accepting(False)
        # A worker that makes room for its successor leaves the queue, which backlog bounds, to the others.
        queued = 0 if self.recycling or self.quick else self.cfg.backlog
        for connection in list(self.connections):
            connection.shutdown()
        next_tick = 0.0
        while True:
            if (now := self.loop.time()) >= next_tick:
                next_tick = now + self.tick
                self.notify()
            queued = self._take_queued(queued)
            if not queued:
                self._close_listeners()
            if now >= last or self.quick or not (queued or self.connections or self.tasks):
                break
            self._close_overdue()
            self.woken.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.woken.wait(), min(last - now, TICK / 10))
        self._close_listeners()
        await self._cut_off(end)
        await self._end_lifespan(end)

    def _take_queued(self, queued: int) -> int:
        """Accept what waits in the kernel; return how many connections may still be waiting.

        A listener is closed in the moment its queue is found empty: whoever connects in between is reset.
        """
        for listener in list(self.sockets):
            taken: list[Any] = []
            room = min(queued, self.cfg.worker_connections - len(self.connections) - len(self.tasks))
            try:
                while len(taken) < room:
                    taken.append(listener.accept()[0])
            except BlockingIOError:
                listener.close()
                self.sockets.remove(listener)
            except OSError as error:  # out of file descriptors: some are free when requests have ended
                self.log.debug("Cannot take a queued connection yet: %s", error)
            queued -= len(taken)
            for sock in taken:
                self._begin(sock)
        return queued if self.sockets else 0

    def _close_listeners(self) -> None:
        for listener in self.sockets:
            listener.close()
        self.sockets = []

    async def _cut_off(self, end: float) -> None:
        """End what has not ended within ``graceful_timeout``."""
        if (self.connections or self.tasks) and not self.quick:
            unfinished = len(self.connections), len(self.tasks)
            self.log.warning(
                "Worker stops with %d connections and %d requests unfinished after graceful_timeout.", *unfinished
            )
        for task in self.tasks:
            task.cancel()
        if self.tasks:
            await asyncio.wait(self.tasks, timeout=max(end - self.loop.time(), 0) / 2)
        for connection in list(self.connections):
            connection.abort()

    async def _end_lifespan(self, end: float) -> None:
        self.notify()
        try:
            await asyncio.wait_for(self.lifespan.shutdown(), max(end - self.loop.time(), TICK / 2))
        except TimeoutError:
            self.log.error(
                "lifespan.shutdown did not end within graceful_timeout; it waits in %s", self.lifespan.where()
            )
        except LifespanError as error:
            self.log.error("lifespan.shutdown failed: %s", error, exc_info=error.__cause__)


def _new_loop(name: str) -> asyncio.AbstractEventLoop:
    if name != "asyncio":
        try:
            import uvloop  # noqa: PLC0415
        except ModuleNotFoundError:
            if name == "uvloop":
                raise
        else:
            loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
            return loop
    return asyncio.new_event_loop()


async def _failing(scope: dict[str, Any], _receive: Any, send: Any) -> None:
    """Stand in for an application with a syntax error, until the reloader has seen it corrected."""
    if scope["type"] != "http":
        raise RuntimeError("the application has a syntax error")
    await send({"type": "http.response.start", "status": 500, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": b"The application has a syntax error; the log says where.\n"})
