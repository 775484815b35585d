"""The application behind Nginx in these tests. It writes down every request it gets."""

import hashlib
import json
import os
import time
import urllib.parse
from pathlib import Path

FOLDER = Path(os.environ["EDGE_TEST_FOLDER"])
NAME = os.environ.get("EDGE_TEST_NAME", "")


def gate(name):
    """Wait until the test opens the gate."""
    end = time.monotonic() + 30
    while not (FOLDER / name).exists() and time.monotonic() < end:
        time.sleep(0.01)


def app(environ, start_response):
    path = environ["PATH_INFO"]
    query = dict(urllib.parse.parse_qsl(environ["QUERY_STRING"]))
    with (FOLDER / "requests").open("a") as record:
        record.write(json.dumps([environ["REQUEST_METHOD"], path, NAME]) + "\n")
    if path == "/unread":
        start_response("200 OK", [("Content-Length", "2")])
        return [b"ok"]
    if path == "/swallow":
        length = sum(len(chunk) for chunk in iter(lambda: environ["wsgi.input"].read(1 << 20), b""))
        start_response("200 OK", [("Content-Length", str(len(str(length))))])
        return [str(length).encode()]
    digest, length = hashlib.sha256(), 0
    while chunk := environ["wsgi.input"].read(65536):
        digest.update(chunk)
        length += len(chunk)
    headers = [(name[1:], value) for name, value in query.items() if name.startswith("!")]
    if path == "/sse":
        buffering = [("X-Accel-Buffering", query.get("buffering", "no"))]
        start_response("200 OK", [("Content-Type", query.get("type", "text/event-stream")), *buffering])
        return events(query["gate"])
    if path in ("/big", "/big/"):
        start_response("200 OK", [("Content-Length", query["bytes"]), *headers])
        return big(int(query["bytes"]), query.get("finished"))
    if path == "/hold":
        (FOLDER / (query["gate"] + ".held")).touch()
        gate(query["gate"])
    heads = {k[5:].replace("_", "-").title(): v for k, v in environ.items() if k.startswith("HTTP_")}
    body = {
        "name": NAME,
        "method": environ["REQUEST_METHOD"],
        "path": path,
        "uri": environ.get("RAW_URI"),
        "scheme": environ["wsgi.url_scheme"],
        "headers": heads,
        "length": length,
        "sha256": digest.hexdigest(),
        "stamp": time.time_ns(),
        "padding": "p" * int(query.get("padding", 0)),
    }
    text = json.dumps(body).encode()
    start_response(
        query.get("status", "200 OK"),
        [("Content-Type", query.get("type", "application/json")), ("Content-Length", str(len(text))), *headers],
    )
    return [text]


def events(name):
    yield b"data: one\n\n"
    gate(name)
    yield b"data: two\n\n"


def big(length, finished):
    for _ in range(length // 65536):
        yield b"x" * 65536
    if finished:
        (FOLDER / finished).touch()
