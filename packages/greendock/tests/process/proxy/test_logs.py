"""The access log: one JSON object a line, whatever a client sends."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import ecs
from tests.process.proxy.support import Proxy
from tests.support import wait_for


def test_an_entry_has_the_names_of_the_elastic_common_schema(proxy: Proxy) -> None:
    response = proxy.request(
        "POST", "/log?q=1", content=b"12345", headers={"User-Agent": "probe/1", "Referer": "http://x/"}
    )
    entry = proxy.log(response.headers["X-Request-ID"])
    assert entry["ecs.version"] == "8.11.0"
    assert entry["event.dataset"] == "nginx.access"
    assert entry["message"] == "POST /log?q=1 200"
    assert entry["http.request.method"] == "POST"
    assert entry["http.response.status_code"] == 200
    assert entry["url.original"] == "/log?q=1"
    assert entry["client.ip"] == entry["source.ip"] == "127.0.0.1"
    assert entry["user_agent.original"] == "probe/1"
    assert entry["http.request.referrer"] == "http://x/"
    assert entry["nginx.upstream.status"] == "200"
    assert entry["nginx.request_time"] >= 0


def test_a_trace_is_logged(proxy: Proxy) -> None:
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    response = proxy.get("/", headers={"traceparent": f"00-{trace}-00f067aa0ba902b7-01"})
    assert proxy.log(response.headers["X-Request-ID"])["trace.id"] == trace


HOSTILE = [
    b'GET /"},{"a":"b HTTP/1.1\r\nHost: localhost\r\nUser-Agent: "\\\x01\x1b[31m\r\n',
    b"GET /\xff\xfe HTTP/1.1\r\nHost: localhost\r\nUser-Agent: \xc3\x28 \xed\xa0\x80\r\nReferer: \xf5\x80\x80\x80\r\n",
    b"GET /caf\xc3\xa9 HTTP/1.1\r\nHost: localhost\r\nUser-Agent: caf\xc3\xa9 \xf0\x9f\x8d\xb5\r\n",
    b"GET /u2028\xe2\x80\xa8 HTTP/1.1\r\nHost: localhost\r\nUser-Agent: \x7f\x85\r\n",
    b"GET / HTTP/1.1\r\nHost: caf\xff\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\r\n",
    b"GET /" + b"\xe2\x82" * 3000 + b" HTTP/1.1\r\nHost: localhost\r\n",
    b'GET / HTTP/1.1\r\nHost: localhost\r\nX-Request-ID: "quoted"\r\ntraceparent: \xff\r\n',
    b"GET /\r\n",
]


def test_hostile_requests_leave_json_of_valid_utf_8(launch: Callable[..., Proxy]) -> None:
    proxy = launch(SERVER_NAMES="any", LOG_FIELDS="user_agent,referrer,user,forwarded_for,port")
    for request in HOSTILE:
        proxy.raw(request + b"Connection: close\r\n\r\n")
    # Two workers write, each its own requests when its own second has passed.
    wait_for(lambda: proxy.access_log.read_bytes().count(b"\n") == len(HOSTILE), "a line for each request")
    entries = [json.loads(line.decode("utf-8")) for line in proxy.access_log.read_bytes().splitlines()]
    agents = {entry["user_agent.original"] for entry in entries}
    assert agents >= {'"\\\x01\x1b[31m', "(not UTF-8)", "café 🍵"}
    uris = {entry["url.original"] for entry in entries}
    assert "/café" in uris, "UTF-8 stays where all of the entry is UTF-8"
    assert [fault for entry in entries for fault in ecs.faults(entry)] == []


def test_requests_to_unknown_hosts_are_logged(proxy: Proxy) -> None:
    proxy.raw(b"GET /scan HTTP/1.1\r\nHost: evil.example\r\nX-Request-ID: unknown-host\r\n\r\n")
    entry = proxy.log("unknown-host")
    assert (entry["http.response.status_code"], entry["url.domain"]) == (444, "evil.example")


def test_health_checks_are_left_out(proxy: Proxy) -> None:
    for path in ("/healthz", "/livez?x=1", "/readyz"):
        proxy.get(path)
    proxy.status("/healthz")
    proxy.log(proxy.get("/after-health-checks").headers["X-Request-ID"])
    logged = proxy.access_log.read_text()
    assert "/healthz" not in logged
    assert "/livez" not in logged


def test_plain_text_is_one_variable_away(launch: Callable[..., Proxy]) -> None:
    proxy = launch(LOG_FORMAT="text")
    made = proxy.get("/plain", headers={"User-Agent": 'a"b'}).headers["X-Request-ID"]
    wait_for(lambda: made in proxy.access_log.read_text(), "the request is logged")
    line = proxy.access_log.read_text().splitlines()[-1]
    assert '"GET /plain HTTP/1.1" 200' in line
    assert "a\\x22b" in line


def test_the_log_can_be_off(launch: Callable[..., Proxy]) -> None:
    proxy = launch(ACCESS_LOG="off")
    proxy.get("/")
    assert proxy.command("reload", "--wait").returncode == 0, "old workers have written what they had"
    assert proxy.access_log.read_text() == ""


def test_an_entry_holds_what_was_asked_for(launch: Callable[..., Proxy]) -> None:
    proxy = launch(LOG_FIELDS="user,forwarded_for,port,referrer_origin")
    response = proxy.get(
        "/",
        auth=("ada", "x"),
        headers={"X-Forwarded-For": "6.6.6.6, 7.7.7.7", "Referer": "https://x.example/a?token=1"},
    )
    entry = proxy.log(response.headers["X-Request-ID"])
    assert entry["user.name"] == "ada"
    assert entry["nginx.forwarded_for"] == "6.6.6.6, 7.7.7.7"
    assert entry["url.port"] == str(proxy.port)
    assert entry["http.request.referrer"] == "https://x.example"
    assert "user_agent.original" not in entry
    proxy.raw(
        b"GET /bytes HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: \xff\r\n"
        b"X-Request-ID: not-utf-8\r\nConnection: close\r\n\r\n"
    )
    assert proxy.log("not-utf-8")["nginx.forwarded_for"] == "(not UTF-8)"


@pytest.mark.parametrize(
    ("address", "masked"),
    [("203.0.113.77", "203.0.113.0"), ("2001:db8:1:2::7", "2001:db8::"), ("2001:db8::7", "2001:db8::"), ("::1", "::")],
)
def test_addresses_can_be_masked(masking: Proxy, address: str, masked: str) -> None:
    response = masking.get("/", headers={"X-Forwarded-For": address})
    entry = masking.log(response.headers["X-Request-ID"])
    assert (entry["client.ip"], entry["source.ip"]) == (masked, "127.0.0.0")
    assert response.json()["headers"]["X-Forwarded-For"] == address, "the application still learns it"


@pytest.fixture(scope="module")
def masking(launch_module: Callable[..., Proxy]) -> Proxy:
    return launch_module(LOG_ANONYMIZE="on", TRUSTED_PROXIES="127.0.0.0/8")


def test_the_format_can_be_one_s_own(launch: Callable[..., Proxy], tmp_path: Path) -> None:
    (tmp_path / "http.d").mkdir()
    (tmp_path / "http.d" / "log.conf").write_text("log_format short '$request_method $uri';\n")
    proxy = launch(CONFIG_DIR=str(tmp_path), LOG_FORMAT="short")
    proxy.get("/mine")
    wait_for(lambda: "GET /mine\n" in proxy.access_log.read_text(), "the request is logged")
    done = proxy.command("check", LOG_FORMAT="unknown")
    assert done.returncode == 1
    assert 'unknown log format "unknown"' in done.stderr
