"""Static files, served by Nginx."""

from __future__ import annotations

import gzip
import http.client
import re
import zlib
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from greendock.proxy.render import SHIPPED
from greendock.proxy.static import fingerprint, precompress
from tests.process.proxy.support import Proxy, Record
from tests.support import DEADLINE

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


@pytest.mark.parametrize("accepted", ["br", "gzip, deflate, br, zstd", "gzip;q=0.8, br;q=1.0", "BR"])
def test_the_brotli_twin_is_sent_to_whoever_takes_it(site: Proxy, accepted: str) -> None:
    with httpx.stream("GET", f"{site.url}/static/css/style.css", headers={"Accept-Encoding": accepted}) as response:
        packed = b"".join(response.iter_raw())
    assert packed == (site.folder / "static" / ".br" / "css" / "style.css").read_bytes()
    assert (response.headers["Content-Encoding"], response.headers["Vary"]) == ("br", "Accept-Encoding")
    assert response.headers["Content-Type"] == "text/css; charset=utf-8"
    assert response.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("accepted", ["gzip", "gzip, br;q=0", "br; q=0.000, gzip", "gzip, brotli", "gzip, abr"])
def test_the_brotli_twin_is_not_sent_to_anybody_else(site: Proxy, accepted: str) -> None:
    response = site.get("/static/css/style.css", headers={"Accept-Encoding": accepted})
    assert (response.headers["Content-Encoding"], response.content) == ("gzip", STYLE)


def test_a_file_without_a_twin_is_sent_as_it_is(site: Proxy) -> None:
    response = site.get("/static/photo.png", headers={"Accept-Encoding": "br, gzip"})
    assert "Content-Encoding" not in response.headers
    assert site.get("/static/none.css", headers={"Accept-Encoding": "br"}).json()["path"] == "/static/none.css"
    assert site.get("/static/.br/css/style.css").status_code == 404


def test_a_url_with_the_fingerprint_of_the_file_is_immutable(site: Proxy) -> None:
    mark = fingerprint(site.folder / "static" / "css" / "style.css")
    assert site.get(f"/static/css/style.css?v={mark}").headers["Cache-Control"] == IMMUTABLE
    assert site.get(f"/static/css/style.css?x=1&v={mark}").headers["Cache-Control"] == IMMUTABLE


@pytest.mark.parametrize("query", ["", "?v=", "?v=0123456789abcdef", "?v=2"])
def test_a_url_with_another_fingerprint_is_not(site: Proxy, query: str) -> None:
    """During an upgrade the old proxy gets the new URL: what it answers must not stay in caches for a year."""
    assert site.get(f"/static/css/style.css{query}").headers["Cache-Control"] == SHORT


@pytest.fixture(scope="module")
def named(launch_module: Callable[..., Proxy]) -> Callable[[str], httpx.Response]:
    """Ask for a static file of this name, made on the spot."""
    proxy = launch_module()

    def get(name: str) -> httpx.Response:
        file = proxy.folder / "static" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("x" * 2000)
        return proxy.get(f"/static/{name}", headers={"Accept-Encoding": "gzip"})

    return get


@pytest.mark.parametrize(
    "name",
    [
        "app.3f2a9c1b.css",  # webpack, Parcel
        "app.3f2a9c1b0d4e.css",  # Django's ManifestStaticFilesStorage
        "main.3f2a9c1b.bundle.js",
        "2.3f2a9c1b.chunk.js.map",
        "index-CGkufDgY.js",  # Vite 7
        "index-D8b4DHJx.css",
        "fonts/inter-B2xk_9-Q.woff2",
        "assets/index-DiwrgTda.css",
        "chunk-5X7JGUPK.js",  # esbuild, Angular
    ],
)
def test_a_name_that_holds_a_hash_is_immutable(named: Callable[[str], httpx.Response], name: str) -> None:
    assert named(name).headers["Cache-Control"] == IMMUTABLE


@pytest.mark.parametrize(
    "name",
    [
        "app.js",
        "photo-20240131.jpg",
        "icon-facebook.png",
        "assets/icon-Facebook.svg",
        "lib-ReactDOM.js",
        "my-template.js",
        "theme-version2.css",
        "jquery-3.7.1.min.js",
        "logo-DOWNLOAD.svg",
    ],
)
def test_a_name_made_of_words_and_dates_is_not(named: Callable[[str], httpx.Response], name: str) -> None:
    assert named(name).headers["Cache-Control"] == SHORT


LEFT_BEHIND = "~ .bak .sql .swp .ini .conf .log .inc .orig .old .py .pyc .sh .js.bak .Bak"


@pytest.mark.parametrize("ending", LEFT_BEHIND.split())
def test_what_an_editor_or_a_backup_left_behind_is_not_served(
    named: Callable[[str], httpx.Response], record: Record, ending: str
) -> None:
    before = len(record.requests())
    assert named(f"settings{ending}").status_code == 404
    assert len(record.requests()) == before, "nor asked of the application"


def test_the_application_s_own_paths_may_end_like_that(site: Proxy) -> None:
    assert site.get("/downloads/dump.sql").json()["path"] == "/downloads/dump.sql"


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.mjs", "application/javascript; charset=utf-8"),
        ("a.docx", "application/vnd.openxmlformats-officedocument.wordprocessingml.document"),
        ("a.mkv", "video/x-matroska"),
        ("a.eot", "application/vnd.ms-fontobject"),
        ("a.geojson", "application/geo+json"),
        ("a.exe", "application/octet-stream"),
    ],
)
def test_a_file_has_the_type_of_its_name(named: Callable[[str], httpx.Response], name: str, kind: str) -> None:
    assert named(name).headers["Content-Type"] == kind


def test_every_type_of_stock_nginx_is_known(nginx: str) -> None:
    stock = next(
        f
        for f in (Path(nginx).parent.parent / "root/etc/nginx/mime.types", Path("/etc/nginx/mime.types"))
        if f.exists()
    )
    own = SHIPPED / "templates" / "http" / "mime-types.conf"
    ours, theirs = (
        {
            ending: kind
            for kind, endings in re.findall(r"([\w.+/-]+)\s+([^;{}]+);", file.read_text())
            for ending in endings.split()
        }
        for file in (own, stock)
    )
    unlisted = {ending for ending, kind in theirs.items() if kind == "application/octet-stream"}
    assert {ending: kind for ending, kind in theirs.items() if ours.get(ending) != kind}.keys() == unlisted


@pytest.mark.parametrize(
    "kind", ["text/javascript", "application/xhtml+xml", "application/geo+json", "application/vnd.api+json"]
)
def test_text_of_any_type_of_the_application_is_compressed(site: Proxy, kind: str) -> None:
    answer = site.get("/", params={"padding": "5000", "type": kind}, headers={"Accept-Encoding": "gzip"})
    assert (answer.headers["Content-Type"], answer.headers["Content-Encoding"]) == (kind, "gzip")


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


def test_a_single_page_application_has_every_page_the_application_does_not_know(launch: Callable[..., Proxy]) -> None:
    proxy = launch(STATIC_INDEX="on")
    (proxy.folder / "static" / "index.html").write_text("<main>")
    browser = {"Accept": "text/html,application/xhtml+xml"}
    unknown = {"status": "404 Not Found"}
    for path in ("/", "/shop/cart", "/shop/cart/"):
        page = proxy.get(path, params=unknown, headers=browser)
        assert (page.status_code, page.text) == (200, "<main>")
        assert (page.headers["Content-Type"], page.headers["Cache-Control"]) == ("text/html", "no-cache")
        assert proxy.get(path, headers=browser).json()["path"] == path, "what the application knows is its own"
    for path, method, headers in (
        ("/api/x", "GET", {"Accept": "application/json"}),
        ("/logo.png", "GET", browser),
        ("/shop", "POST", browser),
    ):
        answer = proxy.request(method, path, params=unknown, headers=headers)
        assert (answer.status_code, answer.json()["path"]) == (404, path), "with the application's own words"


@pytest.mark.parametrize(("origins", "allowed"), [("any", "*"), ("https://shop.example", "https://shop.example")])
def test_other_sites_may_use_fonts_where_that_is_said(launch: Callable[..., Proxy], origins: str, allowed: str) -> None:
    proxy = launch(STATIC_CORS=origins, STATIC_MAX_AGES="woff2=30d,html=0s")
    for name in ("a.woff2", "a.html", "a.css"):
        (proxy.folder / "static" / name).write_text("x")
    font = proxy.get("/static/a.woff2", headers={"Origin": "https://shop.example"})
    assert font.headers["Access-Control-Allow-Origin"] == allowed
    assert "Origin" in font.headers["Vary"]
    stranger = proxy.get("/static/a.woff2", headers={"Origin": "https://evil.example"})
    assert stranger.headers.get("Access-Control-Allow-Origin") == ("*" if origins == "any" else None)
    ages = [proxy.get(f"/static/a.{ending}").headers["Cache-Control"] for ending in ("woff2", "html", "css")]
    assert ages == ["public, max-age=2592000", "public, max-age=0", SHORT]


def test_no_other_site_may_use_static_files_by_default(site: Proxy) -> None:
    headers = site.get("/static/photo.png", headers={"Origin": "https://shop.example"}).headers
    assert "Access-Control-Allow-Origin" not in headers


def test_compression_can_be_off(launch: Callable[..., Proxy]) -> None:
    proxy = launch(COMPRESSION="off")
    (proxy.folder / "static" / "style.css").write_bytes(STYLE)
    precompress(proxy.folder / "static")
    for path in ("/static/style.css", "/?padding=5000"):
        assert "Content-Encoding" not in proxy.get(path, headers={"Accept-Encoding": "gzip"}).headers


def test_the_application_can_keep_an_answer_from_being_compressed(site: Proxy) -> None:
    params = {"padding": "5000", "!Content-Encoding": "identity"}
    answer = site.get("/", params=params, headers={"Accept-Encoding": "gzip"})
    assert answer.headers["Content-Encoding"] == "identity"
    assert int(answer.headers["Content-Length"]) > 5000


@pytest.mark.parametrize(
    ("kind", "accepted"),
    [
        ("text/event-stream", "gzip"),
        ("application/x-ndjson", "gzip"),
        ("application/json-seq", "gzip"),
        ("text/plain", "identity"),
        ("application/json", "identity"),
    ],
)
def test_a_stream_that_is_not_compressed_is_not_held_back(
    site: Proxy, record: Record, kind: str, accepted: str
) -> None:
    """Buffered, so that a slow client holds no worker, and yet sent as it comes."""
    gate = f"plain-{kind.replace('/', '-')}"
    connection = http.client.HTTPConnection("127.0.0.1", site.port, timeout=DEADLINE)
    connection.request("GET", f"/sse?gate={gate}&buffering=yes&type={kind}", headers={"Accept-Encoding": accepted})
    response = connection.getresponse()
    assert "Content-Encoding" not in response.headers
    assert response.read1(100).strip() == b"data: one"
    record.open(gate)
    assert response.read().strip() == b"data: two"


@pytest.mark.parametrize("kind", ["text/plain", "application/json"])
def test_a_stream_reaches_a_client_that_takes_gzip_as_it_is_written(site: Proxy, record: Record, kind: str) -> None:
    gate = f"gzip-{kind.replace('/', '-')}"
    connection = http.client.HTTPConnection("127.0.0.1", site.port, timeout=DEADLINE)
    connection.request("GET", f"/sse?gate={gate}&type={kind}", headers={"Accept-Encoding": "gzip"})
    response = connection.getresponse()
    assert response.headers["Content-Encoding"] == "gzip"
    unpacked, text = zlib.decompressobj(wbits=31), b""
    while b"one" not in text:
        text += unpacked.decompress(response.read1(1000))
    record.open(gate)
    assert unpacked.decompress(response.read()).strip() == b"data: two"
