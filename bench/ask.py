"""One request: `python -m bench.ask PORT PATH` posts its standard input, if any, and prints the status and the body."""

from __future__ import annotations

import http.client
import sys


def get(port: int, path: str, body: bytes | None = None, timeout: float = 10) -> tuple[int, bytes]:
    """Ask once; return status and body."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.request("GET" if body is None else "POST", path, body=body)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def main(port: int, path: str) -> int:
    """Exit code 1: no answer."""
    try:
        status, answer = get(port, path, sys.stdin.buffer.read() or None)
    except (OSError, http.client.HTTPException):
        return 1
    sys.stdout.buffer.write(b"%d\n" % status + answer)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(int(sys.argv[1]), sys.argv[2]))
