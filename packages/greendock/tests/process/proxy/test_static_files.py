"""Static files, served by Nginx."""

from __future__ import annotations

import gzip
from collections.abc import Callable

import pytest

from greendock.proxy.static import fingerprint, precompress
from tests.process.proxy.support import Proxy, Record

STYLE = b"body { margin: 0 }\n" * 100
SHORT = "public, max-age=300"
IMMUTABLE = "public, max-age=31536000, immutable"


@pytest.fixture(scope="module")
def site(launch_module: Callable[..., Proxy]) -> Proxy:
    proxy = launch_module(wait=False)
    static = proxy.folder / "static"
    (static / "css").mkdir(parents=True)
    (static / "css" / "style.css").write_bytes(STYLE)
    (static / "app.0123abcd.js").write_text("let x\n")
    (static / "photo.png").write_bytes(b"\x89PNG" + b"\0" * 100)
    precompress(static)
    return proxy.start()


def test_a_file_is_served_with_its_type_and_without_the_application(site: Proxy, record: Record) -> None:
    before = len(record.requests())
    response = site.get("/static/css/style.css")
    assert response.content == STYLE
    assert response.headers["Content-Type"] == "text/css; charset=utf-8"
    assert len(record.requests()) == before


def test_the_twin_made_at_build_time_is_sent_to_whoever_takes_gzip(site: Proxy) -> None:
    response = site.get("/static/css/style.css", headers={"Accept-Encoding": "gzip"})
    assert response.headers["Content-Encoding"] == "gzip"
    assert int(response.headers["Content-Length"]) == len(gzip.compress(STYLE, 9, mtime=0))
    assert response.content == STYLE
    assert response.headers["Vary"] == "Accept-Encoding"
    plain = site.get("/static/css/style.css", headers={"Accept-Encoding": "identity"})
    assert "Content-Encoding" not in plain.headers


def test_a_url_with_the_fingerprint_of_the_file_is_immutable(site: Proxy) -> None:
    mark = fingerprint(site.folder / "static" / "css" / "style.css")
    assert site.get(f"/static/css/style.css?v={mark}").headers["Cache-Control"] == IMMUTABLE
    assert site.get(f"/static/css/style.css?x=1&v={mark}").headers["Cache-Control"] == IMMUTABLE


@pytest.mark.parametrize("query", ["", "?v=", "?v=0123456789abcdef", "?v=2"])
def test_a_url_with_another_fingerprint_is_not(site: Proxy, query: str) -> None:
    """During an upgrade the old proxy gets the new URL: what it answers must not stay in caches for a year."""
    assert site.get(f"/static/css/style.css{query}").headers["Cache-Control"] == SHORT


def test_a_name_that_holds_a_hash_is_immutable(site: Proxy) -> None:
    assert site.get("/static/app.0123abcd.js").headers["Cache-Control"] == IMMUTABLE


def test_a_changed_file_is_new_after_a_reload(launch: Callable[..., Proxy]) -> None:
    proxy = launch(wait=False)
    file = proxy.folder / "static" / "a.css"
    file.parent.mkdir(exist_ok=True)
    file.write_text("old")
    proxy.start()
    old = fingerprint(file)
    file.write_text("newer")
    assert proxy.command("reload").returncode == 0
    assert proxy.get(f"/static/a.css?v={fingerprint(file)}").headers["Cache-Control"] == IMMUTABLE
    stale = proxy.get(f"/static/a.css?v={old}")
    assert (stale.text, stale.headers["Cache-Control"]) == ("newer", SHORT)


def test_a_file_that_has_not_changed_is_not_sent_again(site: Proxy) -> None:
    first = site.get("/static/photo.png")
    by_tag = site.get("/static/photo.png", headers={"If-None-Match": first.headers["ETag"]})
    assert (by_tag.status_code, by_tag.content) == (304, b"")
    assert by_tag.headers["Cache-Control"] == SHORT
    by_date = site.get("/static/photo.png", headers={"If-Modified-Since": first.headers["Last-Modified"]})
    assert by_date.status_code == 304
    assert site.get("/static/photo.png", headers={"If-None-Match": '"other"'}).status_code == 200
    assert site.get("/static/photo.png", headers={"If-Match": '"other"'}).status_code == 412


def test_a_part_of_a_file_can_be_asked_for(site: Proxy) -> None:
    part = site.get("/static/photo.png", headers={"Range": "bytes=1-3"})
    assert (part.status_code, part.content, part.headers["Content-Range"]) == (206, b"PNG", "bytes 1-3/104")
    assert site.get("/static/photo.png", headers={"Range": "bytes=-4"}).content == b"\0" * 4
    two = site.get("/static/photo.png", headers={"Range": "bytes=0-0,2-2"})
    assert two.headers["Content-Type"].startswith("multipart/byteranges")
    beyond = site.get("/static/photo.png", headers={"Range": "bytes=200-"})
    assert (beyond.status_code, beyond.headers["Content-Range"]) == (416, "bytes */104")
    old = site.get("/static/photo.png", headers={"Range": "bytes=1-3", "If-Range": '"old"'})
    assert (old.status_code, len(old.content)) == (200, 104)


def test_head_says_what_get_would(site: Proxy) -> None:
    head, get = (site.request(method, "/static/photo.png") for method in ("HEAD", "GET"))
    assert head.content == b""
    assert head.headers["ETag"] == get.headers["ETag"]


def test_a_file_that_is_not_there_is_looked_for_in_the_application(site: Proxy) -> None:
    response = site.get("/static/generated.css")
    assert response.json()["path"] == "/static/generated.css"
    assert "Cache-Control" not in response.headers


@pytest.mark.parametrize(
    "path", ["/static../run/nginx.conf", "/static/../run/nginx.conf", "/static/%2e%2e/run/nginx.conf"]
)
def test_no_path_leads_out_of_the_folder(site: Proxy, path: str) -> None:
    answer = site.raw(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
    assert b"worker_processes" not in answer


def test_the_application_s_text_is_compressed_for_whoever_takes_it(site: Proxy) -> None:
    response = site.get("/?padding=5000", headers={"Accept-Encoding": "gzip"})
    assert response.headers["Content-Encoding"] == "gzip"
    assert len(response.json()["padding"]) == 5000
    assert "Content-Encoding" not in site.get("/", headers={"Accept-Encoding": "gzip"}).headers, "too short to gain"
