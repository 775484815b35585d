"""A raw client."""

from __future__ import annotations

import http.client
import socket


class Client:
    """One connection to a server on this host."""

    def __init__(self, port: int, data: bytes = b"") -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=30)
        if data:
            self.send(data)

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def reply(self, method: str = "GET") -> tuple[int, http.client.HTTPMessage, bytes]:
        """Read the next response, and no byte beyond it."""
        response = http.client.HTTPResponse(self.socket, method=method)
        response.fp = self.socket.makefile("rb", buffering=0)
        response.begin()
        return response.status, response.headers, response.read()

    def until(self, text: bytes) -> bytes:
        """Read until ``text`` has come."""
        data = bytearray()
        while text not in data:
            more = self.socket.recv(65536)
            assert more, f"closed after {data!r}"
            data += more
        return bytes(data)

    def rest(self) -> bytes:
        """Read until the server closes."""
        data = bytearray()
        while more := self.socket.recv(65536):
            data += more
        return bytes(data)


def get(target: str, *fields: str, version: str = "HTTP/1.1") -> bytes:
    return "".join(f"{line}\r\n" for line in (f"GET {target} {version}", "Host: x", *fields, "")).encode()


def post(target: str, body: bytes, *fields: str) -> bytes:
    lines = (f"POST {target} HTTP/1.1", "Host: x", f"Content-Length: {len(body)}", *fields, "")
    return "".join(f"{line}\r\n" for line in lines).encode() + body
