"""A body of a known length reads as Gunicorn's does, whichever way it arrives and is asked for."""

from __future__ import annotations

from typing import Any

import pytest
from gunicorn.http.parser import RequestParser
from hypothesis import given
from hypothesis import strategies as st
from lean_differential import SERVER, TRUSTED, ScriptedSocket, make_config

from greendock.contrib.lean.connection import Connection
from greendock.contrib.lean.request import Limits, PlainRequest

CONFIG = make_config()
NEXT = b"GET /next HTTP/1.1\r\nHost: a\r\n\r\n"
SIZES = st.one_of(st.none(), st.sampled_from([-1, 0, 1, 100, 1024, 8192, 16383, 16384, 16385, 65536, 3_000_000]))
READS = st.lists(st.tuples(st.sampled_from(["read", "readline"]), SIZES), max_size=8)


def message(length: int, sent: int) -> bytes:
    body = (b"x" * 700 + b"\n" + b"y" * 20_000 + b"\n") * (sent // 20_702 + 1)
    return b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % length + body[:sent]


def answers(body: Any, reads: list[tuple[str, int | None]]) -> list[bytes]:
    return [getattr(body, name)(size) for name, size in reads] + [body.read()]


@pytest.mark.parametrize("cut", [1_000_000_000, 50_000, 1459])
@given(length=st.sampled_from([1, 5000, 16384, 65536, 200_000, 1_500_000]), reads=READS)
def test_every_order_of_reads_gives_what_gunicorn_gives_and_leaves_the_next_request(cut, length, reads):
    data = message(length, length) + NEXT
    pieces = [data[at : at + cut] for at in range(0, len(data), cut)]
    theirs = next(RequestParser(CONFIG, ScriptedSocket(pieces), TRUSTED))
    conn = Connection(ScriptedSocket(pieces), TRUSTED, SERVER, CONFIG, Limits(CONFIG))
    conn.receive()
    ours = conn.next_request()
    assert isinstance(ours, PlainRequest)
    assert answers(ours.body, reads) == answers(theirs.body, reads)
    assert conn.finish(ours)
    while (request := conn.next_request()) is None:
        assert conn.receive()
    assert request.path == "/next"


@given(reads=READS)
def test_a_body_that_breaks_off_ends_where_it_does_for_gunicorn(reads):
    pieces = [message(100_000, 70_000)]
    theirs = next(RequestParser(CONFIG, ScriptedSocket(pieces), TRUSTED))
    conn = Connection(ScriptedSocket(pieces), TRUSTED, SERVER, CONFIG, Limits(CONFIG))
    conn.receive()
    ours = conn.next_request()
    assert answers(ours.body, reads) == answers(theirs.body, reads)


@pytest.mark.parametrize("size", ["1", 1.5])
def test_a_size_that_is_no_number_is_refused(size):
    conn = Connection(ScriptedSocket([message(10, 10)]), TRUSTED, SERVER, CONFIG, Limits(CONFIG))
    conn.receive()
    with pytest.raises(TypeError):
        conn.next_request().body.read(size)
