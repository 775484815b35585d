"""The WSGI applications the process tests serve with lean."""

from __future__ import annotations

import hashlib
import os
import sys
import time
from pathlib import Path
from wsgiref.validate import validator

from flask import Flask, Response, jsonify, request

HERE = Path(__file__).parent
closed: list[str] = []


class Blocks:
    """An iterable of blocks that counts its close() and may raise on the way."""

    def __init__(self, name, *blocks):
        self.name = name
        self.blocks = iter(blocks)

    def __iter__(self):
        return self

    def __next__(self):
        block = next(self.blocks)
        if isinstance(block, BaseException):
            raise block
        return block() if callable(block) else block

    def close(self):
        closed.append(self.name)


class Stop(BaseException):
    """Not an Exception, as SystemExit is not."""


def wait_for(path):
    """Return when ``path`` exists; tests create it when they have seen enough."""
    deadline = time.monotonic() + 20
    while not Path(path).exists():
        if time.monotonic() > deadline:
            raise TimeoutError(path)
        time.sleep(0.005)


def announce(path):
    Path(path).touch()


def app(environ, start_response):
    path = environ["PATH_INFO"]
    query = environ["QUERY_STRING"]
    route = ROUTES.get(path)
    if route is not None:
        return route(environ, start_response, query)
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "6")])
    return [b"hello\n"]


def text(start_response, body, *headers):
    body = body.encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body))), *headers])
    return [body]


def pid(environ, start_response, query):
    return text(start_response, str(os.getpid()))


def held(environ, start_response, query):
    """Say that the request is here, then answer when the test says so: ?arrived,release."""
    arrived, release = query.split(",")
    announce(arrived)
    wait_for(release)
    return text(start_response, "held")


def digest(environ, start_response, query):
    body = environ["wsgi.input"]
    size, sha = 0, hashlib.sha256()
    while block := body.read(65536):
        size += len(block)
        sha.update(block)
    return text(start_response, f"{size} {sha.hexdigest()} {rss()}")


def rss():
    """The resident size of this process, in KiB."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0])


def unread(environ, start_response, query):
    return text(start_response, "not read")


def lines(environ, start_response, query):
    return text(start_response, repr([environ["wsgi.input"].readline(3), *environ["wsgi.input"]]))


def stream(environ, start_response, query):
    """A block, then nothing until the test has seen it, then another."""
    start_response("200 OK", [("Content-Type", "text/plain")])
    return Blocks("stream", b"", b"first", lambda: wait_for(query) or b"", b"second")


def writes(environ, start_response, query):
    write = start_response("200 OK", [("Content-Type", "text/plain")])
    write(b"one ")
    write(b"two ")
    return [b"three"]


def several(environ, start_response, query):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"a", b"", b"b", b"c"]


def nothing(environ, start_response, query):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return []


def status(environ, start_response, query):
    start_response(f"{query} Something", [("X-A", "b")])
    return []


def rude(environ, start_response, query):
    """A body where none may be."""
    start_response(f"{query} Something", [("Content-Length", "4")])
    return [b"body"]


def never_starts(environ, start_response, query):
    return [b"body"]


def strings(environ, start_response, query):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return ["text"]


def splits(environ, start_response, query):
    start_response("200 OK", [("X-A", "b\r\nSet-Cookie: evil=1")])
    return [b""]


def short(environ, start_response, query):
    start_response("200 OK", [("Content-Length", "10")])
    return Blocks("short", b"12345")


def long(environ, start_response, query):
    start_response("200 OK", [("Content-Length", "5")])
    return Blocks("long", b"123", b"456", b"789")


def fails(environ, start_response, query):
    raise ValueError("before the head")


def fails_late(environ, start_response, query):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return Blocks("late", b"begun", ValueError("after the head"))


def fails_between(environ, start_response, query):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return Blocks("between", ValueError("after start_response, before the head"))


def fails_os(environ, start_response, query):
    raise ConnectionResetError("a database went away")


def excuses(environ, start_response, query):
    start_response("200 OK", [("X-First", "1"), ("Content-Length", "3")])
    try:
        raise ValueError("changed my mind")
    except ValueError:
        start_response("503 Sorry", [("Content-Type", "text/plain")], sys.exc_info())
    return [b"sorry"]


def excuses_late(environ, start_response, query):
    write = start_response("200 OK", [("Content-Type", "text/plain")])
    write(b"begun")
    try:
        raise ValueError("too late")
    except ValueError:
        start_response("503 Sorry", [("Content-Type", "text/plain")], sys.exc_info())
    return []


def exits(environ, start_response, query):
    raise {"system": SystemExit(3), "keyboard": KeyboardInterrupt(), "other": Stop()}[query]


def takes_over(environ, start_response, query):
    environ["gunicorn.socket"].sendall(b"HTTP/1.1 101 Switching Protocols\r\n\r\nas I like")
    raise StopIteration


def file(environ, start_response, query):
    """This source file, from an offset: ?offset[,length]."""
    offset, _, length = query.partition(",")
    source = Path(__file__).open("rb")  # noqa: SIM115 - the server closes it
    source.seek(int(offset))
    lengths = [("Content-Length", length)] if length else []
    start_response("200 OK", [("Content-Type", "text/plain"), *lengths])
    result = environ["wsgi.file_wrapper"](source)
    result.close = lambda: (closed.append("file"), source.close())
    return result


def send(environ, start_response, query):
    start_response("200 OK", [("Content-Length", str(Path(query).stat().st_size))])
    return environ["wsgi.file_wrapper"](Path(query).open("rb"))


def big(environ, start_response, query):
    start_response("200 OK", [("Content-Length", query)])
    return [b"x" * int(query)]


def hints(environ, start_response, query):
    environ["wsgi.early_hints"]([("Link", "</style.css>; rel=preload")])
    return text(start_response, "hinted")


def closes(environ, start_response, query):
    return text(start_response, repr(closed))


def complains(environ, start_response, query):
    environ["wsgi.errors"].write("a complaint\n")
    return text(start_response, "complained")


def header(environ, start_response, query):
    return text(start_response, environ.get(query, "-"))


ROUTES = {
    f"/{route.__name__.replace('_', '-')}": route
    for route in (
        *(pid, held, digest, unread, lines, stream, writes, several, nothing, status, rude, never_starts, strings),
        *(splits, short, long, fails, fails_late, fails_between, fails_os, excuses, excuses_late, exits, file, big),
        *(hints, closes, complains, header, takes_over, send),
    )
}

validated = validator(app)

flask = Flask(__name__)


@flask.post("/json")
def flask_json():
    return jsonify(got=request.get_json(), args=request.args, agent=request.headers.get("User-Agent"))


@flask.post("/upload")
def flask_upload():
    return jsonify(size=len(request.files["file"].read()), note=request.form["note"])


@flask.get("/stream")
def flask_stream():
    return Response((f"{i}\n" for i in range(5)), mimetype="text/plain")


@flask.get("/boom")
def flask_boom():
    raise ValueError("boom")
