"""Two Gunicorns with the same settings, one with gthread and one with lean, and what they answer to the same bytes."""

from __future__ import annotations

import contextlib
import http.client
import io
import re
import socket
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from lean_server import Server, until

HERE = Path(__file__).parent
#: Every atom that depends on nothing but the request, the response and the settings; then those that time changes.
ATOMS = (
    "%(h)s|%(l)s|%(u)s|%(r)s|%(m)s|%(U)s|%(q)s|%(H)s|%(s)s|%(b)s|%(B)s|%(f)s|%(a)s|%({x-request-id}i)s|%({nothing}i)s"
    "|%({content-type}o)s|%({x-out}o)s|%({server}o)s|%({raw_uri}e)s|%({wsgi.url_scheme}e)s|%({http_x_under}e)s"
)
TIMES = "|T=%(T)s|D=%(D)s|M=%(M)s|L=%(L)s|p=%(p)s|t=%(t)s"


class Twins:
    """``ask`` sends the same to both and gives both answers, gthread's first."""

    def __init__(self, start: Callable[..., Server], *args: str, port_from: str = "", **options: Any) -> None:
        self.servers = [
            start("-k", worker, "--threads", "1", *args, ready=False, **options)
            for worker in ("gthread", "greendock.contrib.lean.LeanWorker")
        ]
        for server in self.servers:
            if port_from:  # where the log is, when settings put it elsewhere
                file = server.log_path.with_name(port_from)
                found = until(
                    lambda file=file: (
                        file.exists() and re.search(r"Listening at: http://127.0.0.1:(\d+)", file.read_text())
                    )
                )
                server.port = int(found[1])
                until(lambda server=server: up(server))
            else:
                server.wait_until_ready()

    def ask(self, data: bytes) -> list[list[Any]]:
        return [[mask(answer, server) for answer in exchange(server, data)] for server in self.servers]

    def logged(self, name: str) -> list[list[str]]:
        """The lines of a file that each wrote into its folder, when the last request of all has been logged."""
        for server in self.servers:
            exchange(server, get("/the-last"))
        files = [server.log_path.with_name(name) for server in self.servers]
        for file in files:
            until(lambda file=file: file.exists() and "/the-last" in file.read_text())
        lines = [file.read_text().splitlines() for file in files]
        # How often each was asked whether it is ready is of no interest.
        return [
            [mask(line, s) for line in each if "/pid" not in line] for each, s in zip(lines, self.servers, strict=True)
        ]


def get(target: str = "/", *fields: str, method: str = "GET", version: str = "HTTP/1.1", body: bytes = b"") -> bytes:
    return "\r\n".join([f"{method} {target} {version}", "Host: a", *fields, "", ""]).encode("latin-1") + body


def up(server: Server) -> bool:
    try:
        return server.get("/pid").status == 200
    except ConnectionError:
        return False


def exchange(server: Server, data: bytes) -> list[Any]:
    """Send ``data`` and nothing more; return every answer until the server closes: status, headers, body."""
    client = server.connect(data)
    with contextlib.suppress(OSError):  # refused and closed before all was sent
        client.sock.shutdown(socket.SHUT_WR)
    received = client.rest()
    client.close()
    return list(answers(received, data.partition(b" ")[0].decode("latin-1")))


class _Stream(io.BytesIO):
    def makefile(self, *_: Any) -> io.BytesIO:
        return self

    def close(self) -> None:
        """Stay open for the next answer."""


def answers(received: bytes, method: str) -> Iterable[Any]:
    """Read ``received`` as the responses it holds; whatever is no response is given as it is."""
    if received.startswith(b"HTTP/1.1 100 "):
        yield "continue"
    stream: Any = _Stream(received)
    while (place := stream.tell()) < len(received):
        response = http.client.HTTPResponse(stream, method=method)
        try:
            response.begin()
            headers = [(name, value) for name, value in response.getheaders() if name != "Date"]
            assert "Date" in response.headers or response.status >= 400
            yield response.status, response.reason, headers, response.read().decode("latin-1")
        except (http.client.HTTPException, ValueError) as error:
            yield repr(error), re.sub(r"\r\nDate: [^\r]*", "", received[place:].decode("latin-1"))
            return


def mask(value: Any, server: Server) -> Any:
    """Replace what tells the two apart: ports, process ids, folders."""
    if isinstance(value, tuple | list):
        return type(value)(mask(each, server) for each in value)
    if not isinstance(value, str):
        return value
    value = value.replace(str(server.port), "PORT").replace(str(server.log_path.parent), "FOLDER")
    value = re.sub(r"\bpid:? ?\d+", "pid", value)
    return re.sub(r"\[\d{4}-[^\]]*\] \[\d+\]", "[when] [pid]", value)
