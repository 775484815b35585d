"""slowhttptest keeps hundreds of slow connections open while normal requests go on."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable

import pytest

from tests.process.proxy.support import Proxy, Record
from tests.support import wait_for

pytestmark = pytest.mark.skipif(shutil.which("slowhttptest") is None, reason="slowhttptest is not installed")
CONNECTIONS = 400
# The tool asks for the page itself now and then, with GET; PUT and POST are the attack's own.
ATTACKS = {
    "slowloris": ["-H", "-i", "2", "-t", "PUT"],
    "slow body": ["-B", "-i", "2", "-s", "8192"],
    "slow read": ["-X", "-w", "10", "-y", "20", "-n", "2", "-z", "32"],
}


@pytest.mark.parametrize("name", ATTACKS)
def test_normal_requests_go_on_during_an_attack(launch: Callable[..., Proxy], record: Record, name: str) -> None:
    proxy = launch(CLIENT_HEADER_TIMEOUT="3s", CLIENT_BODY_TIMEOUT="3s", SEND_TIMEOUT="3s")
    path = f"/{'big' if name == 'slow read' else 'attacked'}/?bytes={6 * 65536}"
    attack = subprocess.Popen(
        [
            "slowhttptest",
            *ATTACKS[name],
            "-c",
            str(CONNECTIONS),
            "-r",
            "400",
            "-l",
            "5",
            "-p",
            "3",
            "-u",
            proxy.url + path,
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    answered = 0
    try:
        wait_for(lambda: active(proxy) >= CONNECTIONS * 0.75, "the attack is under way")
        while attack.poll() is None and active(proxy) >= CONNECTIONS * 0.5:
            assert proxy.get("/normal").status_code == 200
            assert proxy.status("/healthz").status_code == 200
            answered += 1
        assert answered >= 3, "the attack was over before it could be withstood"
    finally:
        attack.terminate()
        output = attack.communicate()[0]
    assert not [each for each in record.requests() if each[0] in ("PUT", "POST") and each[1] == "/attacked/"], output


def active(proxy: Proxy) -> int:
    """Return how many client connections are open."""
    text = proxy.status("/stub_status").text
    return int(text.split()[2])


def test_slow_headers_are_cut_off_in_the_time_allowed(launch: Callable[..., Proxy]) -> None:
    proxy = launch(CLIENT_HEADER_TIMEOUT="1s")
    assert proxy.raw(b"GET / HTTP/1.1\r\nHost: localhost\r\nX: y") == b""
