"""Tests of this application."""

from app.main import app


def test_the_landing_page_is_served():
    assert app.test_client().get("/").status_code == 200
