"""What ordinary applications do to their process, each at a path of its own."""

from __future__ import annotations

import ctypes
import locale
import multiprocessing
import os
import pty
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

from gunicorn.dirty import get_dirty_client


def app(environ, start_response):
    route = ROUTES[environ["PATH_INFO"].strip("/")]
    result = route(environ, environ["QUERY_STRING"])
    if result is None:
        result = b"done"
    length = [("Content-Length", str(len(result)))] if isinstance(result, bytes) else []
    start_response("200 OK", [("Content-Type", "text/plain"), *length])
    return [result] if isinstance(result, bytes) else result


def pid(environ, query):
    return str(os.getpid()).encode()


def held(environ, query):
    arrived, release = query.split(",")
    Path(arrived).touch()
    deadline = time.monotonic() + 20
    while not Path(release).exists() and time.monotonic() < deadline:
        threading.Event().wait(0.005)
    return b"held"


def default_timeout(environ, query):
    socket.setdefaulttimeout(float(query))


def big(environ, query):
    return b"x" * int(query)


def file(environ, query):
    return environ["wsgi.file_wrapper"](Path(query).open("rb"))


def no_sendfile(environ, query):
    def fails(*args):
        raise OSError(22, "the kernel cannot send this")

    os.sendfile = fails


def wait_until_idle(thread):
    """Wait until it has not run for a while: one that still ends a request may hold a lock, also gthread's."""
    deadline, before = time.monotonic() + 10, None
    while (switches := context_switches(thread)) != before and time.monotonic() < deadline:
        before = switches
        threading.Event().wait(0.1)


def context_switches(thread):
    try:
        status = Path(f"/proc/self/task/{thread.native_id}/status").read_text()
    except OSError:
        return []  # it has ended
    return [line for line in status.splitlines() if "ctxt_switches" in line]


def throw(environ, query):
    """An asynchronous exception for so many threads that wait for a request: what stopit and func_timeout use."""
    others = [
        thread
        for thread in threading.enumerate()
        if thread not in (threading.main_thread(), threading.current_thread())
    ]
    for thread in others[: int(query)]:
        wait_until_idle(thread)
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident), ctypes.py_object(TimeoutError))
    return str(len(others)).encode()


# Forks. Each answers with the child's pid.


def fork_and_exit(environ, query):
    if child := os.fork():
        return str(child).encode()
    sys.exit()


def fork_and_raise(environ, query):
    if child := os.fork():
        return str(child).encode()
    raise ValueError("in the child")


def fork_and_return(environ, query):
    """The child answers with its own pid."""
    return str(os.fork() or os.getpid()).encode()


def close_epolls(environ, query):
    """What os.closerange() does to its process."""
    for link in Path("/proc/self/fd").iterdir():
        if "eventpoll" in str(link.readlink()):
            os.close(int(link.name))


def fork_in_a_generator(environ, query):
    if child := os.fork():
        yield str(child).encode()
    else:
        sys.exit()


def forkpty_and_exit(environ, query):
    child, fd = pty.fork()
    if child:
        os.close(fd)
        return str(child).encode()
    sys.exit()


def fork_in_c(environ, query):
    if child := ctypes.PyDLL(None).fork():
        return str(child).encode()
    os._exit(0)


def multiprocess(environ, query):
    process = multiprocessing.get_context("fork").Process(target=int)
    process.start()
    process.join()
    return str(process.pid).encode()


def run_a_program(environ, query):
    process = subprocess.run(["true"], preexec_fn=os.getpid, check=True)
    return str(process.returncode).encode()


# What is shared.


def close_errors(environ, query):
    environ["wsgi.errors"].close()


def complain(environ, query):
    environ["wsgi.errors"].write("a complaint\n")
    environ["wsgi.errors"].flush()


def close_socket(environ, query):
    environ["gunicorn.socket"].close()
    raise StopIteration


def replace_modules(environ, query):
    class Socket(socket.socket):
        pass

    class Thread(threading.Thread):
        pass

    def no_time(*args):
        raise RuntimeError("time stands still")

    time.time = lambda: 0.0
    time.sleep = time.perf_counter = no_time
    socket.socket, threading.Thread = Socket, Thread


def change_directory(environ, query):
    os.chdir("/")


def change_locale(environ, query):
    locale.setlocale(locale.LC_ALL, query)


def switch_interval(environ, query):
    sys.setswitchinterval(float(query))


def never_ends(environ, query):
    threading.Thread(target=threading.Event().wait).start()


def fails(environ, query):
    raise ValueError("as often")


def ask_a_dirty_worker(environ, query):
    return str(get_dirty_client().execute("hostile_dirty:Dirty", "add", 1, 2)).encode()


ROUTES = {
    route.__name__: route
    for route in (
        *(
            pid,
            held,
            default_timeout,
            big,
            file,
            no_sendfile,
            throw,
            fork_and_exit,
            fork_and_raise,
            fork_and_return,
            close_epolls,
        ),
        *(fork_in_a_generator, forkpty_and_exit, fork_in_c, multiprocess, run_a_program, close_errors, complain),
        *(close_socket, replace_modules, change_directory, change_locale, switch_interval, never_ends),
        *(fails, ask_a_dirty_worker),
    )
}
