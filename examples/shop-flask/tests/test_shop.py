"""Tests of the shop, for `make test`: they ask its containers through Nginx."""

import re

from greendock.testing.stack import Stack

PHOTO = b"\x89PNG not really"


def test_a_product_is_added_and_nginx_serves_its_photo(stack: Stack) -> None:
    photo = ("tea.png", PHOTO, "image/png")
    assert stack.request("POST", "/products", data={"name": "Tea"}, files={"photo": photo}).status_code == 303
    (name,) = re.findall(r"/media/\w+\.png", stack.get("/").text)
    answer = stack.get(name)
    assert (answer.content, answer.headers["server"]) == (PHOTO, "nginx")


def test_node_has_built_the_styles(stack: Stack) -> None:
    assert "text/css" in stack.get("/static/shop.css").headers["content-type"]


def test_an_order_is_counted(stack: Stack) -> None:
    before = stack.get("/orders").json()["placed"]
    assert stack.request("POST", "/orders", data={"product": "1"}).status_code == 200
    assert stack.get("/orders").json()["placed"] == before + 1
