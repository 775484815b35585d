"""What follows a CONNECT is tunnel data, whatever the target looks like (RFC 9931 section 8)."""

from __future__ import annotations

import pytest
from lean_differential import assert_same, make_config


@pytest.mark.parametrize("version", ["1.0", "1.1"])
@pytest.mark.parametrize("connection", ["keep-alive", "close", "other"])
def test_nothing_after_a_connect_is_taken_for_a_request(version, connection):
    head = f"CONNECT /x HTTP/{version}\r\nHost: a\r\nConnection: {connection}\r\n\r\n"
    outcome = assert_same(head.encode() + b"GET /tunnelled HTTP/1.1\r\nHost: a\r\n\r\n", make_config())
    assert len(outcome.requests) == 1
