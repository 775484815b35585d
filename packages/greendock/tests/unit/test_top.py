"""``greendock top``: two looks make one sample, and a sample makes lines."""

from __future__ import annotations

from greendock.command import top
from greendock.host.procfs import Usage

OLD = """# HELP gunicorn_requests_total Requests
gunicorn_requests_total{method="GET",status="200"} 100.0
gunicorn_request_duration_seconds_bucket{le="0.1"} 90.0
gunicorn_request_duration_seconds_bucket{le="0.5"} 100.0
gunicorn_request_duration_seconds_bucket{le="+Inf"} 100.0
gunicorn_worker_requests_total{pid="7"} 100.0
"""
NEW = """gunicorn_requests_total{method="GET",status="200"} 190.0
gunicorn_requests_total{method="GET",status="503"} 10.0
gunicorn_request_duration_seconds_bucket{le="0.1"} 150.0
gunicorn_request_duration_seconds_bucket{le="0.5"} 196.0
gunicorn_request_duration_seconds_bucket{le="+Inf"} 200.0
gunicorn_worker_requests_total{pid="7"} 180.0
gunicorn_worker_requests_total{pid="8"} 20.0
gunicorn_worker_threads_busy{pid="7"} 3.0
gunicorn_threads_busy 3.0
gunicorn_threads 32.0
gunicorn_worker_exits_total{reason="crash"} 1.0
"""


def sampled() -> top.Replica:
    before = {7: Usage(1.0, 50 << 20, 0.0)}
    after = {7: Usage(2.0, 60 << 20, 0.0), 8: Usage(0.5, 40 << 20, 1000.0)}
    return top.sample("one", "ready: 2/2 workers", (10.0, top.parse(OLD), before), (12.0, top.parse(NEW), after))


def test_rates_are_of_the_time_between_two_looks() -> None:
    replica = sampled()
    assert (replica.requests_per_second, replica.errors_per_second) == (50, 5)
    assert {worker.pid: (worker.requests_per_second, worker.cpu, worker.in_flight) for worker in replica.workers} == {
        7: (40, 0.5, 3),
        8: (10, 0.25, 0),  # it is new, and counts from nothing
    }
    assert (replica.in_flight, replica.threads, replica.exits) == (3, 32, {"crash": 1})


def test_percentiles_are_of_what_was_counted_between_two_looks() -> None:
    assert sampled().percentiles == {"p50": 0.1, "p95": 0.5, "p99": None}
    assert sampled().queued == {"p50": None, "p95": None, "p99": None}


def test_without_the_plugin_there_are_workers_and_no_requests() -> None:
    usage = {7: Usage(1.0, 50 << 20, 0.0)}
    replica = top.sample("one", "ready", (10.0, {}, usage), (12.0, {}, usage))
    assert replica.workers[0].requests_per_second is None
    assert "metrics shows requests too" in "\n".join(top.lines([replica], [], "pid", 80))


def test_no_line_is_wider_than_the_terminal_and_workers_are_in_the_order_asked_for() -> None:
    proxy = top.Proxy("nginx-1", 4, 2, {"2xx": 10.0, "5xx": 0.5})
    for width in (40, 80, 200):
        assert max(map(len, top.lines([sampled()] * 2, [proxy], "requests", width))) <= width
    replica = sampled()
    replica.errors = ["[ERROR] \x1b[2J gone"]
    assert top.lines([replica], [], "pid", 80)[-1] == "  [ERROR] ?[2J gone"
    for order, first in (("requests", "7"), ("memory", "7"), ("cpu", "7"), ("pid", "7"), ("age", "7")):
        rows = top.lines([sampled()], [], order, 80)
        assert rows[-2].split()[0] == first, order
