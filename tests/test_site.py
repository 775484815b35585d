"""Smoke tests of this application. ``stack`` builds its containers, starts them and asks them through Nginx."""

from greendock.testing.stack import Stack


def test_the_front_page_is_served(stack: Stack) -> None:
    assert stack.get("/").status_code == 200


def test_both_containers_are_healthy(stack: Stack) -> None:
    assert (stack.health("app"), stack.health("nginx")) == ("healthy", "healthy")


def test_browsers_keep_a_static_file_for_ever(stack: Stack) -> None:
    assert "immutable" in stack.static("style.css").headers["Cache-Control"]


def test_a_forged_client_address_is_not_believed(stack: Stack) -> None:
    answer = stack.get("/", **{"X-Forwarded-For": "203.0.113.7"})
    assert stack.access_log(answer)["client.ip"] != "203.0.113.7"


def test_nothing_can_be_written_to_the_images(stack: Stack) -> None:
    assert not stack.can_write("app", "/srv/app/written")
    assert not stack.can_write("nginx", "/srv/static/written")


def test_a_new_version_loses_no_request(stack: Stack) -> None:
    asked = stack.rollout_under_load("/")
    assert asked.total > 0
    assert asked.failed == []
