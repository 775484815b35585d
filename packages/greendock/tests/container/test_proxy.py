"""The proxy's image, run as hardened as it may be."""

from __future__ import annotations

import json
import subprocess
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import httpx
import pytest

from tests.support import DEADLINE, ROOT, wait_for

HARDENED = ["--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges", "--memory=128m"]
TMPFS = "--tmpfs=/run/nginx:mode=1777,size=16m,noexec,nosuid,nodev"
BACKEND = """
from http.server import *
class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        body = self.path.encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def do_POST(self):
        left = int(self.headers["Content-Length"])
        while left:
            left -= len(self.rfile.read(min(left, 65536)))
        self.do_GET()
ThreadingHTTPServer(("", 8000), Handler).serve_forever()
"""


def docker(*arguments: str, check: bool = True) -> str:
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0 or not check, done.stderr
    return (done.stdout + done.stderr).strip()


@pytest.fixture(scope="module")
def image(proxy_image: str) -> str:
    return proxy_image


@pytest.fixture(scope="module")
def network() -> Iterator[str]:
    name = f"greendock-proxy-{uuid.uuid4().hex[:8]}"
    docker("network", "create", name)
    yield name
    docker("network", "rm", name)


@pytest.fixture(scope="module")
def backend(network: str) -> Iterator[str]:
    """An application under the name the proxy looks for."""
    name = docker(
        "run",
        "--detach",
        "--rm",
        "--network",
        network,
        "--network-alias",
        "app",
        "python:3.14-slim",
        "python",
        "-c",
        BACKEND,
    )
    yield name
    docker("rm", "--force", name)


@pytest.fixture
def start(image: str, network: str) -> Iterator[Callable[..., tuple[str, str]]]:
    """Run the image; return the container and the URL of its port."""
    with ExitStack() as stack:

        def run(*options: str) -> tuple[str, str]:
            container = docker("run", "--detach", "--network", network, "--publish=127.0.0.1::8080", *options, image)
            stack.callback(docker, "rm", "--force", "--volumes", container)
            wait_for(lambda: health(container) == "healthy", f"healthy: {docker('logs', container)}")
            return container, "http://" + docker("port", container, "8080/tcp").splitlines()[0]

        yield run


def health(container: str) -> str:
    return docker("inspect", "--format", "{{.State.Health.Status}}", container)


def test_it_serves_as_any_account_on_a_read_only_root(start: Callable[..., tuple[str, str]], backend: str) -> None:
    container, url = start(*HARDENED, TMPFS, "--user=40123:40123")
    assert httpx.get(f"{url}/hello", timeout=DEADLINE).text == "/hello"
    # More than the tmpfs holds: large bodies go to the volume.
    assert httpx.post(f"{url}/upload", content=b"x" * (9 * 2**20), timeout=DEADLINE).text == "/upload"
    status = docker("exec", container, "cat", "/proc/1/status")
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert fields["Uid"].split() == ["40123"] * 4
    assert int(fields["CapEff"], 16) == 0
    assert docker("exec", container, "cat", "/proc/1/comm") == "nginx"


def test_it_is_not_root_and_logs_json_without_its_health_checks(
    start: Callable[..., tuple[str, str]], backend: str
) -> None:
    container, url = start(TMPFS)
    assert docker("exec", container, "id", "-u") == "101"
    response = httpx.get(f"{url}/logged", timeout=DEADLINE)
    wait_for(lambda: "/logged" in docker("logs", container), "the request is logged")
    lines = [line for line in docker("logs", container).splitlines() if line.startswith("{")]
    assert [json.loads(line)["url.original"] for line in lines] == ["/logged"]
    assert json.loads(lines[0])["http.request.id"] == response.headers["X-Request-ID"]


def test_static_files_are_in_the_image_and_compressed(start: Callable[..., tuple[str, str]]) -> None:
    _, url = start(*HARDENED, TMPFS)
    response = httpx.get(f"{url}/static/style.css", headers={"Accept-Encoding": "gzip"}, timeout=DEADLINE)
    assert response.content == (ROOT / "app" / "static" / "style.css").read_bytes()


def test_the_workers_follow_the_cpu_quota(start: Callable[..., tuple[str, str]]) -> None:
    container, _ = start(*HARDENED, TMPFS, "--cpus=1")
    assert "worker_processes 1;" in docker("exec", container, "greendock", "config")


def test_a_wrong_variable_stops_the_start_and_is_named(image: str) -> None:
    done = docker("run", "--rm", *HARDENED, TMPFS, "--env=NGINX_SERVER_NAME=example.com", image, check=False)
    assert "NGINX_SERVER_NAME='example.com' (from process environment): " in done
    assert "did you mean NGINX_SERVER_NAMES?" in done


def test_the_configuration_can_be_printed_without_starting(image: str) -> None:
    printed = docker("run", "--rm", "--read-only", "--env=NGINX_GZIP_LEVEL=9", image, "greendock", "config")
    assert "gzip_comp_level 9;" in printed


def test_a_missing_tmpfs_is_named(image: str) -> None:
    done = docker("run", "--rm", *HARDENED, image, check=False)
    assert "/run/nginx cannot be written" in done


def test_stop_lets_nginx_end_by_itself(start: Callable[..., tuple[str, str]]) -> None:
    container, _ = start(*HARDENED, TMPFS)
    docker("stop", "--time=30", container)
    assert docker("inspect", "--format", "{{.State.ExitCode}} {{.State.OOMKilled}}", container) == "0 false"
