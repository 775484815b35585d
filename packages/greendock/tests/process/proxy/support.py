"""A real Nginx as a plain process, run by the program that runs it in the image."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx

from tests.support import DEADLINE, ROOT, clean_environment, free_ports, wait_for

LAUNCH = (sys.executable, "-m", "greendock", "proxy")


class Proxy:
    """One Nginx: its ports, logs and commands. ``environment`` holds ``NGINX_*`` variables, without the prefix."""

    def __init__(self, folder: Path, binary: str, **environment: str) -> None:
        self.folder = folder
        self.port, self.tls_port, self.status_port = free_ports(3)
        defaults = {
            "BINARY": binary,
            "RUN_DIR": str(folder / "run"),
            "TEMP_DIR": str(folder / "temp"),
            "STATIC_ROOT": str(folder / "static"),
            "HTTP_PORT": str(self.port),
            "HTTPS_PORT": str(self.tls_port),
            "TLS_PUBLIC_PORT": str(self.tls_port),
            "STATUS_PORT": str(self.status_port),
            "UPSTREAM": "127.0.0.1:9",
            "WORKER_USER": "root",
            "KEEPALIVE_MIN_TIMEOUT": "1s",
            "SHUTDOWN_TIMEOUT": "5s",
        }
        self.environment = clean_environment(**{f"NGINX_{k}": v for k, v in (defaults | environment).items()})
        (folder / "static").mkdir(parents=True, exist_ok=True)
        self.access_log, self.error_log = folder / "access.log", folder / "error.log"
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def start(self) -> Proxy:
        with self.access_log.open("ab") as out, self.error_log.open("ab") as errors:
            self.process = subprocess.Popen(
                [*LAUNCH, "run"], cwd=ROOT, env=self.environment, stdout=out, stderr=errors, start_new_session=True
            )
        wait_for(self._up, "Nginx answers")
        return self

    def _up(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.error_log.read_text()
        try:
            return self.status("/healthz").status_code == 200
        except httpx.TransportError:
            return False

    def status(self, path: str) -> httpx.Response:
        return httpx.get(f"http://127.0.0.1:{self.status_port}{path}", timeout=DEADLINE)

    def get(self, path: str = "/", **kwargs: Any) -> httpx.Response:
        return self.request("GET", path, **kwargs)

    def request(self, method: str, path: str = "/", **kwargs: Any) -> httpx.Response:
        return httpx.request(method, self.url + path, timeout=DEADLINE, **kwargs)

    def raw(self, data: bytes) -> bytes:
        """Send bytes; return everything that comes back until Nginx closes."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=DEADLINE) as connection:
            received = b""
            with suppress(ConnectionError):
                connection.sendall(data)
                while chunk := connection.recv(65536):
                    received += chunk
            return received

    def command(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a command of the proxy beside the running Nginx."""
        return subprocess.run(
            [*LAUNCH, *arguments],
            cwd=ROOT,
            env=self.environment | {f"NGINX_{k}": v for k, v in environment.items()},
            capture_output=True,
            text=True,
            timeout=DEADLINE,
            check=False,
        )

    def log(self, request_id: str) -> dict[str, Any]:
        """Return the access log's entry of one request."""

        def found() -> dict[str, Any] | None:
            for line in self.access_log.read_text().split("\n")[:-1]:
                entry: dict[str, Any] = json.loads(line)
                if entry["http.request.id"] == request_id:
                    return entry
            return None

        entry = wait_for(found, f"{request_id} in the access log")
        assert entry is not None
        return entry

    def close(self) -> None:
        if self.process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(DEADLINE)


def unverified(*protocols: str) -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if protocols:
        context.set_alpn_protocols(list(protocols))
    return context


def handshake(proxy: Proxy, name: str | None = "localhost", context: ssl.SSLContext | None = None) -> ssl.SSLSocket:
    connection = socket.create_connection(("127.0.0.1", proxy.tls_port), timeout=DEADLINE)
    return (context or unverified()).wrap_socket(connection, server_hostname=name)


def certificate_of(proxy: Proxy, name: str = "localhost") -> str:
    """Return the fingerprint of the certificate that a client of ``name`` is shown."""
    with handshake(proxy, name) as connection:
        return hashlib.sha256(connection.getpeercert(binary_form=True) or b"").hexdigest()


class Record:
    """What the application got."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def requests(self) -> list[list[str]]:
        """Return ``[method, path, name of the replica]`` of each request."""
        file = self.folder / "requests"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    def count(self, path: str) -> int:
        return sum(each[1] == path for each in self.requests())

    def open(self, gate: str) -> None:
        """Let a request at ``/hold`` or ``/sse`` go on."""
        (self.folder / gate).touch()

    def wait_held(self, gate: str) -> None:
        wait_for((self.folder / f"{gate}.held").exists, f"a request waits at {gate}")


class SecureConnection(http.client.HTTPSConnection):
    """HTTPS to the proxy as ``host``, whatever DNS says, without a look at the certificate."""

    def __init__(self, proxy: Proxy, host: str) -> None:
        super().__init__(host, proxy.tls_port, timeout=DEADLINE)
        self._proxy = proxy

    def connect(self) -> None:
        self.sock = handshake(self._proxy, self.host)


class Clients:
    """Clients on kept-alive connections that ask without a pause, over TLS if ``host`` is given; they note failures."""

    def __init__(self, proxy: Proxy, count: int = 4, host: str | None = None) -> None:
        self.proxy, self.host, self.stop = proxy, host, threading.Event()
        self.answers, self.failures = 0, list[Any]()
        self.threads = [threading.Thread(target=self._ask, args=(n % 2,), daemon=True) for n in range(count)]

    def _connection(self) -> http.client.HTTPConnection:
        if self.host is None:
            return http.client.HTTPConnection("127.0.0.1", self.proxy.port, timeout=DEADLINE)
        return SecureConnection(self.proxy, self.host)

    def _ask(self, post: int) -> None:
        connection = self._connection()
        while not self.stop.is_set():
            try:
                connection.request("POST" if post else "GET", "/load", body=b"x" if post else None)
                response = connection.getresponse()
                response.read()
                if response.status != 200:
                    self.failures.append(response.status)
            except (http.client.HTTPException, OSError) as error:
                self.failures.append(repr(error))
                connection.close()
            self.answers += 1

    def wait_for(self, more: int) -> None:
        wanted = self.answers + more
        wait_for(lambda: self.answers >= wanted, f"{more} more answers")

    def __enter__(self) -> Clients:
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        for thread in self.threads:
            thread.join(DEADLINE)


@contextmanager
def background(target: Any, *arguments: Any) -> Iterator[list[Any]]:
    """Call ``target`` in a thread; the list holds its result after the block."""
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(target(*arguments)), daemon=True)
    thread.start()
    yield results
    thread.join(DEADLINE)
    assert results, "the request in the background did not end"
