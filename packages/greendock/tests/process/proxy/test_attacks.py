"""Attacks on Nginx in front of each of our workers, with ordinary clients beside them who must lose nothing.

Each test says which limit held. docs/security.md lists them, and the attacks that have tests of their own elsewhere.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest
import websockets.sync.client
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    Frame,
    GoAwayFrame,
    PingFrame,
    PriorityFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

from tests.process.proxy.conftest import APPLICATION, gunicorn
from tests.process.proxy.http2 import Header, Http2
from tests.process.proxy.support import Clients, Proxy, Record, unverified
from tests.support import DEADLINE

ENHANCE_YOUR_CALM = 11
MIB = 1 << 20
REFUSED = ("400", "431")
ASGI_APPLICATION = """
import json, os, pathlib

RECORD = pathlib.Path(os.environ["EDGE_TEST_FOLDER"]) / "requests"

async def app(scope, receive, send):
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] == "websocket.receive":
            await send({"type": "websocket.send", "text": message["text"]})
        return
    if scope["type"] != "http":
        return
    with RECORD.open("a") as record:
        record.write(json.dumps([scope["method"], scope["path"], ""]) + "\\n")
    length, more = 0, True
    while more:
        message = await receive()
        length += len(message.get("body", b""))
        more = message.get("more_body", False)
    heads = {name.decode().title(): value.decode("latin-1") for name, value in scope["headers"]}
    text = json.dumps({"path": scope["path"], "headers": heads, "length": length}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(text)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": text})
"""


class Target:
    """Nginx with its own limits as they are by default, and a worker behind it."""

    def __init__(self, proxy: Proxy, record: Record, worker: str) -> None:
        self.proxy, self.record, self.worker = proxy, record, worker

    @contextmanager
    def ordinary_clients(self) -> Iterator[None]:
        """Let others ask over TLS, GET and POST, before, beside and after what the block does."""
        with Clients(self.proxy, count=2, host="localhost") as clients:
            clients.wait_for(20)
            yield
            clients.wait_for(20)
        assert clients.failures == []

    def memory(self) -> int:
        """Return the private memory of Nginx in bytes."""
        pids = Path(f"/proc/{self.proxy.pid}/task/{self.proxy.pid}/children").read_text().split()
        texts = [Path(f"/proc/{pid}/smaps_rollup").read_text() for pid in pids]
        return sum(1024 * int(line.split()[1]) for text in texts for line in text.splitlines() if "Private_" in line)


@pytest.fixture(scope="module", params=["lean", "asgi"])
def target(request: pytest.FixtureRequest, folder: Path, launch_module: Callable[..., Proxy]) -> Iterator[Target]:
    worker = request.param
    record = folder / f"attacked-{worker}"
    record.mkdir()
    source = ASGI_APPLICATION if worker == "asgi" else APPLICATION
    threads = "1" if worker == "asgi" else "16"
    settings = {"GUNICORN_WORKER_CLASS": worker, "GUNICORN_THREADS": threads}
    server = gunicorn(folder / f"attacked-by-{worker}", record, source, **settings)
    try:
        server.wait_ready()
        proxy = launch_module(
            UPSTREAM=f"127.0.0.1:{server.port}", TLS="self-signed", TLS_REDIRECT="off", KEEPALIVE_MIN_TIMEOUT="5s"
        )
        yield Target(proxy, Record(record), worker)
    finally:
        server.close()


def test_requests_that_are_reset_at_once_end_the_connection(target: Target) -> None:
    """Rapid reset, CVE-2023-44487: no more streams at a time than http2_max_concurrent_streams, twice."""
    with target.ordinary_clients(), Http2(target.proxy) as attacker:
        for first in range(1, 10001, 200):
            streams = range(first, first + 200, 2)
            attacker.send(*(each for n in streams for each in (attacker.request(n, "/reset"), RstStreamFrame(n, 8))))
        end = [frame for frame in attacker.received() if isinstance(frame, GoAwayFrame)]
    assert end[0].last_stream_id < 2 * 1000
    assert target.record.count("/reset") <= 500


FLOODS: dict[str, Frame] = {
    "SETTINGS": SettingsFrame(0, settings={SettingsFrame.MAX_CONCURRENT_STREAMS: 100}),
    "PING": PingFrame(0, b"12345678"),
    "WINDOW_UPDATE": WindowUpdateFrame(0, window_increment=1),
    "PRIORITY": PriorityFrame(1, depends_on=0, stream_weight=1),
}


def test_a_flood_of_frames_ends_the_connection(target: Target) -> None:
    """Nginx compares a connection's frames with what they carry, and stops where they carry nothing."""
    memory = target.memory()
    with target.ordinary_clients():
        for name, frame in FLOODS.items():
            with Http2(target.proxy) as attacker:
                data = frame.serialize() * 10000
                # The end is seen late: what has been sent by then lies in the kernel's buffers.
                closed = any(not attacker.send(data) for _ in range(64 * MIB // len(data)))
                assert closed or any(isinstance(each, GoAwayFrame) for each in attacker.received()), name
    assert target.memory() - memory < 32 * MIB


@pytest.mark.parametrize("padding", [b"", b"\0\5x-pad\x7f\x81\x7f" + b"a" * 16000], ids=["empty", "full"])
def test_headers_that_never_end_end_the_connection(target: Target, padding: bytes) -> None:
    """CONTINUATION flood: large_client_header_buffers, and client_header_timeout for what is empty."""
    memory = target.memory()
    with target.ordinary_clients(), Http2(target.proxy) as attacker:
        head = attacker.request(1, "/continued")
        head.flags.discard("END_HEADERS")
        attacker.send(head)
        frame = ContinuationFrame(1, padding).serialize()
        for _ in range(200):
            if not attacker.send(frame * max(1, 65536 // len(frame))):
                break
        if not padding:
            return
        end = [frame for frame in attacker.received() if isinstance(frame, GoAwayFrame)]
        assert end == [] or end[0].error_code == ENHANCE_YOUR_CALM
    assert target.record.count("/continued") == 0
    assert target.memory() - memory < 32 * MIB


def test_a_small_head_that_unpacks_to_a_large_one_is_refused(target: Target) -> None:
    """HPACK bomb: large_client_header_buffers count what is unpacked."""
    memory = target.memory()
    bomb = ("x-bomb", "b" * 4000)
    with target.ordinary_clients(), Http2(target.proxy) as attacker:
        attacker.send(attacker.request(1, "/fuse", [bomb]), attacker.request(3, "/bomb", [bomb] * 10000))
        assert attacker.status(3) in (*REFUSED, "reset", "closed")
    assert target.record.count("/bomb") == 0
    assert target.memory() - memory < 32 * MIB


HEADS: dict[str, list[Header]] = {
    "large cookie": [("cookie", "c" * 9000)],
    "many cookies": [("cookie", f"c{n}={'c' * 100}") for n in range(400)],
    "many headers": [(f"x-{n}", "y") for n in range(200)],
    "many large headers": [(f"x-{n}", "y" * 8000) for n in range(8)],
    "long name": [("x" * 9000, "y")],
}


def test_a_head_over_the_limits_never_reaches_the_application(target: Target) -> None:
    """Header and cookie bombs: large_client_header_buffers, NGINX_MAX_HEADERS."""
    with target.ordinary_clients():
        for name, headers in HEADS.items():
            with Http2(target.proxy) as attacker:
                attacker.send(attacker.request(1, "/head", headers))
                assert attacker.status(1) in (*REFUSED, "reset", "closed"), name
            lines = "".join(f"{field!s}: {value!s}\r\n" for field, value in headers)
            answer = target.proxy.raw(f"GET /head HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n".encode())
            assert answer.split()[1].decode() in REFUSED, name
    assert target.record.count("/head") == 0


INNER = "GET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n"
# What HTTP/1 would take for the end of a line, a length or chunks. https://www.rfc-editor.org/rfc/rfc9113#section-8.2.1
DOWNGRADES: dict[str, list[Header]] = {
    "line break in a value": [("x-a", f"b\r\n\r\n{INNER}")],
    "line feed in a value": [("x-a", f"b\n\n{INNER}")],
    "line break in a name": [(f"x-a: b\r\n\r\n{INNER}x", "c")],
    "colon in a name": [("transfer-encoding: chunked\r\nx", "c")],
    "chunked": [("transfer-encoding", "chunked")],
    "chunked behind a space": [(" transfer-encoding", "chunked"), ("transfer-encoding ", "chunked")],
    "capital letters": [("Transfer-Encoding", "chunked")],
    "length zero": [("content-length", "0")],
    "length too small": [("content-length", "3")],
    "length too large": [("content-length", "10000")],
    "two lengths": [("content-length", "0"), ("content-length", "47")],
    "connection": [("connection", "transfer-encoding"), ("transfer-encoding", "chunked")],
    "another host": [("host", "evil.example")],
    "upgrade": [("upgrade", "websocket"), ("connection", "upgrade")],
    "pseudo-header twice": [(":path", "/smuggled")],
    "unknown pseudo-header": [(":smuggled", INNER)],
}
PSEUDO: dict[str, tuple[str, str]] = {
    "line break in the path": (":path", f"/x HTTP/1.1\r\nHost: localhost\r\n\r\n{INNER}"),
    "space in the path": (":path", "/x HTTP/1.1 /smuggled"),
    "no slash before the path": (":path", "smuggled"),
    "line break in the method": (":method", f"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n{INNER}POST"),
    "space in the method": (":method", "GET /smuggled HTTP/1.1"),
    "line break in the authority": (":authority", f"localhost\r\n\r\n{INNER}"),
    "path in the authority": (":authority", "localhost/smuggled"),
    "line break in the scheme": (":scheme", f"https://localhost/ HTTP/1.1\r\n\r\n{INNER}"),
}


@pytest.mark.parametrize("name", [*DOWNGRADES, *PSEUDO])
def test_a_request_over_http_2_never_becomes_two(target: Target, name: str) -> None:
    """Request smuggling by downgrade: Nginx writes the request to the application anew, from what it has checked."""
    fields = {":method": "POST", ":scheme": "https", ":authority": "localhost", ":path": "/downgraded"}
    fields |= dict([PSEUDO[name]] if name in PSEUDO else [])
    before = len(target.record.requests())
    with Http2(target.proxy) as attacker:
        head = attacker.headers(1, [*fields.items(), *DOWNGRADES.get(name, [])], end=False)
        body = DataFrame(1, f"0\r\n\r\n{INNER}".encode(), flags=["END_STREAM"])
        attacker.send(head, body, attacker.request(3, "/after"))
        after = attacker.status(3)
    assert httpx.get(f"https://127.0.0.1:{target.proxy.tls_port}/step", verify=unverified()).json()["path"] == "/step"
    seen = [path for _, path, _ in target.record.requests()[before:]]
    assert "/smuggled" not in seen
    assert len(seen) <= 3
    assert seen[-1] == "/step"
    assert after in ("200", "closed"), "the connection is of use, or has ended"


def test_no_header_of_a_client_s_says_which_host_it_is(target: Target) -> None:
    """Poisoned password resets: an absolute URI is the host, and all that could be another is cleared."""
    names = ("X-Forwarded-Host", "X-Forwarded-Server", "X-Original-Host", "Forwarded", "X-Host")
    forged = "".join(f"{name}: evil.example\r\n" for name in names)
    for line, host in (("GET /reset-password", "localhost"), ("GET http://localhost/reset-password", "evil.example")):
        answer = target.proxy.raw(f"{line} HTTP/1.1\r\nHost: {host}\r\n{forged}Connection: close\r\n\r\n".encode())
        headers = json.loads(answer.partition(b"\r\n\r\n")[2])["headers"]
        assert [headers["Host"], headers["X-Forwarded-Host"]] == ["localhost"] * 2
        assert [name for name, value in headers.items() if "evil" in value] == ["X-Host"], "which nobody believes"
    for host in ("localhost@evil.example", "localhost:80@evil.example", "localhost evil", "evil.example#localhost"):
        answer = target.proxy.raw(f"GET /host HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        assert answer == b"" or answer.split()[1] == b"400"
    assert target.record.count("/host") == 0


def test_a_small_request_for_many_ranges_gets_no_more_than_the_file(target: Target) -> None:
    """Range abuse: ranges that together are longer than the file are answered with the file."""
    size = MIB
    (target.proxy.folder / "static" / "film.bin").write_bytes(bytes(size))
    for ranges in (",".join(["0-"] * 500), ",".join(f"{n}-" for n in range(500)), "0-,-1," * 300 + "0-0"):
        answer = target.proxy.get("/static/film.bin", headers={"Range": f"bytes={ranges}"})
        assert len(answer.content) <= size


def test_a_packed_body_is_not_unpacked(target: Target) -> None:
    """Decompression bombs: neither Nginx nor a worker looks into a body."""
    bomb = gzip.compress(bytes(16 * MIB))
    answer = target.proxy.request("POST", "/packed", content=bomb, headers={"Content-Encoding": "gzip"})
    assert answer.json()["length"] == len(bomb)


def test_many_websockets_leave_room_for_others(target: Target) -> None:
    """A flood of WebSockets: each holds a connection; NGINX_CONNECTION_LIMIT bounds them for each client."""
    if target.worker != "asgi":
        return  # a WSGI application answers these like any other request
    with ExitStack() as stack, target.ordinary_clients():
        url = f"ws://127.0.0.1:{target.proxy.port}/ws"
        opened = [
            stack.enter_context(websockets.sync.client.connect(url, open_timeout=DEADLINE, compression=None))
            for _ in range(100)
        ]
        for client in opened:
            for _ in range(10):
                client.send("x" * 100)
        assert opened[-1].recv(DEADLINE) == "x" * 100


def test_a_cached_answer_holds_nothing_of_another_client(target: Target, launch: Callable[..., Proxy]) -> None:
    """Cache poisoning: what is not in the key is cleared, or keeps the answer out of the cache."""
    cached = launch(UPSTREAM=target.proxy.environment["NGINX_UPSTREAM"], CACHE_TIME="1h")
    forged = {
        "X-Forwarded-Host": "evil.example",
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Prefix": "/evil",
        "X-Original-URL": "/evil",
        "X-Rewrite-URL": "/evil",
        "X-Forwarded-For": "192.0.2.66",
    }
    first, second = cached.get("/poison", headers=forged), cached.get("/poison")
    assert (first.headers["X-Cache"], second.headers["X-Cache"]) == ("MISS", "HIT")
    assert "evil" not in second.text
    assert "192.0.2.66" not in second.text
    fat = cached.request("GET", "/fat", content=b"what only this client sends")
    assert fat.json()["length"] == 27
    assert cached.get("/fat").json()["length"] == 0, "the answer to a GET with a body is not stored"
