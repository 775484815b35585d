"""Tests of the shop, for `make test`: they ask its containers through Nginx."""

import re

import httpx

from greendock.testing.stack import Stack

PHOTO = b"\x89PNG not really"


def post(
    stack: Stack, page: str, path: str, data: dict[str, str], origin: str = "", **files: tuple[str, bytes, str]
) -> httpx.Response:
    """Send a form of a page as a browser does: with its token, and the site it belongs to."""
    (token, *_) = re.findall(r'csrfmiddlewaretoken" value="(\w+)"', stack.get(page).text)
    headers = {"Origin": origin or f"https://{stack.host}"}
    return stack.request("POST", path, data=data | {"csrfmiddlewaretoken": token}, headers=headers, files=files)


def test_a_product_is_added_in_the_admin_and_nginx_serves_its_photo(stack: Stack) -> None:
    create = "python app/manage.py createsuperuser --noinput --username ada --email ada@example.com"
    made = stack.execute("app", "sh", "-c", f"DJANGO_SUPERUSER_PASSWORD=secret-enough {create}")
    assert made.returncode == 0, made.stderr
    login = {"username": "ada", "password": "secret-enough"}
    assert post(stack, "/admin/login/", "/admin/login/?next=/admin/", login).status_code == 302
    add = "/admin/shop/product/add/"
    added = post(stack, add, add, {"name": "Tea"}, photo=("tea.png", PHOTO, "image/png"))
    assert added.status_code == 302, added.text
    photo = stack.get("/media/tea.png")
    assert (photo.content, photo.headers["server"]) == (PHOTO, "nginx")
    assert stack.get("/static/admin/css/base.css").headers["server"] == "nginx", "collectstatic has run in the build"


def test_an_order_needs_the_token_of_this_site_and_is_counted(stack: Stack) -> None:
    assert stack.request("POST", "/orders", data={"product": "1"}).status_code == 403
    assert post(stack, "/shop/", "/orders", {"product": "1"}, origin="https://example.com").status_code == 403
    before = stack.get("/orders").json()["placed"]
    assert post(stack, "/shop/", "/orders", {"product": "1"}).status_code == 200
    assert stack.get("/orders").json()["placed"] == before + 1
