"""The landing page in a real browser, through real Nginx and real Gunicorn."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium.webdriver import Chrome, ChromeOptions, ChromeService
from selenium.webdriver.common.by import By

from tests.process.proxy.support import Proxy
from tests.support import ROOT, Server, local_nginx


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the sample behind Nginx."""
    folder = tmp_path_factory.mktemp("sample")
    shutil.copytree(ROOT / "app", folder / "app")
    server = Server(folder, APP_MODULE="app.main:app")
    proxy = Proxy(folder / "proxy", local_nginx(), UPSTREAM=f"127.0.0.1:{server.port}")
    shutil.copytree(ROOT / "app" / "static", folder / "proxy" / "static", dirs_exist_ok=True)
    try:
        server.start().wait_ready()
        yield proxy.start().url
    finally:
        proxy.close()
        server.close()


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    binary, driver = shutil.which("chromium"), shutil.which("chromedriver")
    assert binary, "chromium is missing: run `make test-deps`"
    assert driver, "chromedriver is missing: run `make test-deps`"
    options = ChromeOptions()
    options.binary_location = binary
    profile = tmp_path_factory.mktemp("profile")
    for flag in (
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--window-size=900,700",
        f"--user-data-dir={profile}",
    ):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    browser = Chrome(options=options, service=ChromeService(driver))
    yield browser
    browser.quit()


def test_a_person_sees_who_answered_and_nothing_is_missing(page: str, browser: Chrome, tmp_path: Path) -> None:
    browser.get(page)
    assert browser.title == "Greendock"
    assert browser.find_element(By.TAG_NAME, "h1").text == "It works."
    assert browser.find_element(By.ID, "worker").text.startswith("process ")
    assert browser.find_element(By.ID, "ready").text.endswith("seconds")
    assert len(browser.find_element(By.ID, "request-id").text) >= 32
    border = browser.find_element(By.TAG_NAME, "main").value_of_css_property("border-top-color")
    assert border.replace(" ", "") in ("rgb(47,133,90)", "rgba(47,133,90,1)"), "the stylesheet is applied"
    assert [entry for entry in browser.get_log("browser") if "favicon" not in entry["message"]] == []
    assert browser.save_screenshot(str(tmp_path / "landing.png"))


def test_the_same_facts_are_one_click_away_as_json(page: str, browser: Chrome) -> None:
    browser.get(page)
    browser.find_element(By.LINK_TEXT, "The same as JSON").click()
    assert '"service":"greendock sample"' in browser.find_element(By.TAG_NAME, "body").text
