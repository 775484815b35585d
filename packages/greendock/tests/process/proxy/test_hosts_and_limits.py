"""Who is answered, and how much a client may send."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.process.proxy.support import Proxy, Record, background


def ask(proxy: Proxy, host: str) -> bytes:
    return proxy.raw(f"GET /host HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())


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
def test_local_names_are_answered_by_default(proxy: Proxy, host: str) -> None:
    assert ask(proxy, host).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(
    "host", ["example.com", "203.0.113.7", "172.32.0.1", "10.evil.example", "localhost.evil.example", "[2001:db8::1]"]
)
def test_other_names_are_cut_off_by_default(proxy: Proxy, record: Record, host: str) -> None:
    before = record.count("/host")
    assert ask(proxy, host) == b""
    assert record.count("/host") == before


def test_only_the_named_hosts_are_answered(launch: Callable[..., Proxy]) -> None:
    proxy = launch(SERVER_NAMES="example.com,*.example.org")
    answered = [host for host in ("example.com", "www.example.org", "example.org", "localhost") if ask(proxy, host)]
    assert answered == ["example.com", "www.example.org"]
    assert proxy.status("/healthz").text == "ok\n", "the internal port asks for no name"


def test_any_host_is_answered_on_request(launch: Callable[..., Proxy]) -> None:
    assert ask(launch(SERVER_NAMES="any"), "whoever.example").startswith(b"HTTP/1.1 200 ")


def test_a_body_over_the_limit_is_refused(launch: Callable[..., Proxy], record: Record) -> None:
    proxy = launch(CLIENT_MAX_BODY_SIZE="1k")
    assert proxy.request("POST", "/small", content=b"x" * 1024).status_code == 200
    refused = proxy.request("POST", "/large", content=b"x" * 1025, headers={"Accept": "application/json"})
    assert (refused.status_code, refused.headers["Content-Type"]) == (413, "application/problem+json")
    assert refused.json() == {
        "type": "about:blank",
        "title": "Request too large",
        "status": 413,
        "request_id": refused.headers["X-Request-ID"],
    }
    assert proxy.request("POST", "/large", content=iter([b"x" * 600] * 2)).status_code == 413, "chunked as well"
    assert record.count("/large") == 0


@pytest.mark.parametrize(
    ("path", "size", "status", "words"),
    [
        ("/.git/config", 0, 404, "Page not found"),
        ("/large", 1025, 413, "too large"),
        ("/" + "y" * 9000, 0, 414, "That address is too long"),
    ],
    ids=["404", "413", "414"],
)
def test_what_the_proxy_itself_refuses_has_a_page_for_visitors(
    launch: Callable[..., Proxy], path: str, size: int, status: int, words: str
) -> None:
    page = launch(CLIENT_MAX_BODY_SIZE="1k").request("POST", path, content=b"x" * size)
    assert page.status_code == status
    assert page.headers["Content-Type"].startswith("text/html")
    assert words in page.text
    assert str(status) in page.text
    assert "again" not in page.text, "nothing changes by trying again"
    assert "Retry-After" not in page.headers


def test_an_address_that_is_too_long_has_its_page_over_plain_http_and_tls(launch: Callable[..., Proxy]) -> None:
    proxy = launch(TLS="self-signed", SERVER_NAMES="any")
    for origin in (proxy.url, f"https://127.0.0.1:{proxy.tls_port}"):
        page = httpx.get(f"{origin}/{'y' * 9000}", verify=False)  # noqa: S501 - a development certificate
        assert (page.status_code, "That address is too long" in page.text) == (414, True)


def test_too_many_or_too_large_headers_are_refused(proxy: Proxy) -> None:
    own = len(httpx.Client().headers) + 1  # and Host
    assert proxy.get("/", headers={f"X-{n}": "y" for n in range(100 - own)}).status_code == 200
    assert proxy.get("/", headers={f"X-{n}": "y" for n in range(101)}).status_code == 400
    assert proxy.get("/", headers={"X-Large": "y" * 8000}).status_code == 200
    assert proxy.get("/", headers={"X-Large": "y" * 9000}).status_code == 400
    assert proxy.get("/" + "y" * 9000).status_code == 414


@pytest.mark.parametrize(
    "path", ["/.git/config", "/.env", "/a/.htpasswd", "/static/.secret", "/%2egit/config", "/a/%2Eenv"]
)
def test_dotfiles_are_denied(proxy: Proxy, record: Record, path: str) -> None:
    (proxy.folder / "static" / ".secret").write_text("secret")
    before = len(record.requests())
    assert proxy.get(path).status_code == 404
    assert len(record.requests()) == before


def test_well_known_paths_belong_to_the_application(proxy: Proxy) -> None:
    assert proxy.get("/.well-known/security.txt").json()["path"] == "/.well-known/security.txt"


def test_trace_is_refused(proxy: Proxy) -> None:
    assert proxy.request("TRACE", "/").status_code == 405


def test_there_is_no_rate_limit_by_default(proxy: Proxy) -> None:
    assert {proxy.get("/").status_code for _ in range(60)} == {200}


def test_requests_over_the_rate_are_answered_429(launch: Callable[..., Proxy]) -> None:
    proxy = launch(RATE_LIMIT="1r/m", RATE_LIMIT_BURST="3")
    answers = [proxy.get("/") for _ in range(6)]
    assert [answer.status_code for answer in answers] == [200] * 4 + [429] * 2
    assert answers[-1].headers["Retry-After"] == "5"
    assert "Too many requests" in answers[-1].text


def test_the_rate_is_counted_by_the_real_client(launch: Callable[..., Proxy]) -> None:
    proxy = launch(RATE_LIMIT="1r/m", RATE_LIMIT_BURST="1", TRUSTED_PROXIES="127.0.0.0/8")
    for client in ("203.0.113.1", "203.0.113.2"):
        answers = [proxy.get("/", headers={"X-Forwarded-For": client}).status_code for _ in range(3)]
        assert answers == [200, 200, 429]


def test_connections_over_the_limit_are_answered_429(launch: Callable[..., Proxy], record: Record) -> None:
    proxy = launch(CONNECTION_LIMIT="1")
    with background(proxy.get, "/hold?gate=connection-limit") as first:
        record.wait_held("connection-limit")
        assert proxy.get("/").status_code == 429
        record.open("connection-limit")
    assert first[0].status_code == 200
    assert proxy.get("/").status_code == 200


def test_security_headers_are_added_unless_the_application_sets_them(proxy: Proxy) -> None:
    plain = proxy.get("/").headers
    assert plain["X-Content-Type-Options"] == "nosniff"
    assert plain["X-Frame-Options"] == "SAMEORIGIN"
    assert plain["Referrer-Policy"] == "strict-origin-when-cross-origin"
    assert plain["Server"] == "nginx"
    assert "Strict-Transport-Security" not in plain
    own = proxy.get(
        "/", params={"!X-Frame-Options": "DENY", "!X-Powered-By": "x", "!Referrer-Policy": "no-referrer"}
    ).headers
    assert (own.get_list("X-Frame-Options"), own.get_list("Referrer-Policy")) == (["DENY"], ["no-referrer"])
    assert "X-Powered-By" not in own


def test_further_security_headers_are_one_variable_each(launch: Callable[..., Proxy]) -> None:
    variables = {
        "FRAME_OPTIONS": "deny",
        "REFERRER_POLICY": "no-referrer",
        "CONTENT_SECURITY_POLICY": "default-src 'self'; img-src * data:",
        "CONTENT_SECURITY_POLICY_REPORT_ONLY": "default-src 'none'",
        "PERMISSIONS_POLICY": "camera=(), geolocation=(self)",
        "CROSS_ORIGIN_OPENER_POLICY": "same-origin",
        "CROSS_ORIGIN_EMBEDDER_POLICY": "require-corp",
        "CROSS_ORIGIN_RESOURCE_POLICY": "same-site",
    }
    names = {name: "X-Frame-Options" if name == "FRAME_OPTIONS" else name.replace("_", "-") for name in variables}
    proxy = launch(**variables)
    for path in ("/", "/static/none.css"):
        headers = proxy.get(path).headers
        assert {name: headers[names[name]] for name in names} == variables | {"FRAME_OPTIONS": "DENY"}
    own = proxy.get("/", params={"!Content-Security-Policy": "default-src 'none'"}).headers
    assert own.get_list("Content-Security-Policy") == ["default-src 'none'"], "the application's own counts"
    off = launch(FRAME_OPTIONS="off", REFERRER_POLICY="off").get("/").headers
    assert not {"x-frame-options", "referrer-policy"} & set(off)


def test_many_clients_at_once_are_all_served(proxy: Proxy) -> None:
    with ThreadPoolExecutor(32) as pool:
        assert set(pool.map(lambda _: proxy.get("/").status_code, range(200))) == {200}
