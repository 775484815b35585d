"""Uploads, from a folder that the application writes."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.process.proxy.support import Proxy, Record


@pytest.fixture(scope="module")
def media(launch_module: Callable[..., Proxy]) -> Proxy:
    proxy = launch_module(wait=False)
    root = proxy.folder / "media"
    proxy.environment |= {"NGINX_MEDIA_ROOT": str(root), "NGINX_MEDIA_URL": "/media/"}
    (root / "private").mkdir(parents=True)
    (root / "photo.jpg").write_bytes(b"jpeg")
    (root / "page.html").write_text("<script>alert(1)</script>")
    (root / "drawing.svg").write_text("<svg/>")
    (root / "shell.php").write_text("<?php phpinfo();")
    (root / "report.pdf").write_text("%PDF")
    (root / ".htpasswd").write_text("secret")
    (root / "link.txt").symlink_to("/etc/passwd")
    (root / "private" / "invoice.pdf").write_text("for one only")
    return proxy.start()


def test_an_upload_is_served_without_the_application(media: Proxy, record: Record) -> None:
    before = len(record.requests())
    response = media.get("/media/photo.jpg")
    assert (response.content, response.headers["Content-Type"]) == (b"jpeg", "image/jpeg")
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert len(record.requests()) == before


@pytest.mark.parametrize("name", ["photo.jpg", "report.pdf"])
def test_what_a_browser_only_shows_is_shown(media: Proxy, name: str) -> None:
    assert "Content-Disposition" not in media.get(f"/media/{name}").headers


@pytest.mark.parametrize("name", ["page.html", "drawing.svg", "shell.php"])
def test_what_a_browser_might_run_is_a_download(media: Proxy, name: str) -> None:
    response = media.get(f"/media/{name}")
    assert response.headers["Content-Disposition"] == "attachment"
    assert response.text == (media.folder / "media" / name).read_text(), "sent as it is, never run"


@pytest.mark.parametrize(
    "path", ["/media/private/invoice.pdf", "/media//private/invoice.pdf", "/media/.htpasswd", "/media/link.txt"]
)
def test_what_is_private_or_hidden_or_elsewhere_is_not_served(media: Proxy, path: str) -> None:
    response = media.get(path)
    assert response.status_code in (403, 404)
    assert "for one only" not in response.text


def test_an_upload_that_is_not_there_is_asked_of_the_application(media: Proxy) -> None:
    assert media.get("/media/none.jpg").json()["path"] == "/media/none.jpg"


def test_the_application_lets_a_file_through(media: Proxy) -> None:
    headers = {
        "!X-Accel-Redirect": "/__media/private/invoice.pdf",
        "!Content-Disposition": 'inline; filename="May.pdf"',
        "!X-Sendfile": "/srv/media/private/invoice.pdf",
        "type": "application/pdf",
    }
    response = media.get("/download", params=headers)
    assert (response.status_code, response.text) == (200, "for one only")
    assert response.headers["Content-Type"] == "application/pdf"
    assert response.headers.get_list("Content-Disposition") == ['inline; filename="May.pdf"']
    assert not {"x-accel-redirect", "x-sendfile"} & set(response.headers)
    part = media.get("/download", params=headers, headers={"Range": "bytes=0-2"})
    assert (part.status_code, part.text) == (206, "for")


def test_a_file_that_the_application_lets_through_and_is_not_there_is_404(media: Proxy) -> None:
    assert media.get("/download", params={"!X-Accel-Redirect": "/__media/private/none"}).status_code == 404


def test_the_way_for_such_files_is_closed_to_clients(media: Proxy) -> None:
    assert media.get("/__media/private/invoice.pdf").status_code == 404


def test_x_sendfile_never_reaches_a_client(proxy: Proxy) -> None:
    assert "X-Sendfile" not in proxy.get("/", params={"!X-Sendfile": "/etc/passwd"}).headers
