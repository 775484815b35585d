"""The ``otel`` plugin, against a collector that speaks OTLP over HTTP."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.support import Server, wait_for

Serve = Callable[..., Server]

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
WSGI = """
from opentelemetry import trace
def app(environ, start_response):
    with trace.get_tracer("shop").start_as_current_span("query"):
        pass
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]
"""
ASGI = """
from opentelemetry import trace
async def app(scope, receive, send):
    with trace.get_tracer("shop").start_as_current_span("query"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})
"""


class Collector:
    """Takes what exporters send, and keeps the spans."""

    def __init__(self) -> None:
        self.spans: list[Any] = []
        self.services: set[str] = set()
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                for sent in ExportTraceServiceRequest.FromString(body).resource_spans:
                    collector.services |= {
                        each.value.string_value for each in sent.resource.attributes if each.key == "service.name"
                    }
                    collector.spans += [span for scope in sent.scope_spans for span in scope.spans]
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"


@pytest.fixture
def collector() -> Iterator[Collector]:
    collector = Collector()
    thread = threading.Thread(target=collector.server.serve_forever, daemon=True)
    thread.start()
    yield collector
    collector.server.shutdown()
    collector.server.server_close()


@pytest.mark.parametrize("worker_class", ["gthread", "lean", "asgi"])
def test_a_trace_goes_on_in_the_application_and_none_is_lost_at_a_stop(
    serve: Serve, collector: Collector, worker_class: str
) -> None:
    server = serve(
        ASGI if worker_class == "asgi" else WSGI,
        GREENDOCK_PLUGINS="otel",
        GUNICORN_WORKER_CLASS=worker_class,
        GUNICORN_ASGI_LIFESPAN="off",
        OTEL_EXPORTER_OTLP_ENDPOINT=collector.url,
        OTEL_SERVICE_NAME="shop",
        OTEL_BSP_SCHEDULE_DELAY="60000",  # what has come before is sent when a worker ends
    )
    for _ in range(3):
        assert server.get("/basket", traceparent=f"00-{TRACE}-{PARENT}-01")[0] == 200
    assert server.get("/alone")[0] == 200
    server.signal(signal.SIGTERM)
    server.wait_exit()
    wait_for(lambda: len(collector.spans) == 8, "two spans for each request")
    assert collector.services == {"shop"}
    requests = [span for span in collector.spans if span.name != "query"]
    continued = [span for span in requests if span.trace_id.hex() == TRACE]
    assert [span.parent_span_id.hex() for span in continued] == [PARENT] * 3
    assert all("GET" in span.name for span in requests)
    for span in (span for span in collector.spans if span.name == "query"):
        (parent,) = [each for each in requests if each.span_id == span.parent_span_id]
        assert parent.trace_id == span.trace_id


def test_a_collector_that_is_not_there_delays_no_request(serve: Serve) -> None:
    server = serve(
        WSGI,
        GREENDOCK_PLUGINS="otel",
        OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9",
        OTEL_BSP_SCHEDULE_DELAY="10",
        OTEL_EXPORTER_OTLP_TIMEOUT="1",
    )
    assert [server.get()[0] for _ in range(5)] == [200] * 5
    server.signal(signal.SIGTERM)
    assert server.wait_exit() == 0
