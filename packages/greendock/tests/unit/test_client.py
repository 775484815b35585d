"""Who the client is, by what trusted proxies say."""

from __future__ import annotations

from typing import Any

import pytest
from gunicorn.config import Config

from greendock.server.client import told_by_proxies


def ask(peer: str, forwarded: str | None, allow: str = "172.18.0.0/16,fd00::/8") -> dict[str, Any]:
    config = Config()
    config.set("forwarded_allow_ips", allow)
    environ = {"REMOTE_ADDR": peer, "REMOTE_PORT": "4711"}
    if forwarded is not None:
        environ["HTTP_X_FORWARDED_FOR"] = forwarded
    told: dict[str, Any] = {}

    def application(environ: dict[str, Any], _start_response: object) -> list[bytes]:
        told.update(environ)
        return []

    told_by_proxies(application, config)(environ, lambda *_: None)
    return told


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("172.18.0.3", "203.0.113.9", "203.0.113.9"),
        ("172.18.0.3", "2001:db8::9", "2001:db8::9"),
        ("fd00::3", "203.0.113.9", "203.0.113.9"),
        ("", "203.0.113.9", "203.0.113.9"),  # a Unix socket
        ("172.18.0.3", "203.0.113.9, 172.18.0.7", "203.0.113.9"),
        ("172.18.0.3", "6.6.6.6, 203.0.113.9, fd00::7", "203.0.113.9"),  # the client wrote the first itself
        ("172.18.0.3", "172.18.0.1", "172.18.0.1"),  # the host itself asks
        ("172.18.0.3", "[2001:db8::9]:1234", "2001:db8::9"),
    ],
)
def test_a_trusted_proxy_says_who_the_client_is(peer: str, forwarded: str, client: str) -> None:
    assert ask(peer, forwarded)["REMOTE_ADDR"] == client


@pytest.mark.parametrize(
    ("peer", "forwarded"),
    [
        ("198.51.100.1", "203.0.113.9"),
        ("172.18.0.3", None),
        ("172.18.0.3", "unknown"),
        ("172.18.0.3", ""),
        ("172.18.0.3", "6.6.6.6, <script>"),
    ],
)
def test_anybody_else_and_anything_else_changes_nothing(peer: str, forwarded: str | None) -> None:
    told = ask(peer, forwarded)
    assert (told["REMOTE_ADDR"], told["REMOTE_PORT"]) == (peer, "4711")


def test_the_proxys_port_is_not_taken_for_the_clients() -> None:
    assert ask("172.18.0.3", "203.0.113.9")["REMOTE_PORT"] == "0"
    assert ask("172.18.0.3", "203.0.113.9:1234")["REMOTE_PORT"] == "1234"
