"""The Elastic Common Schema, as far as our logs use it: would Elasticsearch take a line?

Types: https://www.elastic.co/docs/reference/ecs/ecs-field-reference (8.11). A field of another type is refused, and its
whole document with it.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from datetime import datetime
from typing import Any

_TYPES = {
    "date": "@timestamp",
    "ip": "client.ip source.ip network.forwarded_ip",
    "long": "event.duration http.request.bytes http.response.status_code http.response.body.bytes http.response.bytes "
    "url.port log.origin.file.line process.pid process.thread.id",
    "text": "ecs.version event.dataset message http.request.method http.version http.request.id http.request.referrer "
    "trace.id url.scheme url.domain url.original user_agent.original user.name tls.version tls.cipher log.level "
    "log.logger log.origin.file.name log.origin.function process.name process.thread.name error.message error.type "
    "error.stack_trace",
}
_TYPE = {name: kind for kind, names in _TYPES.items() for name in names.split()}


def faults(line: dict[str, Any]) -> list[str]:
    """Say what is wrong with a line's fields. Those under ``nginx.`` are our own, and the schema has none of these."""
    return [
        f"{name}={value!r}: {_TYPE.get(name, 'not in the schema')}"
        for name, value in _flat(line)
        if not name.startswith("nginx.") and not _fits(_TYPE.get(name, ""), value)
    ]


def _flat(fields: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in fields.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _fits(kind: str, value: Any) -> bool:
    try:
        if kind == "date":
            datetime.fromisoformat(value)
        elif kind == "ip":
            ipaddress.ip_address(value)
        elif kind == "long":
            int(value)  # digits in a string are taken too
        else:
            return kind == "text" and isinstance(value, str)
    except (TypeError, ValueError):
        return False
    return True
