"""What reaches the application, and how."""

from __future__ import annotations

import hashlib
import http.client
import os
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import websockets.sync.client
import websockets.sync.server

from tests.process.proxy.support import Proxy, Record
from tests.support import DEADLINE, Server, children, free_port, wait_for

HEX_ID = re.compile(r"[0-9a-f]{32}")
SPOOFED = {
    "X-Forwarded-For": "6.6.6.6",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Host": "evil.example",
    "X-Forwarded-Port": "666",
    "X-Real-IP": "6.6.6.6",
    "X-Forwarded-Ssl": "on",
    "X-Forwarded-Protocol": "ssl",
    "X-Forwarded-Scheme": "https",
    "X-Forwarded-Prefix": "/admin",
    "X-Forwarded-Server": "evil.example",
    "Forwarded": "for=6.6.6.6;proto=https;host=evil.example",
    "X-Scheme": "https",
    "X-Url-Scheme": "https",
    "X-Original-URL": "/admin",
    "X-Rewrite-URL": "/admin",
    "X-Original-Host": "evil.example",
    "X-Client-IP": "6.6.6.6",
    "X-Cluster-Client-IP": "6.6.6.6",
    "CF-Connecting-IP": "6.6.6.6",
    "True-Client-IP": "6.6.6.6",
    "X-Request-Start": "t=666.6",
    "X-SSL-Client-Subject": "CN=/admin",
    "Front-End-Https": "on",
    "Proxy": "http://evil.example:8080",
    "X_Forwarded_For": "6.6.6.6",
    "Script_Name": "/admin",
}


# Different for each request.
MADE = {"X-Request-Id", "X-Request-Start"}


def test_headers_a_client_forges_are_overwritten_or_gone(proxy: Proxy) -> None:
    seen = proxy.get("/", headers=SPOOFED).json()
    assert seen["scheme"] == "http"
    assert seen["path"] == "/"
    headers = seen["headers"]
    assert {name: value for name, value in headers.items() if name.startswith("X-") and name not in MADE} == {
        "X-Real-Ip": "127.0.0.1",
        "X-Forwarded-For": "127.0.0.1",
        "X-Forwarded-Proto": "http",
        "X-Forwarded-Host": f"127.0.0.1:{proxy.port}",
        "X-Forwarded-Port": str(proxy.port),
    }
    for value in ("6.6.6.6", "evil.example", "/admin", "t=666.6"):
        assert value not in str(headers)
    assert headers["Host"] == f"127.0.0.1:{proxy.port}"


def test_an_outer_proxy_is_believed_only_when_its_network_is_trusted(launch: Callable[..., Proxy]) -> None:
    trusting = launch(TRUSTED_PROXIES="127.0.0.0/8,10.9.0.0/16")
    headers = {"X-Forwarded-For": "6.6.6.6, 203.0.113.7, 10.9.1.1", "X-Forwarded-Proto": "https"}
    seen = trusting.get("/", headers=headers).json()
    assert seen["headers"]["X-Forwarded-For"] == "203.0.113.7", "the last address that is no trusted proxy"
    assert seen["scheme"] == "https"
    assert trusting.get("/", headers=headers | {"X-Forwarded-Proto": "gopher"}).json()["scheme"] == "http"
    stranger = launch(TRUSTED_PROXIES="10.9.0.0/16")
    assert stranger.get("/", headers=headers).json()["headers"]["X-Forwarded-For"] == "127.0.0.1"


def test_a_trusted_proxy_says_by_which_host_and_port_the_client_came(launch: Callable[..., Proxy]) -> None:
    headers = {
        "X-Forwarded-Host": "shop.example:8443",
        "X-Forwarded-Port": "8443",
        "X-Request-Start": "t=1700000000.123",
    }
    trusting = launch(TRUSTED_PROXIES="127.0.0.0/8")
    seen = trusting.get("/", headers=headers).json()["headers"]
    assert {name: seen[name] for name in headers} == headers
    assert seen["Host"] == f"127.0.0.1:{trusting.port}", "the application decides which of the two it believes"
    for forged in ({"X-Forwarded-Host": "a b"}, {"X-Forwarded-Host": '"><script>'}, {"X-Forwarded-Port": "8443x"}):
        seen = trusting.get("/", headers=forged).json()["headers"]
        assert (seen["X-Forwarded-Host"], seen["X-Forwarded-Port"]) == (seen["Host"], str(trusting.port))


def test_the_application_learns_when_the_request_came(proxy: Proxy) -> None:
    start = proxy.get("/").json()["headers"]["X-Request-Start"]
    assert start.startswith("t=")
    assert abs(float(start[2:]) - time.time()) < DEADLINE


def test_a_request_id_is_made_passed_on_returned_and_logged(proxy: Proxy) -> None:
    response = proxy.get("/id")
    made = response.headers["X-Request-ID"]
    assert HEX_ID.fullmatch(made)
    assert response.json()["headers"]["X-Request-Id"] == made
    assert proxy.log(made)["url.original"] == "/id"


def test_a_request_id_of_the_client_is_kept_when_harmless(proxy: Proxy) -> None:
    assert (
        proxy.get("/", headers={"X-Request-ID": "order-4711.retry_2"}).headers["X-Request-ID"] == "order-4711.retry_2"
    )


@pytest.mark.parametrize(
    "hostile", ["short", "x" * 129, 'a"b"c"d"e', "<script>alert", "id with spaces", "${jndi:ldap}"]
)
def test_a_request_id_of_the_client_is_replaced_when_not(proxy: Proxy, hostile: str) -> None:
    response = proxy.get("/", headers={"X-Request-ID": hostile})
    assert HEX_ID.fullmatch(response.headers["X-Request-ID"])
    assert response.json()["headers"]["X-Request-Id"] == response.headers["X-Request-ID"]


def test_a_well_formed_trace_goes_on_and_another_does_not(proxy: Proxy) -> None:
    parent = f"00-{'a' * 32}-{'b' * 16}-01"
    headers = proxy.get("/", headers={"traceparent": parent, "tracestate": "v=1"}).json()["headers"]
    assert (headers["Traceparent"], headers["Tracestate"]) == (parent, "v=1")
    headers = proxy.get("/", headers={"traceparent": f"00-{'0' * 32}-{'b' * 16}-01", "tracestate": "v=1"}).json()[
        "headers"
    ]
    assert "Traceparent" not in headers
    assert "Tracestate" not in headers


def test_the_path_arrives_as_it_was_sent(proxy: Proxy) -> None:
    answer = proxy.raw(b"GET /a%2Fb//c%20d?x=%00&y=1 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    assert b'"uri": "/a%2Fb//c%20d?x=%00&y=1"' in answer


def test_connections_to_gunicorn_are_kept(proxy: Proxy, app: Server) -> None:
    for _ in range(3):
        proxy.get("/warm")
    before = upstream_connections(app)
    for _ in range(20):
        proxy.get("/kept")
    assert upstream_connections(app) <= before | set()


def upstream_connections(app: Server) -> set[str]:
    """Established connections whose local end is the application's port."""
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    rows = (line.split() for line in lines)
    return {row[2] for row in rows if row[1].endswith(f":{app.port:04X}") and row[3] == "01"}


def test_a_chunked_upload_arrives_whole(proxy: Proxy) -> None:
    chunks = [os.urandom(10_000) for _ in range(30)]
    seen = proxy.request("POST", "/upload", content=iter(chunks)).json()
    assert seen["length"] == 300_000
    assert seen["sha256"] == hashlib.sha256(b"".join(chunks)).hexdigest()


def test_an_upload_of_a_gibibyte_takes_little_memory(launch: Callable[..., Proxy], app: Server) -> None:
    proxy = launch(CLIENT_MAX_BODY_SIZE="1g")
    chunk, chunks = b"x" * 2**20, 1024
    peak = 0

    def body() -> Iterator[bytes]:
        nonlocal peak
        for number in range(chunks):
            if number % 64 == 0:
                peak = max(peak, resident(proxy.pid) + resident(app.pid))
            yield chunk

    response = proxy.request("POST", "/swallow", content=body(), headers={"Content-Length": str(2**30)})
    assert response.text == str(2**30)
    peak = max(peak, resident(proxy.pid) + resident(app.pid))
    assert peak < 200 * 2**20, f"{peak / 2**20:.0f} MiB"


def resident(master: int) -> int:
    """Private memory of a master and its workers, in bytes."""
    total = 0
    for pid in [master, *children(master)]:
        status = Path(f"/proc/{pid}/status").read_text()
        total += sum(int(kib) * 1024 for kib in re.findall(r"RssAnon:\s+(\d+)", status))
    return total


def test_a_slow_upload_reaches_gunicorn_only_when_complete(proxy: Proxy, record: Record) -> None:
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=DEADLINE) as connection:
        connection.sendall(
            b"POST /slow-upload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\nConnection: close\r\n\r\n12345"
        )
        proxy.get("/meanwhile")
        assert record.count("/slow-upload") == 0
        connection.sendall(b"67890")
        assert b"200 OK" in connection.recv(65536)
    assert record.count("/slow-upload") == 1


def test_a_client_that_reads_slowly_holds_no_worker(proxy: Proxy, record: Record) -> None:
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=DEADLINE) as connection:
        target = f"/big?bytes={64 * 2**20}&finished=slow-reader"
        connection.sendall(f"GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        assert connection.recv(1000)
        # The application has written everything, and the client has read next to nothing.
        wait_for((record.folder / "slow-reader").exists, "the worker is free")


def test_a_failed_get_is_tried_on_another_replica(
    launch: Callable[..., Proxy], replicas: Callable[..., tuple[Record, list[Server]]]
) -> None:
    record, (alive,) = replicas("alive")
    proxy = launch(UPSTREAM=f"127.0.0.1:{free_port()},127.0.0.1:{alive.port}")
    for method in ("GET", "POST"):
        for _ in range(6):
            assert proxy.request(method, "/either", content=b"x").status_code == 200, (
                "not sent yet: any method may go on"
            )
    assert record.count("/either") == 12


@pytest.mark.parametrize(("method", "tries"), [("GET", 2), ("PUT", 2), ("POST", 1), ("PATCH", 1)])
def test_a_request_that_was_sent_is_repeated_only_if_idempotent(
    launch: Callable[..., Proxy], method: str, tries: int
) -> None:
    with Breaking() as first, Breaking() as second:
        proxy = launch(UPSTREAM=f"127.0.0.1:{first.port},127.0.0.1:{second.port}")
        assert proxy.request(method, "/once").status_code == 502
        assert first.requests + second.requests == tries


class Breaking:
    """A server that takes a request and closes the connection without an answer."""

    def __init__(self) -> None:
        self.requests = 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.thread = threading.Thread(target=self._serve, daemon=True)

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            with connection:
                if connection.recv(65536):
                    self.requests += 1

    def __enter__(self) -> Breaking:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


def test_a_unix_socket_is_an_upstream_too(
    launch: Callable[..., Proxy], replicas: Callable[..., tuple[Record, list[Server]]], folder: Path
) -> None:
    path = folder / "app.sock"
    listener = f"unix:{path}"
    with UnixServer(path):
        assert launch(UPSTREAM=listener).get("/").text == "unix"


class UnixServer:
    """Answers "unix" to everything."""

    def __init__(self, path: Path) -> None:
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(path))
        self.listener.listen()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            with connection:
                connection.recv(65536)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\nunix")

    def __enter__(self) -> UnixServer:
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


def test_a_websocket_carries_messages_both_ways_and_outlives_a_reload(launch: Callable[..., Proxy]) -> None:
    def echo(connection: websockets.sync.server.ServerConnection) -> None:
        for message in connection:
            connection.send(message)

    with websockets.sync.server.serve(echo, "127.0.0.1", 0) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        proxy = launch(UPSTREAM=f"127.0.0.1:{server.socket.getsockname()[1]}", SHUTDOWN_TIMEOUT="1s")
        with websockets.sync.client.connect(f"ws://127.0.0.1:{proxy.port}/ws") as client:
            for message in ("one", b"\0" * 100_000, "three"):
                client.send(message)
                assert client.recv(DEADLINE) == message
            done = proxy.command("reload", "--wait")
            assert done.returncode == 0
            assert "connections go on" in done.stderr
            client.send("after the reload")
            assert client.recv(DEADLINE) == "after the reload"
        server.shutdown()


def test_another_upgrade_than_websocket_is_not_passed_on(proxy: Proxy) -> None:
    headers = proxy.get(
        "/", headers={"Upgrade": "h2c", "Connection": "Upgrade, HTTP2-Settings", "HTTP2-Settings": "AAMAAABk"}
    )
    seen = headers.json()["headers"]
    assert "Upgrade" not in seen
    assert "Connection" not in seen


def test_server_sent_events_arrive_one_by_one(proxy: Proxy, record: Record) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=DEADLINE)
    connection.request("GET", "/sse?gate=second", headers={"Accept-Encoding": "gzip"})
    response = connection.getresponse()
    assert response.read1(100).strip() == b"data: one"
    record.open("second")
    assert response.read().strip() == b"data: two"


def test_large_response_headers_pass(proxy: Proxy) -> None:
    assert len(proxy.get("/", params={"!X-Large": "v" * 6000}).headers["X-Large"]) == 6000


def test_errors_of_the_application_are_its_own(proxy: Proxy) -> None:
    response = proxy.get("/", params={"status": "503 Busy", "!Retry-After": "17"})
    assert (response.status_code, response.headers["Retry-After"], response.json()["path"]) == (503, "17", "/")
