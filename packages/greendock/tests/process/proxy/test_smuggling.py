"""Malformed and smuggling requests: none reaches the application as two, most do not reach it at all."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.process.proxy.support import Proxy, Record

HOST = "Host: localhost\r\n"
# What an attacker hopes the next server takes for a request of its own. {n} is the number of the case, {cl} the length
# of all that follows its headers.
INNER = "GET /smuggled/{n} HTTP/1.1\r\nHost: localhost\r\n\r\n"
CHUNKED_INNER = "0\r\n\r\n" + INNER
POST = "POST /case/{n} HTTP/1.1\r\n"
GET = "GET /case/{n} HTTP/1.1\r\n"
TE = "Transfer-Encoding: chunked\r\n"
# A front that believes the length takes all of it for a body; one that believes the chunks takes two requests.
CL_TE = "Content-Length: {cl}\r\n" + TE

CASES = {
    # Both ways of framing a body. https://www.rfc-editor.org/rfc/rfc9112#section-6.3
    "length then chunked": POST + HOST + CL_TE + "\r\n" + CHUNKED_INNER,
    "chunked then length": POST + HOST + TE + "Content-Length: 4\r\n\r\n" + CHUNKED_INNER,
    "chunked and length zero": POST + HOST + TE + "Content-Length: 0\r\n\r\n" + CHUNKED_INNER,
    "length and chunked on HTTP/1.0": POST.replace("1.1", "1.0") + HOST + CL_TE + "\r\n" + CHUNKED_INNER,
    "chunked on HTTP/1.0": POST.replace("1.1", "1.0") + HOST + TE + "\r\n" + CHUNKED_INNER,
    # A Transfer-Encoding that one server reads as chunked and another does not.
    "space before the colon": POST
    + HOST
    + "Transfer-Encoding : chunked\r\nContent-Length: {cl}\r\n\r\n"
    + CHUNKED_INNER,
    "xchunked": POST + HOST + "Transfer-Encoding: xchunked\r\nContent-Length: {cl}\r\n\r\n" + CHUNKED_INNER,
    "identity": POST + HOST + "Transfer-Encoding: identity\r\nContent-Length: {cl}\r\n\r\n" + CHUNKED_INNER,
    "gzip, chunked": POST + HOST + "Transfer-Encoding: gzip, chunked\r\n\r\n" + CHUNKED_INNER,
    "chunked, identity": POST + HOST + "Transfer-Encoding: chunked, identity\r\n\r\n" + CHUNKED_INNER,
    "chunked twice in one": POST + HOST + "Transfer-Encoding: chunked, chunked\r\n\r\n" + CHUNKED_INNER,
    "two transfer encodings": POST + HOST + TE + "Transfer-Encoding: identity\r\n\r\n" + CHUNKED_INNER,
    "two chunked": POST + HOST + TE + TE + "\r\n" + CHUNKED_INNER,
    "chunked in quotes": POST + HOST + 'Transfer-Encoding: "chunked"\r\nContent-Length: {cl}\r\n\r\n' + CHUNKED_INNER,
    "vertical tab": POST + HOST + "Transfer-Encoding: \x0bchunked\r\nContent-Length: {cl}\r\n\r\n" + CHUNKED_INNER,
    "trailing tab": POST + HOST + "Transfer-Encoding: chunked\t\r\nContent-Length: {cl}\r\n\r\n" + CHUNKED_INNER,
    "folded": POST + HOST + "Transfer-Encoding:\r\n chunked\r\nContent-Length: {cl}\r\n\r\n" + CHUNKED_INNER,
    "folded by tab": POST
    + HOST
    + "X: y\r\n\tTransfer-Encoding: chunked\r\nContent-Length: {cl}\r\n\r\n"
    + CHUNKED_INNER,
    "underscore": POST + HOST + "Transfer_Encoding: chunked\r\nContent-Length: {cl}\r\n\r\n" + CHUNKED_INNER,
    "NUL in the name": POST + HOST + "Transfer-Enc\0oding: chunked\r\nContent-Length: {cl}\r\n\r\n" + CHUNKED_INNER,
    "NUL in the value": POST + HOST + "Transfer-Encoding: chun\0ked\r\nContent-Length: {cl}\r\n\r\n" + CHUNKED_INNER,
    "bare CR before": POST + HOST + "X: y\rTransfer-Encoding: chunked\r\nContent-Length: {cl}\r\n\r\n" + CHUNKED_INNER,
    "bare LF": POST + HOST + "X: y\nTransfer-Encoding: chunked\r\nContent-Length: {cl}\r\n\r\n" + CHUNKED_INNER,
    "leading space": POST + HOST + " Transfer-Encoding: chunked\r\nContent-Length: {cl}\r\n\r\n" + CHUNKED_INNER,
    "empty": POST + HOST + "Transfer-Encoding:\r\nContent-Length: {cl}\r\n\r\n" + CHUNKED_INNER,
    "connection names it": POST + HOST + TE + "Connection: close, Transfer-Encoding\r\n\r\n" + CHUNKED_INNER,
    # Lengths that two servers read differently.
    "two lengths": POST + HOST + "Content-Length: 0\r\nContent-Length: {cl}\r\n\r\n" + INNER,
    "same length twice": POST + HOST + "Content-Length: 0\r\nContent-Length: 0\r\nConnection: close\r\n\r\n" + INNER,
    "list of lengths": POST + HOST + "Content-Length: 0, {cl}\r\n\r\n" + INNER,
    "plus sign": POST + HOST + "Content-Length: +0\r\n\r\n" + INNER,
    "minus sign": POST + HOST + "Content-Length: -1\r\n\r\n" + INNER,
    "hexadecimal": POST + HOST + "Content-Length: 0x0\r\n\r\n" + INNER,
    "trailing letters": POST + HOST + "Content-Length: 0abc\r\n\r\n" + INNER,
    "beyond 64 bits": POST + HOST + "Content-Length: 18446744073709551616\r\n\r\n" + INNER,
    "empty length": POST + HOST + "Content-Length: \r\nConnection: close\r\n\r\n" + INNER,
    "length with a space before the colon": POST + HOST + "Content-Length : 0\r\nConnection: close\r\n\r\n" + INNER,
    "length of a GET": GET + HOST + "Content-Length: {cl}\r\nConnection: close\r\n\r\n" + INNER,
    "body that nobody reads": "POST /unread HTTP/1.1\r\n"
    + HOST
    + "Content-Length: {cl}\r\nConnection: close\r\n\r\n"
    + INNER,
    # Chunks that two servers read differently.
    "chunk size with a sign": POST + HOST + TE + "\r\n+0\r\n\r\n" + INNER,
    "chunk size with 0x": POST + HOST + TE + "\r\n0x0\r\n\r\n" + INNER,
    "chunk size beyond 64 bits": POST + HOST + TE + "\r\n10000000000000000\r\n\r\n" + INNER,
    "chunk longer than its size": POST + HOST + TE + "\r\n1\r\nabc\r\n0\r\n\r\n" + INNER,
    "chunk ended by LF": POST + HOST + TE + "Connection: close\r\n\r\n2\nab\n0\n\n" + INNER,
    "chunk extension holding a line": POST + HOST + TE + 'Connection: close\r\n\r\n1;x="\n"\r\na\r\n0\r\n\r\n' + INNER,
    "extension without a value": POST + HOST + TE + "Connection: close\r\n\r\n1;\r\na\r\n0\r\n\r\n" + INNER,
    "trailer that sets a length": POST
    + HOST
    + TE
    + "Connection: close\r\n\r\n0\r\nContent-Length: {cl}\r\n\r\n"
    + INNER,
    # Request lines and headers.
    "two hosts": GET + HOST + "Host: evil.example\r\n\r\n" + INNER,
    "no host": GET + "\r\n" + INNER,
    "host with a path": GET + "Host: localhost/smuggled\r\n\r\n" + INNER,
    "host with a space": GET + "Host: local host\r\n\r\n" + INNER,
    "header without a colon": GET + HOST + "Nonsense\r\nConnection: close\r\n\r\n" + INNER,
    "NUL in the request line": "GET /case/{n}\0 HTTP/1.1\r\n" + HOST + "\r\n" + INNER,
    "space in the request line": "GET /case/{n} /smuggled/{n} HTTP/1.1\r\n" + HOST + "\r\n",
    "line break in the path": "GET /case/{n}%0d%0aX:%20y HTTP/1.1\r\n" + HOST + "Connection: close\r\n\r\n",
    "bare CR in the path": "GET /case/{n}\rGET /smuggled/{n} HTTP/1.1\r\n" + HOST + "\r\n",
    "version 2.0": "GET /case/{n} HTTP/2.0\r\n" + HOST + "\r\n" + INNER,
    "version 1.10": "GET /case/{n} HTTP/1.10\r\n" + HOST + "Connection: close\r\n\r\n" + INNER,
    "lower-case protocol": "GET /case/{n} http/1.1\r\n" + HOST + "\r\n" + INNER,
    "HTTP/0.9": "GET /case/{n}\r\n" + INNER,
    "preface of HTTP/2": "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + INNER,
    "CONNECT": "CONNECT localhost:80 HTTP/1.1\r\n" + HOST + "\r\n" + INNER,
    "TRACE": "TRACE /case/{n} HTTP/1.1\r\n" + HOST + "Connection: close\r\n\r\n" + INNER,
    "upgrade with a body": GET
    + HOST
    + "Upgrade: websocket\r\nConnection: upgrade, close\r\nContent-Length: {cl}\r\n\r\n"
    + INNER,
    "h2c upgrade": GET
    + HOST
    + "Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings, close\r\nHTTP2-Settings: AAMAAABk\r\n\r\n",
    "expect": POST + HOST + "Expect: 100-continue\r\nContent-Length: {cl}\r\nConnection: close\r\n\r\n" + INNER,
}


def request(number: int, text: str) -> bytes:
    data = text.replace("{n}", str(100 + number)).encode("latin-1")
    body = data.partition(b"\r\n\r\n")[2]
    return data.replace(b"{cl}", b"%d" % len(body))


@pytest.fixture(scope="module")
def impatient(folder: object, nginx: str, app: object, launch_module: Callable[..., Proxy]) -> Proxy:
    """Nginx that soon gives up waiting for the rest of a broken request."""
    return launch_module(CLIENT_HEADER_TIMEOUT="1s", CLIENT_BODY_TIMEOUT="1s", KEEPALIVE_TIMEOUT="1s")


@pytest.fixture(scope="module")
def outcomes(impatient: Proxy, record: Record) -> dict[str, tuple[bytes, int, int]]:
    """Each case: what came back, and how often the request and the one smuggled in it reached the application."""

    def attempt(number: int, text: str) -> bytes:
        return impatient.raw(request(number, text))

    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(attempt, range(len(CASES)), CASES.values()))
    # Whatever an attack left on a kept-alive connection to Gunicorn would be read before these.
    for _ in range(40):
        assert impatient.get("/afterwards").json()["path"] == "/afterwards"
    paths = [path for _, path, _ in record.requests()]
    return {
        name: (answers[n], sum(f"/case/{100 + n}" in p for p in paths), paths.count(f"/smuggled/{100 + n}"))
        for n, name in enumerate(CASES)
    }


def test_there_are_enough_cases() -> None:
    assert len(CASES) >= 60


@pytest.mark.parametrize("name", CASES)
def test_a_malformed_request_never_becomes_two(name: str, outcomes: dict[str, tuple[bytes, int, int]]) -> None:
    answer, arrived, smuggled = outcomes[name]
    assert smuggled == 0, answer
    assert arrived <= 1, answer
    assert answer.count(b"HTTP/1.1 200 OK\r\n") <= 1, answer


def test_nginx_and_gunicorn_are_still_in_step(impatient: Proxy, outcomes: object) -> None:
    for number in range(20):
        assert impatient.get(f"/step/{number}").json()["path"] == f"/step/{number}"


def test_an_honest_second_request_is_seen_as_one(impatient: Proxy, record: Record) -> None:
    """The control: what these tests look for, they would see."""
    closing = INNER.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n")
    assert impatient.raw(request(900, GET + HOST + "\r\n" + closing)).count(b"HTTP/1.1 200 OK") == 2
    assert record.count("/smuggled/1000") == 1
