from datetime import datetime, timedelta, timezone

import pytest

from greendock.proxy.maintenance import Maintenance, until

NOW = datetime(2026, 3, 1, 13, 0, tzinfo=timezone(timedelta(hours=2)))


@pytest.mark.parametrize(
    ("text", "then"),
    [
        ("14:00", "2026-03-01T14:00+02:00"),
        ("9:30", "2026-03-02T09:30+02:00"),
        ("13:00", "2026-03-02T13:00+02:00"),
        ("2026-03-05T06:00", "2026-03-05T06:00+02:00"),
        ("2026-03-05T06:00+00:00", "2026-03-05T08:00+02:00"),
    ],
)
def test_a_time_of_day_is_the_next_one_and_a_date_is_that_date(text: str, then: str) -> None:
    assert until(text, NOW) == datetime.fromisoformat(then).timestamp()


@pytest.mark.parametrize("text", ["24:00", "soon", "", "14", "14:60"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".*"):
        until(text, NOW)


def test_an_announced_end_is_in_the_header_and_in_the_text() -> None:
    closed = Maintenance(until=datetime.fromisoformat("2026-03-01T14:00+00:00").timestamp())
    assert closed.retry_after("300") == "Sun, 01 Mar 2026 14:00:00 GMT"
    assert closed.text == "We will be back by 14:00 UTC."
    assert Maintenance().retry_after("300") == "300"
