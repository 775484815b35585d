"""``NGINX_TLS=acme`` with certbot and Pebble: the first certificate, renewals under load, a CA that fails."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.process.proxy.ca import Authority
from tests.process.proxy.support import LAUNCH, Clients, Proxy, certificate_of, handshake
from tests.support import DEADLINE, ROOT, wait_for

pytestmark = pytest.mark.skipif(shutil.which("pebble") is None, reason="pebble is not installed")
NAMES = ("shop.example", "www.shop.example")


class Service:
    """Nginx with ``NGINX_TLS=acme``, the service ``acme`` beside it, and a certificate authority."""

    def __init__(self, launch: Callable[..., Proxy], folder: Path) -> None:
        self.shared, self.state, self.log = folder / "shared", folder / "state", folder / "acme.log"
        self.proxy = launch(
            wait=False,
            TLS="acme",
            SERVER_NAMES=",".join(NAMES),
            ACME_EMAIL="owner@shop.example",
            ACME_DIR=str(self.shared),
            ACME_STATE_DIR=str(self.state),
            KEEPALIVE_MIN_TIMEOUT="5s",
            SHUTDOWN_TIMEOUT="10s",
        )
        self.authority = Authority(folder, self.proxy.port)
        self.proxy.environment |= {
            "NGINX_ACME_DIRECTORY": self.authority.directory,
            "NGINX_ACME_CA": str(self.authority.certificate),
        }
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*LAUNCH, "acme"], cwd=ROOT, env=self.proxy.environment, stdout=log, stderr=log, start_new_session=True
            )

    def renew_always(self) -> None:
        """Have certbot take every certificate for one that is about to end."""
        (file,) = self.state.glob("*/config/renewal/site.conf")
        file.write_text("renew_before_expiry = 99 years\n" + file.read_text())

    def look(self) -> str:
        """Have it look at the certificate now; return the line it logs."""
        assert self.process is not None
        before = len(self.lines())
        self.process.send_signal(signal.SIGHUP)
        return self.line(before)

    def line(self, number: int) -> str:
        wait_for(lambda: len(self.lines()) > number, "a line of the service acme")
        return self.lines()[number]

    def lines(self) -> list[str]:
        return self.log.read_text().splitlines()

    def certificate(self) -> str:
        return certificate_of(self.proxy, NAMES[0])

    def another_certificate(self, former: str) -> str:
        """Wait until Nginx shows another certificate; return it. A former worker may take one more client."""

        def shown() -> str | None:
            seen = {self.certificate() for _ in range(10)}
            return seen.pop() if len(seen) == 1 and former not in seen else None

        return wait_for(shown, "Nginx has another certificate") or ""

    def close(self) -> None:
        self.authority.stop()
        if self.process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(DEADLINE)


@pytest.fixture
def service(launch: Callable[..., Proxy], tmp_path: Path) -> Iterator[Service]:
    service = Service(launch, tmp_path)
    try:
        yield service
    finally:
        service.close()


def test_a_certificate_is_got_and_renewed_and_a_failing_authority_changes_nothing(service: Service) -> None:
    service.proxy.start()
    stand_in = service.certificate()
    service.authority.start()
    service.start()
    assert service.line(0).startswith(f"greendock: a certificate for {', '.join(NAMES)}, until ")
    first = service.another_certificate(stand_in)
    with handshake(service.proxy, NAMES[1]) as connection:
        shown = connection.getpeercert(binary_form=True) or b""
    assert all(name.encode() in shown for name in NAMES)
    pem = service.shared / "tls.pem"
    assert pem.stat().st_mode & 0o777 == 0o400
    assert not [file for file in service.shared.rglob("*") if file.is_file() and file != pem], "no key besides"

    service.renew_always()
    with Clients(service.proxy, count=2, host=NAMES[0]) as clients:
        clients.wait_for(50)
        assert "a certificate for" in service.look()
        renewed = service.another_certificate(first)
        clients.wait_for(200)
    assert clients.failures == []

    service.authority.stop_names()
    refused = service.look()
    assert f"no new certificate for {', '.join(NAMES)}: " in refused
    assert "shop.example: Get " in refused, "the authority's own words"
    assert "the one in use ends on " in refused
    assert refused.endswith("the next try is in 5 minutes")
    service.authority.stop()
    unreachable = service.look()
    assert "Connection refused" in unreachable
    assert unreachable.endswith("the next try is in 10 minutes")
    assert service.certificate() == renewed
    assert len(service.lines()) == 4, "one line each"
