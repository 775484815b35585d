"""Tests of the format by itself: no server needed."""

from __future__ import annotations

import pytest
from greendock_logfmt import logfmt


def test_plain_values_stay_plain_and_missing_ones_are_left_out() -> None:
    assert logfmt(method="GET", path="/a?b", agent=None, bytes=2) == "method=GET path=/a?b bytes=2"


@pytest.mark.parametrize("value", ["a b", 'a"b', "a\nmethod=POST", "a=b", "", "a\x1b[31m", "caf\xe9", "\u2028"])
def test_no_value_begins_a_line_or_another_pair(value: str) -> None:
    line = logfmt(agent=value)
    assert line.isascii()
    assert line.isprintable()
    assert line.startswith('agent="')
    assert line.endswith('"')
