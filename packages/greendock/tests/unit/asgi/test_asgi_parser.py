"""What ``lean`` refuses the asgi worker refuses, with the same status; what both accept reads the same."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "lean"))

from asgi_scripted import through_asgi
from lean_corpus import CORPUS
from lean_differential import TRUSTED, feeds, make_config, through_lean

CONFIG = make_config()
WAYS = ("whole", "bytes", "head, body")


def compare(data: bytes, cfg: Any, peer: Any = TRUSTED) -> None:
    for way in WAYS:
        pieces = feeds(data)[way]
        expected = through_lean(pieces, cfg, peer)
        seen, statuses, closed = through_asgi(pieces, cfg, peer)
        assert len(seen) - len(expected.requests) in (0, int(not seen or not seen[-1][2]))
        whole = [(scope, body) for scope, body, complete in seen if complete]
        told = [
            (
                s["method"],
                s["path"].encode("utf-8"),
                s["query_string"].decode("latin-1"),
                s["http_version"],
                s["scheme"],
                b,
            )
            for s, b in whole
        ]
        assert told == [
            (
                r["req.method"],
                (r["SCRIPT_NAME"] + r["PATH_INFO"]).encode("latin-1").decode(errors="replace").encode("utf-8"),
                r["req.query"] or "",
                ".".join(map(str, r["req.version"])),
                r["req.scheme"],
                r["body"],
            )
            for r in expected.requests
        ], way
        headers = [[(name, value) for name, value in s["headers"]] for s, _ in whole]
        assert headers == [
            [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in r["req.headers"]]
            for r in expected.requests
        ], way
        finals = [status for status in statuses if status != "100"]
        refused = [expected.end] if expected.end.isdigit() else []
        assert finals == ["200"] * len(expected.requests) + refused, (way, expected.end)
        assert closed == (expected.end not in ("end", "incomplete")), (way, expected.end)


# Here a WebSocket is the worker's business; tests of it have a real client.
@pytest.mark.parametrize("name", [name for name in CORPUS if name != "websocket upgrade"])
def test_the_asgi_worker_reads_what_lean_reads_and_refuses_what_it_refuses(name: str) -> None:
    compare(CORPUS[name], CONFIG)
