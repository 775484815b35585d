"""The worker process: threads that share one epoll, a main thread that keeps time, and an orderly end."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import sys
from collections.abc import Callable, Iterator
from datetime import datetime
from threading import Thread
from time import monotonic  # applications replace parts of the modules they share with their server
from typing import Any

from gunicorn import __version__, util
from gunicorn.http import wsgi
from gunicorn.http.errors import NoMoreData
from gunicorn.workers.base import Worker
from gunicorn.workers.gthread import STOP_KEEPALIVE_LINGER

from greendock.contrib.lean import environ as wsgi_environ
from greendock.contrib.lean.children import end_child, remember_server
from greendock.contrib.lean.connection import Connection
from greendock.contrib.lean.errors import PeerGoneError, PeerSilentError
from greendock.contrib.lean.listener import close_if_empty
from greendock.contrib.lean.request import Limits
from greendock.contrib.lean.response import LeanResponse
from greendock.contrib.lean.seams import is_tested
from greendock.contrib.lean.serving_token import ServingToken

#: A request head must be complete this many seconds after its first byte, as Nginx's client_header_timeout here.
HEAD_SECONDS = 10.0

#: Seconds a new connection may stay silent, on top of ``keepalive`` (gthread waits as long).
FIRST_BYTE_SECONDS = 5.0

#: Seconds to wait for the peer's end of a connection closed by this side (RFC 9112 section 9.6).
LINGER_SECONDS = 2.0

#: Bytes that unfinished request heads may take together, beyond ``SMALL_HEAD`` for each connection.
HEADS_TOTAL, SMALL_HEAD = 32 * 1024 * 1024, 8192

#: Seconds between two heartbeats, and between two looks at the deadlines, at most.
TICK = 1.0

#: So many ticks in a row at which every thread has ended, without a request served, make an end of the worker.
BARREN_TICKS = 3

#: Seconds for which another thread may hold up a stopping main thread.
MOMENT = 0.0002

_OUT_OF_RESOURCES = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_ONCE = select.EPOLLIN | select.EPOLLONESHOT


def refusals(value: Callable[[str], Any]) -> Iterator[tuple[str, str]]:
    """Yield the settings that ask for what this worker leaves to the proxy in front, each with what is accepted.

    ``value`` gives a Gunicorn setting's value by name. Greendock asks before anything is bound; with a Gunicorn of its
    own, ``check_config`` does.
    """
    for name in ("certfile", "keyfile"):
        if value(name):
            yield name, "TLS is Nginx's job: leave it unset, or use worker_class=drain"
    if "h2" in value("http_protocols"):
        yield "http_protocols", "HTTP/2 is Nginx's job: leave it at h1, or use worker_class=drain"
    if value("http2_cleartext") != "off":
        yield "http2_cleartext", "HTTP/2 is Nginx's job: leave it off, or use worker_class=drain"
    if value("proxy_protocol") != "off":
        yield "proxy_protocol", "the PROXY protocol is Nginx's job: leave it off, or use worker_class=drain"
    if value("protocol") != "http":
        yield "protocol", "lean speaks HTTP only: leave it at http, or use worker_class=drain"
    if value("http_parser") == "fast":
        yield "http_parser", "lean has a parser of its own: accepted: auto or python, or use worker_class=drain"
    if not hasattr(select, "epoll"):
        yield "worker_class", "lean needs Linux (epoll): use worker_class=drain"


class LeanWorker(Worker):  # type: ignore[misc]
    """A threaded WSGI worker for a Gunicorn behind Nginx.

    Each of ``threads`` threads waits on the same epoll, where every connection is armed for one event; the thread that
    gets the event owns the connection, reads, parses, answers, and arms it again. The main thread sends the heartbeat,
    handles signals, closes what has waited too long, and replaces threads that ended.
    """

    alive: bool
    refusals = staticmethod(refusals)

    @classmethod
    def check_config(cls, cfg: Any, log: Any) -> None:
        """Called by Gunicorn's arbiter before it starts workers. Raises RuntimeError for settings refused here."""
        if refused := [f"{name}: {accepted}" for name, accepted in cls.refusals(lambda name: cfg.settings[name].get())]:
            raise RuntimeError("the lean worker cannot start: " + "; ".join(refused))
        if not is_tested():
            log.warning("lean was not tested with Gunicorn %s: Gunicorn's own parser reads every request.", __version__)
        if cfg.keepalive and cfg.worker_connections <= cfg.threads:
            log.warning("No connection can be kept alive: worker_connections is not above threads.")

    def init_process(self) -> None:
        """Called by the arbiter in the new process; checks again, because a reload skips ``check_config``."""
        self.check_config(self.cfg, self.log)
        self.limits = Limits(self.cfg)
        self.epoll = select.epoll()
        self.listeners: dict[int, tuple[Any, Any]] = {}
        self.conns: dict[int, Connection] = {}
        #: Connections nobody owns. Removing one from this set is the claim to it: only one thread can.
        self.parked: set[Connection] = set()
        #: What each thread is busy with: a connection, or True while it accepts one.
        self.serving: list[Connection | bool | None] = [None] * self.cfg.threads
        self.lost: set[Connection] = set()
        self.barren_ticks = self.nr_seen = 0
        remember_server()
        self.accepting = False
        self.accept_again = 0.0
        self.recycling = False
        # The arbiter's limit is twice self.timeout: two heartbeats must fit into it.
        self.tick = min(TICK, self.timeout or TICK)
        self.max_conns: int = self.cfg.worker_connections
        self.max_kept = self.max_conns - self.cfg.threads
        self.keepalive: int = self.cfg.keepalive
        self.pipe_poll = select.poll()
        super().init_process()

    def handle_usr1(self, sig: int, frame: Any) -> None:
        """Reopen the log files, and let ``wsgi.errors`` write to the new ones."""
        super().handle_usr1(sig, frame)
        self.environ = wsgi_environ.shared(self.cfg)

    def handle_exit(self, sig: int, frame: Any) -> None:
        """Stop in order. A worker that was making room for a successor must not hope for one any longer."""
        if self.recycling:
            self.recycling = False
            self.stop_by = monotonic() + self.cfg.graceful_timeout
        super().handle_exit(sig, frame)

    # The main thread.

    def run(self) -> None:
        """Serve until told to stop, or until the parent is gone; then stop in order."""
        self.pre_request, self.post_request = self.cfg.pre_request, self.cfg.post_request
        self.environ = wsgi_environ.shared(self.cfg)
        for listener in self.sockets:
            listener.setblocking(False)
            self.listeners[listener.fileno()] = (listener, listener.getsockname())
        self.stopped, stop_threads = os.pipe()
        self.epoll.register(self.stopped, select.EPOLLIN)
        self.pipe_poll.register(self.PIPE[0], select.POLLIN)
        self.token = ServingToken(self.cfg.threads, self.epoll, self.stopped, self.wake)
        self.set_accepting(True)
        self.threads = [self.start_thread(number) for number in range(self.cfg.threads)]
        next_tick = 0.0
        while self.alive:
            if (now := monotonic()) >= next_tick:
                next_tick = now + self.tick
                self.do_tick()
            self.wait(min(self.token.watch() or self.tick, self.tick))
        self.stop()
        os.write(stop_threads, b".")  # an event every thread sees; a close is none if the application forked
        for thread in self.threads:
            thread.join(timeout=0.1 if self.conns else TICK)

    def do_tick(self) -> None:
        """What must be done about once a second. Nobody else sends the heartbeat: it means that requests are served."""
        self.replace_threads()
        self.epoll.modify(self.stopped, select.EPOLLIN)  # raises, and ends the worker, if the application closed it
        self.notify()
        if self.ppid != os.getppid():
            self.log.info("Parent changed, shutting down: %s", self)
            self.alive = False
        self.drop_lost()
        self.close_overdue()
        self.set_accepting(True)

    def start_thread(self, number: int) -> Thread:
        """Start the thread with this number."""
        thread = Thread(target=self.serve_events, args=(number,), name=f"lean-{number}", daemon=True)
        thread.start()
        return thread

    def replace_threads(self) -> None:
        """Start a thread for each that ended, whatever ended it.

        Raises RuntimeError, which ends the worker, when none can start or none lives from tick to tick.
        """
        ended = [number for number, thread in enumerate(self.threads) if not thread.is_alive()]
        barren = len(ended) == len(self.threads) and self.nr == self.nr_seen
        self.barren_ticks, self.nr_seen = self.barren_ticks + 1 if barren else 0, self.nr
        if self.barren_ticks > BARREN_TICKS:
            raise RuntimeError("no thread of this worker can serve")
        if not ended:
            return
        self.report(self.log.error, "Replacing %d threads that ended.", len(ended))
        for number in ended:
            self.give_up(number)
            self.threads[number] = self.start_thread(number)

    def give_up(self, number: int) -> None:
        """Close the connection of a thread that failed, if it is between two owners."""
        conn, self.serving[number] = self.serving[number], None
        if isinstance(conn, Connection) and self.claim(conn):
            self.drop(conn)

    def drop_lost(self) -> None:
        """Close connections that a thread has lost: those that nobody has owned, and nobody watched, twice in a row."""
        before, self.lost = self.lost, set(self.conns.copy().values()) - self.parked - set(self.serving)
        for conn in before & self.lost:
            self.drop(conn)

    def report(self, log: Callable[..., None], message: str, *args: object) -> None:
        """Log from where a logger that raises must not end a thread."""
        with contextlib.suppress(Exception):
            log(message, *args)

    def wait(self, seconds: float) -> None:
        """Sleep until a signal or a thread wakes the main thread, at most ``seconds``."""
        if self.pipe_poll.poll(max(seconds, 0) * 1000):
            with contextlib.suppress(BlockingIOError):
                os.read(self.PIPE[0], 4096)

    def wake(self) -> None:
        """End the main thread's wait; it is nothing if it has already been woken."""
        with contextlib.suppress(OSError):
            os.write(self.PIPE[1], b".")

    def stop(self) -> None:
        """Serve what the kernel has queued and what is under way, for ``graceful_timeout`` seconds at most."""
        now = monotonic()
        self.stop_by = now + self.cfg.graceful_timeout
        queued = self.cfg.backlog
        sys.setswitchinterval(MOMENT)
        while now < self.stop_by:
            self.replace_threads()
            self.notify()
            self.set_accepting(False)
            for conn in list(self.parked):
                if not conn.buf:
                    # Long enough for a request that is already on its way (it is answered with Connection: close).
                    conn.deadline = min(conn.deadline, now + STOP_KEEPALIVE_LINGER)
            # A worker that makes room for its successor leaves the queue to the others, until it is told to stop.
            if not self.recycling:
                queued = self.take_queued(queued)
            self.token.open()  # not before: threads that serve delay the close, and who connects meanwhile waits
            if not self.conns and not any(self.serving):
                break
            self.wait(min(self.stop_by - now, TICK / 10))
            self.close_overdue()
            now = monotonic()
        self.close_listeners()
        if self.conns:
            self.log.warning("Worker stops with %d connections unfinished after graceful_timeout.", len(self.conns))

    def take_queued(self, most: int) -> int:
        """Accept what the kernel has queued, and close each listener of which nothing is left.

        Accepts ``most`` connections; returns how many of them are left. Whoever comes after so many comes too late.
        """
        for fd, (listener, _) in list(self.listeners.items()):
            while len(self.conns) < self.max_conns:
                if close_if_empty(listener):
                    del self.listeners[fd]
                    break
                if self.accept(fd):
                    most -= 1
                elif monotonic() < self.accept_again:
                    break  # out of file descriptors: some are free when requests have ended
                if most <= 0:
                    self.close_listeners()
                    break
        return most

    def close_listeners(self) -> None:
        """Close this process's copies of the listening sockets."""
        for listener, _ in self.listeners.values():
            listener.close()
        self.listeners.clear()

    def close_overdue(self) -> None:
        """Close the parked connections that have waited too long."""
        now = monotonic()
        for conn in list(self.parked):
            if conn.deadline > now or not self.claim(conn):
                continue
            if conn.lingering:
                self.drop(conn)
            elif conn.has_input():
                conn.deadline = now + TICK
                self.park(conn)  # it arrived in the last moment: a thread will see it now
            else:
                if conn.buf:
                    self.report(self.log.info, "Closing a connection whose request head did not arrive in time.")
                    self.refuse(conn, 408, "Request Timeout")
                self.drop(conn)

    # Every thread.

    def serve_events(self, number: int) -> None:
        """Take one event at a time, until the worker stops. Nothing a request does ends the thread."""
        token, serving = self.token, self.serving
        while True:
            has_token = token.wait(number)
            ((fd, _),) = self.epoll.poll(-1, 1)
            if fd == self.stopped:
                break
            if has_token:
                token.begin()
            try:
                if fd in self.listeners:
                    serving[number] = True
                    self.accept(fd, number)
                elif (conn := self.conns.get(fd)) is not None:
                    serving[number] = conn
                    if self.claim(conn):
                        self.handle(conn)
                serving[number] = None
            except BaseException:
                self.report(self.log.exception, "Error in a worker thread")
                self.give_up(number)
            if has_token:
                token.end()

    def handle(self, conn: Connection) -> None:
        """Serve a connection this thread has claimed, then park or close it. A seam for plugins, as gthread's."""
        keep = False
        try:
            keep = self.serve(conn)
        finally:
            if keep:
                self.park(conn)
            else:
                self.drop(conn)

    def claim(self, conn: Connection) -> bool:
        """Become the owner of a parked connection, unless another thread just did."""
        try:
            self.parked.remove(conn)
        except KeyError:
            return False
        return True

    def park(self, conn: Connection) -> None:
        """Give up a connection until its next event or its deadline."""
        self.parked.add(conn)
        # An OSError means that its deadline came at once and another thread closed it.
        with contextlib.suppress(OSError, ValueError):
            if conn.watched:
                self.epoll.modify(conn.fd, _ONCE)
            else:
                conn.watched = True
                self.epoll.register(conn.fd, _ONCE)

    def drop(self, conn: Connection) -> None:
        """Close a connection this thread owns."""
        # An application that took the socket over may have closed it: then the number may be another connection's now.
        if self.conns.get(conn.fd) is conn:
            del self.conns[conn.fd]
        conn.close()
        if not self.alive:
            self.wake()
        elif not self.accepting:
            self.set_accepting(True)

    def set_accepting(self, wanted: bool) -> None:
        """Watch the listeners, or stop doing so; a worker with ``worker_connections`` connections does not."""
        wanted = wanted and self.alive and len(self.conns) < self.max_conns
        if wanted and monotonic() < self.accept_again:
            return
        # Two threads may do this at once, and one may end in the middle of it: the main thread does it again.
        self.accepting = wanted
        for fd in list(self.listeners):
            with contextlib.suppress(OSError, ValueError):  # it is so already
                if wanted:
                    self.epoll.register(fd, select.EPOLLIN)
                else:
                    self.epoll.unregister(fd)

    def accept(self, fd: int, number: int | None = None) -> bool:
        """Accept one connection and serve it in the thread with this number, or park it; False when none waited."""
        try:
            listener, server = self.listeners[fd]
            sock, client = listener.accept()
            try:
                conn = Connection(sock, client, server, self.cfg, self.limits)
            except OSError:
                sock.close()  # reset before it was served
                return True
            self.conns[conn.fd] = conn
        except KeyError:
            return False  # closed in this moment: the worker stops
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno in _OUT_OF_RESOURCES:
                if monotonic() >= self.accept_again:
                    self.report(self.log.error, "Cannot accept a connection (%s); trying again in a moment.", error)
                self.accept_again = monotonic() + TICK / 10  # else the threads would spin on what waits there
                self.set_accepting(False)
                return False
            return error.errno == errno.ECONNABORTED
        conn.deadline = monotonic() + (self.keepalive + FIRST_BYTE_SECONDS if self.alive else STOP_KEEPALIVE_LINGER)
        if len(self.conns) >= self.max_conns:
            self.set_accepting(False)
        if number is None:
            self.park(conn)
        else:
            self.serving[number] = conn
            self.handle(conn)
        return True

    # One connection, in the thread that owns it.

    def serve(self, conn: Connection) -> bool:
        """Answer the requests that have arrived; True to wait for more."""
        req: Any = None
        try:
            if conn.lingering:
                return conn.discard()
            began = bool(conn.buf)
            if not (received := conn.receive()):
                return received is None
            while (req := conn.next_request()) is not None:
                try:
                    keep = self.handle_request(req, conn)
                finally:
                    end_child()
                if not keep or not conn.finish(req):
                    return self.hang_up(conn)
                req, began = None, False
                conn.deadline = monotonic() + (self.keepalive if self.alive else STOP_KEEPALIVE_LINGER)
                if not conn.buf:
                    return True
            if not began:
                conn.deadline = monotonic() + HEAD_SECONDS
            if len(conn.buf) <= SMALL_HEAD or self.has_room_for_heads():
                return True
            self.log.warning("Closing a connection: unfinished request heads take more than %d bytes.", HEADS_TOTAL)
            self.refuse(conn, 503, "Service Unavailable")
            conn.buf = b""
        except PeerSilentError as error:
            self.log.info("Closing a connection: %s.", error)
            self.refuse(conn, 408, "Request Timeout")
        except (PeerGoneError, NoMoreData, StopIteration) as error:
            self.log.debug("Closing connection. %s", error)
        except Exception as error:
            self.handle_error(req, conn.sock, conn.client, error)
        return self.hang_up(conn)

    def has_room_for_heads(self) -> bool:
        """Whether unfinished heads do not take more memory than they may together."""
        return sum(len(conn.buf) for conn in self.conns.copy().values() if len(conn.buf) > SMALL_HEAD) <= HEADS_TOTAL

    def hang_up(self, conn: Connection) -> bool:
        """Close, lingering where the peer may still be sending; False when it is ready to be closed."""
        conn.half_close()
        conn.deadline = monotonic() + LINGER_SECONDS
        return conn.discard()

    def refuse(self, conn: Connection, status: int, reason: str) -> None:
        """Send an error that no request is needed for, if the peer still takes it at once."""
        with contextlib.suppress(OSError):
            util.write_error(conn.sock, status, reason, "")

    def handle_request(self, req: Any, conn: Connection) -> bool:
        """Run the hooks and the application for one request; True when the connection can be kept.

        The seam for plugins, with the signature of Gunicorn's ``ThreadWorker.handle_request``.
        """
        environ: dict[str, Any] = {}
        resp: Any = None
        try:
            self.pre_request(self, req)
            began = datetime.now()
            resp = LeanResponse(req, conn.sock, self.cfg)
            built = wsgi_environ.build(req, resp, self.environ, conn.environ)
            if built is not None:
                environ = built
            else:
                resp, environ = wsgi.create(
                    req, conn.sock, conn.client, conn.server, self.cfg, response_class=LeanResponse
                )
                environ["wsgi.multithread"] = True
            self.nr += 1
            if self.nr >= self.max_requests and self.alive:
                self.log.info("Autorestarting worker after current request.")
                self.recycling = True
                self.alive = False
                self.wake()
            if not self.alive or not self.keepalive or len(self.conns) > self.max_kept:
                resp.force_close()
            self.respond(req, resp, environ, began)
            return not resp.should_close()
        except (PeerGoneError, NoMoreData, StopIteration):
            raise  # StopIteration: the application took the socket over, for a WebSocket, and is done with it
        except BaseException as error:
            end_child(error)
            if resp is not None and resp.headers_sent:  # a second head would corrupt the response
                if isinstance(error, PeerSilentError):
                    self.log.info("Closing a connection: %s.", error)
                else:
                    self.log.exception("Error handling request")
                raise PeerGoneError(f"the response was cut off: {error}") from error
            if not isinstance(error, Exception):
                raise RuntimeError(f"the application raised {error!r}") from error  # not a reason for a thread to end
            raise
        finally:
            try:
                self.post_request(self, req, environ, resp)
            except Exception:
                self.log.exception("Exception in post_request hook")

    def respond(self, req: Any, resp: LeanResponse, environ: dict[str, Any], began: datetime) -> None:
        """Call the application and send what it returns; its iterable is closed once, whatever happens (PEP 3333)."""
        result = self.wsgi(environ, resp.start_response)
        try:
            if isinstance(result, wsgi.FileWrapper):
                resp.write_file(result)
            elif type(result) is list or type(result) is tuple:
                resp.write_last(b"".join(result))
            else:
                for block in result:
                    if block:
                        resp.write(block)
            resp.close()
        finally:
            self.log.access(resp, req, environ, datetime.now() - began)
            if hasattr(result, "close"):
                result.close()
