"""Flask and Django answer under lean what they answer under gthread."""

from __future__ import annotations

import pytest
from lean_twins import Twins, get

BOUNDARY = "----limit"
LINES = "line\n" * 5000
MULTIPART = (
    f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="note"\r\n\r\nhello\r\n'
    f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="a.txt"\r\n'
    f"Content-Type: text/plain\r\n\r\n{LINES}\r\n--{BOUNDARY}--\r\n"
).encode()


def post(target: str, body: bytes, kind: str, *fields: str) -> bytes:
    return get(target, f"Content-Type: {kind}", f"Content-Length: {len(body)}", *fields, method="POST", body=body)


def chunks(target: str, body: bytes, kind: str) -> bytes:
    parts = [b"%x\r\n%b\r\n" % (len(body[i : i + 7000]), body[i : i + 7000]) for i in range(0, len(body), 7000)]
    coding = ("Transfer-Encoding: chunked", f"Content-Type: {kind}")
    return get(target, *coding, method="POST", body=b"".join(parts) + b"0\r\n\r\n")


COMMON = {
    "index": get("/?a=1&a=2&b=%C3%A9", "X-Forwarded-Proto: https"),
    "head": get("/", method="HEAD"),
    "missing": get("/nowhere/at%2Fall"),
    "wrong method": get("/stream", method="DELETE"),
    "options": get("/", method="OPTIONS"),
    "stream": get("/stream"),
    "stream in HTTP/1.0": get("/stream", version="HTTP/1.0"),
    "an error": get("/boom"),
    "two on one connection": get("/stream") + get("/"),
    "an upload": post("/form", MULTIPART, f"multipart/form-data; boundary={BOUNDARY}"),
    "an upload in chunks": chunks("/form", MULTIPART, f"multipart/form-data; boundary={BOUNDARY}"),
}
FLASK = COMMON | {
    "json": post("/json?x=1", b'{"a": [1, 2]}', "application/json", "User-Agent: me"),
    "bad json": post("/json", b'{"a": ', "application/json"),
    "an upload": post("/upload", MULTIPART, f"multipart/form-data; boundary={BOUNDARY}"),
    "an upload in chunks": chunks("/upload", MULTIPART, f"multipart/form-data; boundary={BOUNDARY}"),
    "no upload": post("/upload", b"", "multipart/form-data"),
}
DJANGO = COMMON | {
    "a form": post("/form", b"a=1&b=%C3%A9&a=2", "application/x-www-form-urlencoded"),
    "bytes": post("/body", bytes(range(256)) * 500, "application/octet-stream"),
    "no token": post("/", b"a=1", "application/x-www-form-urlencoded"),
    "cookies": get("/cookie", "Cookie: one=1; other=2"),
    "a file": get("/file"),
    "head of a file": get("/file", method="HEAD"),
    "a slash too many": get("/file/"),
}


@pytest.mark.parametrize(
    ("app", "requests"),
    [("lean_app:flask", FLASK), ("lean_django:app", DJANGO)],
    ids=["flask", "django"],
)
def test_a_framework_answers_alike(start, monkeypatch, app, requests):
    monkeypatch.setenv("PYTHONHASHSEED", "0")  # Werkzeug lists methods as a set has them
    twins = Twins(start, app=app)
    for name, data in requests.items():
        expected, got = twins.ask(data)
        assert got == expected, name
        assert expected, name


def test_django_answers_304_to_whoever_has_the_page(start):
    twins = Twins(start, app="lean_django:app")
    (answer,), _ = twins.ask(get("/"))
    etag = dict(answer[2])["ETag"]
    expected, got = twins.ask(get("/", f"If-None-Match: {etag}"))
    assert got == expected
    assert got[0][0] == 304
