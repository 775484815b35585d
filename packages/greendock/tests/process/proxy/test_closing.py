"""Maintenance with its options, and the pause that holds requests."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path

import pytest

from tests.process.proxy.support import LAUNCH, Proxy, Record, background
from tests.support import DEADLINE, ROOT, wait_for


def test_maintenance_says_why_and_until_when(launch: Callable[..., Proxy]) -> None:
    proxy = launch()
    until = datetime.now(UTC).replace(second=0, microsecond=0) + timedelta(hours=2)
    message = "We're moving; back <soon> {really}"
    done = proxy.command("maintenance", "on", "--message", message, "--until", f"{until:%Y-%m-%dT%H:%M}+00:00")
    assert done.returncode == 0, done.stderr
    assert message in done.stdout
    page = proxy.get("/")
    assert page.status_code == 503
    assert parsedate_to_datetime(page.headers["Retry-After"]) == until
    assert "back &lt;soon&gt; {really}" in page.text
    problem = proxy.get("/", headers={"Accept": "application/json"}).json()
    assert (problem["title"], problem["detail"]) == ("Down for maintenance", message)
    assert proxy.command("maintenance", "off").returncode == 0
    assert proxy.get("/").status_code == 200
    proxy.command("maintenance", "on")
    assert message not in proxy.get("/").text, "the next time it says nothing of the last"


def test_maintenance_lets_named_addresses_in(launch: Callable[..., Proxy]) -> None:
    proxy = launch(TRUSTED_PROXIES="127.0.0.0/8")
    assert proxy.command("maintenance", "on", "--allow", "203.0.113.7", "--allow", "2001:db8::/32").returncode == 0
    for address, status in (("203.0.113.7", 200), ("2001:db8::1", 200), ("203.0.113.8", 503)):
        assert proxy.get("/", headers={"X-Forwarded-For": address}).status_code == status
    assert "203.0.113.7/32" in proxy.command("maintenance", "status").stdout


def test_maintenance_outlives_a_restart(launch: Callable[..., Proxy]) -> None:
    proxy = launch()
    proxy.command("maintenance", "on", "--message", "Back on Monday")
    proxy.close()
    proxy.start()
    assert "Back on Monday" in proxy.get("/").text
    proxy.command("maintenance", "off")
    assert proxy.get("/").status_code == 200


@pytest.mark.parametrize(
    "option",
    [
        ("--message", 'say "hello"'),
        ("--message", "$host"),
        ("--message", "two\nlines"),
        ("--until", "tomorrow"),
        ("--until", "25:00"),
        ("--allow", "everybody"),
        ("--allow", "10.0.0.0/8; }"),
    ],
)
def test_a_wrong_option_is_refused_and_nothing_closes(proxy: Proxy, option: tuple[str, str]) -> None:
    done = proxy.command("maintenance", "on", *option)
    assert done.returncode == 1
    assert "accepted: " in done.stderr
    assert proxy.get("/").status_code == 200


@contextmanager
def paused(proxy: Proxy, *options: str) -> Iterator[subprocess.Popen[str]]:
    """Hold requests within the block."""
    command = [*LAUNCH, "pause", *options]
    with subprocess.Popen(command, cwd=ROOT, env=proxy.environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert "are held" in process.stdout.readline()
        try:
            yield process
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)


def wait_held(proxy: Proxy) -> None:
    """Wait until a request has come to the program that holds it: a connection beside the one that listens."""
    path = str(proxy.folder / "run" / "pause.sock")
    wait_for(lambda: Path("/proc/net/unix").read_text().count(path) > 1, "a request is held")


def test_a_pause_holds_requests_and_then_sends_them_on(launch: Callable[..., Proxy], record: Record) -> None:
    proxy = launch()
    (proxy.folder / "static" / "a.css").write_text("a")
    body = os.urandom(300_000)
    with paused(proxy, "60s", "--most", "1") as process:
        assert process.stdout is not None
        with background(lambda: proxy.request("POST", "/paused", content=body)) as answers:
            wait_held(proxy)
            assert proxy.get("/one-too-many").status_code == 503
            assert record.count("/paused") == 0
            assert proxy.get("/static/a.css").text == "a", "files need no application"
            process.send_signal(signal.SIGTERM)
        assert "requests were held and go on" in process.stdout.read()
    assert answers[0].status_code == 200
    assert answers[0].json()["length"] == len(body)
    assert proxy.get("/after").status_code == 200
    assert not (proxy.folder / "run" / "pause").exists()


def test_a_pause_ends_by_itself(launch: Callable[..., Proxy]) -> None:
    proxy = launch()
    with paused(proxy, "1s"):
        assert proxy.get("/").status_code == 200


def test_requests_go_on_when_the_program_that_holds_them_is_killed(launch: Callable[..., Proxy]) -> None:
    proxy = launch()
    with paused(proxy, "60s") as process:
        process.kill()
        process.wait(DEADLINE)
        assert proxy.request("POST", "/", content=b"x").json()["length"] == 1


@pytest.mark.parametrize("arguments", [["0s"], ["1h"], ["soon"], ["5s", "--most", "0"]])
def test_a_wrong_pause_is_refused(proxy: Proxy, arguments: list[str]) -> None:
    done = proxy.command("pause", *arguments)
    assert done.returncode == 1
    assert "pause: " in done.stderr


def test_what_the_file_says_is_read_with_care(launch: Callable[..., Proxy]) -> None:
    proxy = launch(wait=False)
    (proxy.folder / "temp").mkdir()
    hostile = {"message": '"; return 200 "', "until": None, "allow": ["0.0.0.0/0; }"]}
    (proxy.folder / "temp" / "maintenance").write_text(json.dumps(hostile))
    proxy.start()
    assert "We will be back shortly." in proxy.get("/").text
