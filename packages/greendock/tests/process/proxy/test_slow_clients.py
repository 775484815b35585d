"""slowhttptest keeps hundreds of slow connections open while normal requests go on."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable

import pytest

from tests.process.proxy.support import Edge, Record
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
def test_normal_requests_go_on_during_an_attack(launch: Callable[..., Edge], record: Record, name: str) -> None:
    edge = launch(CLIENT_HEADER_TIMEOUT="3s", CLIENT_BODY_TIMEOUT="3s", SEND_TIMEOUT="3s")
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
            edge.url + path,
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    answered = 0
    try:
        wait_for(lambda: active(edge) >= CONNECTIONS * 0.75, "the attack is under way")
        while attack.poll() is None and active(edge) >= CONNECTIONS * 0.5:
            assert edge.get("/normal").status_code == 200
            assert edge.status("/healthz").status_code == 200
            answered += 1
        assert answered >= 3, "the attack was over before it could be withstood"
    finally:
        attack.terminate()
        output = attack.communicate()[0]
    assert not [each for each in record.requests() if each[0] in ("PUT", "POST") and each[1] == "/attacked/"], output


def active(edge: Edge) -> int:
    """Return how many client connections are open."""
    text = edge.status("/stub_status").text
    return int(text.split()[2])


def test_slow_headers_are_cut_off_in_the_time_allowed(launch: Callable[..., Edge]) -> None:
    edge = launch(CLIENT_HEADER_TIMEOUT="1s")
    assert edge.raw(b"GET / HTTP/1.1\r\nHost: localhost\r\nX: y") == b""
