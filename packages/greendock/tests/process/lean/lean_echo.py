"""A WSGI application that says what the server told it, and what became of its process."""

from __future__ import annotations

import grp
import json
import logging
import os
import pwd
import sys
from pathlib import Path

LOADED_IN = os.getpid()
OBJECTS = ("gunicorn.socket", "wsgi.errors", "wsgi.input", "wsgi.early_hints", "wsgi.file_wrapper", "REMOTE_PORT")


def app(environ, start_response):
    route = ROUTES.get(environ["PATH_INFO"], echo)
    return route(environ, start_response)


def answer(start_response, value, status="200 OK"):
    body = json.dumps(value, indent=1, sort_keys=True).encode()
    start_response(status, [("Content-Type", "application/json"), ("Content-Length", str(len(body))), ("X-Out", "o")])
    return [body]


def pid(environ, start_response):
    return answer(start_response, os.getpid())


def echo(environ, start_response):
    """The environment and the body; trailers too, which are known after the body."""
    body = environ["wsgi.input"].read().decode("latin-1")
    seen = {key: repr(value) for key, value in environ.items() if key not in OBJECTS}
    return answer(start_response, {"body": body, "environ": seen})


def target_of(link):
    return link.readlink() if link.is_symlink() else link  # the one that lists the folder is gone


def process(environ, start_response):
    """What settings for the process have changed."""
    return answer(
        start_response,
        {
            "cwd": str(Path.cwd()),
            "user": pwd.getpwuid(os.geteuid()).pw_name,
            "group": grp.getgrgid(os.getegid()).gr_name,
            "groups": sorted(os.getgroups()),
            "variable": os.environ.get("FROM_RAW_ENV"),
            "preloaded": os.getpid() != LOADED_IN,
            "heartbeat": sorted(
                str(target.parent)
                for target in map(target_of, Path("/proc/self/fd").iterdir())
                if "wgunicorn-" in target.name
            ),
            "path": sys.path[0],
        },
    )


def talks(environ, start_response):
    """Words for both streams, and for the application's own logger."""
    print("on standard output", flush=True)
    print("on standard error", file=sys.stderr, flush=True)
    print("on wsgi.errors", file=environ["wsgi.errors"], flush=True)
    logging.getLogger("shop").warning("in the log")
    return answer(start_response, "said")


def late(environ, start_response):
    """Fails when the head and a block have been sent."""
    start_response("200 OK", [("Content-Type", "text/plain")])
    yield b"begun"
    raise ValueError("late")


def endless(environ, start_response):
    """A response for a client that goes away."""
    start_response("200 OK", [("Content-Type", "text/plain")])
    while True:
        yield b"x" * 65536


def boom(environ, start_response):
    raise ValueError("boom")


def stream(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return (b"block %d\n" % number for number in range(3))


def empty(environ, start_response):
    start_response("204 No Content", [("X-Out", "o")])
    return []


def same(environ, start_response):
    start_response("304 Not Modified", [("ETag", '"1"')])
    return []


def file(environ, start_response):
    """This file, as the server's own wrapper sends it."""
    size = Path(__file__).stat().st_size
    start_response("200 OK", [("Content-Type", "text/x-python"), ("Content-Length", str(size))])
    return environ["wsgi.file_wrapper"](Path(__file__).open("rb"))


def cookies(environ, start_response):
    start_response("302 Found", [("Set-Cookie", "a=1"), ("Set-Cookie", "b=2"), ("Location", "/"), ("Server", "mine")])
    return [b"two ", b"blocks"]


ROUTES = {
    f"/{route.__name__}": route
    for route in (pid, process, talks, late, endless, boom, stream, empty, same, file, cookies)
}
