"""A certificate authority of the tests' own: Pebble, the small RFC 8555 server of Let's Encrypt."""

from __future__ import annotations

import json
import os
import signal
import ssl
import subprocess
from contextlib import suppress
from pathlib import Path

import httpx

from greendock.proxy.certificate import ensure_self_signed
from tests.support import DEADLINE, free_ports, wait_for


class Authority:
    """Pebble, and the DNS server it asks, for which every name is at 127.0.0.1; it looks for challenges at ``port``."""

    def __init__(self, folder: Path, port: int) -> None:
        self.log, self.certificate = folder / "authority.log", folder / "authority.crt"
        listen, management, self.dns, self.dns_management = free_ports(4)
        self.directory = f"https://localhost:{listen}/dir"
        ensure_self_signed(self.certificate, folder / "authority.key")
        self.configuration = folder / "authority.json"
        settings = {
            "listenAddress": f"127.0.0.1:{listen}",
            "managementListenAddress": f"127.0.0.1:{management}",
            "certificate": str(self.certificate),
            "privateKey": str(folder / "authority.key"),
            "httpPort": port,
            "tlsPort": port,
        }
        self.configuration.write_text(json.dumps({"pebble": settings}))
        self.authority: subprocess.Popen[bytes] | None = None
        self.names: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.start_names()
        self.authority = self._run("pebble", "-config", str(self.configuration), "-dnsserver", f"127.0.0.1:{self.dns}")
        wait_for(self._answers, "the certificate authority answers")

    def start_names(self) -> None:
        """Start DNS, without which every challenge fails."""
        off = [part for kind in ("http01", "https01", "tlsalpn01") for part in (f"-{kind}", "")]
        listen = ("-dns01", f"127.0.0.1:{self.dns}", "-management", f"127.0.0.1:{self.dns_management}")
        self.names = self._run("pebble-challtestsrv", *listen, "-defaultIPv6", "", *off)

    def stop_names(self) -> None:
        _end(self.names)

    def stop(self) -> None:
        for process in (self.authority, self.names):
            _end(process)

    def _run(self, *command: str) -> subprocess.Popen[bytes]:
        quick = os.environ | {"PEBBLE_VA_NOSLEEP": "1", "PEBBLE_WFE_NONCEREJECT": "0", "PEBBLE_AUTHZREUSE": "0"}
        with self.log.open("ab") as log:
            return subprocess.Popen(command, env=quick, stdout=log, stderr=log, start_new_session=True)

    def _answers(self) -> bool:
        assert self.authority is not None
        assert self.authority.poll() is None, self.log.read_text()
        context = ssl.create_default_context(cafile=self.certificate)
        try:
            return httpx.get(self.directory, timeout=DEADLINE, verify=context).status_code == 200
        except httpx.TransportError:
            return False


def _end(process: subprocess.Popen[bytes] | None) -> None:
    if process is not None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(DEADLINE)
