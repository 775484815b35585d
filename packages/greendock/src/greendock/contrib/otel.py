"""``otel``: an OpenTelemetry trace of each request, sent by OTLP over HTTP.

A trace that the client or a proxy has begun (``traceparent``, which Nginx passes on when it is well-formed) goes on in
the application; spans the application makes itself are a part of it. Where traces go, how many, and under which name
are OpenTelemetry's own variables: ``OTEL_EXPORTER_OTLP_ENDPOINT``, ``OTEL_TRACES_SAMPLER``, ``OTEL_SERVICE_NAME``, …
https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from typing import Any

from greendock.hooks.plugins import ServerPlugin

_LIBRARIES = (
    "opentelemetry.sdk.trace",
    "opentelemetry.exporter.otlp.proto.http",
    "opentelemetry.instrumentation.asgi",
    "opentelemetry.instrumentation.wsgi",
)


class OtelPlugin(ServerPlugin):
    """Wraps the application of each worker; a worker that ends sends what it still has."""

    def __init__(self) -> None:
        self._provider: Any = None

    def configure(self, _options: Mapping[str, Any]) -> Iterable[str]:
        """Complain where the extra is not installed."""
        if not _installed():
            yield "OpenTelemetry is not installed: `uv sync --extra otel`"

    def post_worker_init(self, worker: Any) -> None:
        """After the fork: the exporter sends from a thread of its own, and no two processes share a connection."""
        from opentelemetry import trace  # noqa: PLC0415
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

        self._provider = TracerProvider()
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        trace.set_tracer_provider(self._provider)
        if hasattr(worker, "asgi"):
            from opentelemetry.instrumentation import asgi  # noqa: PLC0415

            # A span for each event of a connection would be many, and say little.
            worker.asgi = asgi.OpenTelemetryMiddleware(
                worker.asgi, tracer_provider=self._provider, exclude_spans=["receive", "send"]
            )
        else:
            from opentelemetry.instrumentation import wsgi  # noqa: PLC0415

            worker.wsgi = wsgi.OpenTelemetryMiddleware(worker.wsgi, tracer_provider=self._provider)

    def worker_exit(self, _server: Any, _worker: Any) -> None:
        """Send what is left; not after SIGKILL."""
        if self._provider is not None:
            self._provider.shutdown()


def _installed() -> bool:
    try:
        return all(find_spec(library) is not None for library in _LIBRARIES)
    except ModuleNotFoundError:
        return False
