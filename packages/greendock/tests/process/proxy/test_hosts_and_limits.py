"""Who is answered, and how much a client may send."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.process.proxy.support import Edge, Record, background


def ask(edge: Edge, host: str) -> bytes:
    return edge.raw(f"GET /host HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "localhost:8080",
        "app.localhost",
        "nginx",
        "printer.local",
        "127.0.0.1",
        "10.1.2.3",
        "172.20.0.5",
        "192.168.1.2:80",
        "[::1]",
        "shop.test",
        "api.internal",
    ],
)
def test_local_names_are_answered_by_default(edge: Edge, host: str) -> None:
    assert ask(edge, host).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(
    "host", ["example.com", "203.0.113.7", "172.32.0.1", "10.evil.example", "localhost.evil.example", "[2001:db8::1]"]
)
def test_other_names_are_cut_off_by_default(edge: Edge, record: Record, host: str) -> None:
    before = record.count("/host")
    assert ask(edge, host) == b""
    assert record.count("/host") == before


def test_only_the_named_hosts_are_answered(launch: Callable[..., Edge]) -> None:
    edge = launch(SERVER_NAMES="example.com,*.example.org")
    answered = [host for host in ("example.com", "www.example.org", "example.org", "localhost") if ask(edge, host)]
    assert answered == ["example.com", "www.example.org"]
    assert edge.status("/healthz").text == "ok\n", "the internal port asks for no name"


def test_any_host_is_answered_on_request(launch: Callable[..., Edge]) -> None:
    assert ask(launch(SERVER_NAMES="any"), "whoever.example").startswith(b"HTTP/1.1 200 ")


def test_a_body_over_the_limit_is_refused(launch: Callable[..., Edge], record: Record) -> None:
    edge = launch(CLIENT_MAX_BODY_SIZE="1k")
    assert edge.request("POST", "/small", content=b"x" * 1024).status_code == 200
    refused = edge.request("POST", "/large", content=b"x" * 1025, headers={"Accept": "application/json"})
    assert (refused.status_code, refused.headers["Content-Type"]) == (413, "application/problem+json")
    assert refused.json() == {
        "type": "about:blank",
        "title": "Request too large",
        "status": 413,
        "request_id": refused.headers["X-Request-ID"],
    }
    assert edge.request("POST", "/large", content=iter([b"x" * 600] * 2)).status_code == 413, "chunked as well"
    assert record.count("/large") == 0


def test_too_many_or_too_large_headers_are_refused(edge: Edge) -> None:
    assert edge.get("/", headers={f"X-{n}": "y" for n in range(90)}).status_code == 200
    assert edge.get("/", headers={f"X-{n}": "y" for n in range(101)}).status_code == 400
    assert edge.get("/", headers={"X-Large": "y" * 8000}).status_code == 200
    assert edge.get("/", headers={"X-Large": "y" * 9000}).status_code == 400
    assert edge.get("/" + "y" * 9000).status_code == 414


@pytest.mark.parametrize(
    "path", ["/.git/config", "/.env", "/a/.htpasswd", "/static/.secret", "/%2egit/config", "/a/%2Eenv"]
)
def test_dotfiles_are_denied(edge: Edge, record: Record, path: str) -> None:
    (edge.folder / "static" / ".secret").write_text("secret")
    before = len(record.requests())
    assert edge.get(path).status_code == 404
    assert len(record.requests()) == before


def test_well_known_paths_belong_to_the_application(edge: Edge) -> None:
    assert edge.get("/.well-known/security.txt").json()["path"] == "/.well-known/security.txt"


def test_trace_is_refused(edge: Edge) -> None:
    assert edge.request("TRACE", "/").status_code == 405


def test_there_is_no_rate_limit_by_default(edge: Edge) -> None:
    assert {edge.get("/").status_code for _ in range(60)} == {200}


def test_requests_over_the_rate_are_answered_429(launch: Callable[..., Edge]) -> None:
    edge = launch(RATE_LIMIT="1r/m", RATE_LIMIT_BURST="3")
    answers = [edge.get("/") for _ in range(6)]
    assert [answer.status_code for answer in answers] == [200] * 4 + [429] * 2
    assert answers[-1].headers["Retry-After"] == "5"
    assert "Too many requests" in answers[-1].text


def test_the_rate_is_counted_by_the_real_client(launch: Callable[..., Edge]) -> None:
    edge = launch(RATE_LIMIT="1r/m", RATE_LIMIT_BURST="1", TRUSTED_PROXIES="127.0.0.0/8")
    for client in ("203.0.113.1", "203.0.113.2"):
        answers = [edge.get("/", headers={"X-Forwarded-For": client}).status_code for _ in range(3)]
        assert answers == [200, 200, 429]


def test_connections_over_the_limit_are_answered_429(launch: Callable[..., Edge], record: Record) -> None:
    edge = launch(CONNECTION_LIMIT="1")
    with background(edge.get, "/hold?gate=connection-limit") as first:
        record.wait_held("connection-limit")
        assert edge.get("/").status_code == 429
        record.open("connection-limit")
    assert first[0].status_code == 200
    assert edge.get("/").status_code == 200


def test_security_headers_are_added_unless_the_application_sets_them(edge: Edge) -> None:
    plain = edge.get("/").headers
    assert plain["X-Content-Type-Options"] == "nosniff"
    assert plain["X-Frame-Options"] == "SAMEORIGIN"
    assert plain["Referrer-Policy"] == "strict-origin-when-cross-origin"
    assert plain["Server"] == "nginx"
    assert "Strict-Transport-Security" not in plain
    own = edge.get(
        "/", params={"!X-Frame-Options": "DENY", "!X-Powered-By": "x", "!Referrer-Policy": "no-referrer"}
    ).headers
    assert (own.get_list("X-Frame-Options"), own.get_list("Referrer-Policy")) == (["DENY"], ["no-referrer"])
    assert "X-Powered-By" not in own


def test_many_clients_at_once_are_all_served(edge: Edge) -> None:
    with ThreadPoolExecutor(32) as pool:
        assert set(pool.map(lambda _: edge.get("/").status_code, range(200))) == {200}
