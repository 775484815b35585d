"""Applications that do unusual things with their socket, processes and framing."""

from __future__ import annotations

import os
from pathlib import Path

from lean_app import announce, text, wait_for


def app(environ, start_response):
    return globals()[environ["PATH_INFO"].strip("/")](environ, start_response, environ["QUERY_STRING"])


def pid(environ, start_response, query):
    return text(start_response, str(os.getpid()))


def swallow(environ, start_response, query):
    return text(start_response, str(len(environ["wsgi.input"].read())))


def closes_socket(environ, start_response, query):
    """As a WebSocket library does: close the socket, then clean up, then StopIteration."""
    arrived, release = query.split(",")
    environ["gunicorn.socket"].close()
    announce(arrived)
    wait_for(release)
    raise StopIteration


def listens(environ, start_response, query):
    """Take the socket over and wait for input, longer than ``timeout``."""
    sock = environ["gunicorn.socket"]
    sock.sendall(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
    try:
        sock.sendall(b"got " + sock.recv(100))
    except OSError as error:
        sock.sendall(repr(error).encode())
    raise StopIteration


def negative(environ, start_response, query):
    start_response("200 OK", [("Content-Length", "-5")])
    return [b"0123456789"]


def write_then_file(environ, start_response, query):
    write = start_response("200 OK", [("Content-Length", "10")])
    write(b"01234")
    return environ["wsgi.file_wrapper"](Path(query).open("rb"))


def forks(environ, start_response, query):
    """Leave a child behind that has inherited everything, as multiprocessing does."""
    if os.fork() == 0:
        try:
            wait_for(query)
        finally:
            os._exit(0)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"forked"]


def remembers(environ, start_response, query):
    body = environ["wsgi.input"]
    seen = getattr(body, "user", "nobody")
    body.user = query
    return text(start_response, seen)
