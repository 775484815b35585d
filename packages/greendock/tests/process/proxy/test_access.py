"""Who may see the site, by which name, and what a load balancer sees of it."""

from __future__ import annotations

import http.client
import http.server
import json
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from greendock.proxy.certificate import ensure_self_signed
from tests.process.proxy.support import Proxy, Record
from tests.support import DEADLINE


def unverified() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


@pytest.fixture(scope="module")
def balanced(launch_module: Callable[..., Proxy]) -> Proxy:
    return launch_module(
        HEALTH_PATH="/lb-health",
        SERVER_NAMES="example.com",
        TLS="self-signed",
        TLS_REDIRECT="off",
        RATE_LIMIT="1r/m",
    )


class TestHealthPath:
    @pytest.mark.parametrize("host", ["example.com", "10.1.2.3", "whoever.example"])
    def test_it_is_answered_for_any_host_without_limit_and_log(self, balanced: Proxy, host: str) -> None:
        for url, context in ((balanced.url, True), (f"https://127.0.0.1:{balanced.tls_port}", unverified())):
            response = httpx.get(f"{url}/lb-health", headers={"Host": host}, verify=context)
            assert (response.status_code, response.text) == (200, "ok\n")
        assert "lb-health" not in balanced.access_log.read_text()

    def test_every_other_path_of_an_unknown_host_is_cut_off(self, balanced: Proxy) -> None:
        with pytest.raises(httpx.TransportError):
            balanced.get("/lb-healthy", headers={"Host": "whoever.example"})

    def test_it_is_answered_in_maintenance_and_while_http_is_redirected(self, launch: Callable[..., Proxy]) -> None:
        proxy = launch(HEALTH_PATH="/lb-health", TLS="self-signed")
        proxy.command("maintenance", "on")
        assert proxy.get("/lb-health").text == "ok\n"
        url = f"https://127.0.0.1:{proxy.tls_port}"
        assert httpx.get(f"{url}/lb-health", verify=unverified()).text == "ok\n"
        assert httpx.get(url, verify=unverified()).status_code == 503

    def test_it_can_include_whether_a_replica_serves(self, launch: Callable[..., Proxy]) -> None:
        with answering() as server:
            proxy = launch(
                HEALTH_PATH="/lb", HEALTH_UPSTREAM="on", UPSTREAM=f"127.0.0.1:{server.server_port}", RATE_LIMIT="1r/m"
            )
            for status in (200, 301, 400, 404):
                Answer.status = status
                response = proxy.get("/lb", headers={"Host": "whoever.example"})
                assert (response.status_code, response.text) == (200, "ok\n"), (
                    "and nothing of what the application said"
                )
            Answer.status = 500
            assert proxy.get("/lb").status_code == 503
        for host in ("localhost", "whoever.example"):
            assert proxy.get("/lb", headers={"Host": host}).status_code == 503, "nobody listens"


class Answer(http.server.BaseHTTPRequestHandler):
    """Answers every GET with ``status``."""

    status = 200

    def do_GET(self) -> None:
        self.send_response(self.status)
        self.send_header("Content-Length", "6")
        self.end_headers()
        self.wfile.write(b"secret")

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def answering() -> Iterator[http.server.HTTPServer]:
    with http.server.HTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join(DEADLINE)


class TestCanonicalHost:
    def test_every_other_name_is_redirected_to_it(self, launch: Callable[..., Proxy], record: Record) -> None:
        proxy = launch(SERVER_NAMES="example.com,www.example.com", CANONICAL_HOST="example.com", HEALTH_PATH="/lb")
        response = proxy.request("POST", "/a%20b?c=d", headers={"Host": "www.example.com"})
        assert (response.status_code, response.headers["Location"]) == (308, "http://example.com/a%20b?c=d")
        with_port = proxy.get("/", headers={"Host": f"www.example.com:{proxy.port}"})
        assert with_port.headers["Location"] == f"http://example.com:{proxy.port}/"
        assert proxy.get("/", headers={"Host": "example.com"}).status_code == 200
        assert proxy.get("/lb", headers={"Host": "www.example.com"}).status_code == 200
        assert record.count("/a b") == 0

    def test_one_redirect_leads_from_plain_http_under_another_name_to_it(self, launch: Callable[..., Proxy]) -> None:
        proxy = launch(SERVER_NAMES="example.com,www.example.com", CANONICAL_HOST="www.example.com", TLS="self-signed")
        response = proxy.get("/x", headers={"Host": "example.com"})
        assert response.headers["Location"] == f"https://www.example.com:{proxy.tls_port}/x"
        context = unverified()
        with context.wrap_socket(
            socket.create_connection(("127.0.0.1", proxy.tls_port), timeout=DEADLINE), server_hostname="example.com"
        ) as connection:
            connection.sendall(b"GET /x HTTP/1.1\r\nHost: example.com\r\nConnection: close\r\n\r\n")
            answer = http.client.HTTPResponse(connection)
            answer.begin()
        assert (answer.status, answer.headers["Location"]) == (308, "https://www.example.com/x")

    def test_acme_challenges_are_answered_under_every_name(self, launch: Callable[..., Proxy], tmp_path: Path) -> None:
        challenge = tmp_path / ".well-known" / "acme-challenge" / "token"
        challenge.parent.mkdir(parents=True)
        challenge.write_text("token.thumbprint")
        proxy = launch(
            SERVER_NAMES="example.com,www.example.com", CANONICAL_HOST="example.com", ACME_WEBROOT=str(tmp_path)
        )
        answer = proxy.get("/.well-known/acme-challenge/token", headers={"Host": "www.example.com"})
        assert answer.text == "token.thumbprint"


def test_only_the_allowed_networks_see_the_site(launch: Callable[..., Proxy], record: Record) -> None:
    proxy = launch(ALLOW="203.0.113.0/24", TRUSTED_PROXIES="127.0.0.0/8", HEALTH_PATH="/lb")
    assert proxy.get("/let-in", headers={"X-Forwarded-For": "203.0.113.7"}).status_code == 200
    assert proxy.get("/kept-out", headers={"X-Forwarded-For": "198.51.100.7"}).status_code == 403
    assert proxy.get("/static/kept-out.css").status_code == 403
    assert proxy.get("/lb").status_code == 200
    before = len(record.requests())
    for path in (
        "/__errors/x",
        "/__errors/error.html",
        "/.well-known/acme-challenge/x",
        "/lb/x",
        "/lb/../let-in",
        "/lb%2F",
    ):
        assert proxy.get(path).status_code in (403, 404), path
    assert len(record.requests()) == before, "no exception leads to the application"
    assert (record.count("/let-in"), record.count("/kept-out")) == (1, 0)


def test_a_password_opens_the_site_and_stays_with_nginx(launch: Callable[..., Proxy], tmp_path: Path) -> None:
    # openssl passwd -apr1 -salt test swordfish
    hashed = subprocess.run(
        ["openssl", "passwd", "-apr1", "-salt", "test", "swordfish"], check=True, capture_output=True, text=True
    )
    passwords = tmp_path / "htpasswd"
    passwords.write_text(f"# staging\nada:{hashed.stdout}")
    proxy = launch(BASIC_AUTH_FILE=str(passwords), HEALTH_PATH="/lb")
    refused = proxy.get("/")
    assert (refused.status_code, refused.headers["WWW-Authenticate"]) == (401, 'Basic realm="Restricted"')
    assert proxy.get("/", auth=("ada", "guess")).status_code == 401
    let_in = proxy.get("/", auth=("ada", "swordfish"))
    assert let_in.status_code == 200
    assert "Authorization" not in let_in.json()["headers"]
    assert proxy.get("/lb").status_code == 200


@pytest.mark.parametrize("content", [None, "", "just-a-name\n"])
def test_a_file_without_passwords_is_refused_at_start(
    launch: Callable[..., Proxy], tmp_path: Path, content: str | None
) -> None:
    passwords = tmp_path / "htpasswd"
    if content is not None:
        passwords.write_text(content)
    done = launch(wait=False).command("run", BASIC_AUTH_FILE=str(passwords))
    assert done.returncode == 1
    assert str(passwords) in done.stderr


@pytest.fixture(scope="module")
def pair(folder: Path) -> tuple[Path, Path]:
    """A client's certificate, which is its own CA."""
    certificate, key = folder / "client" / "client.crt", folder / "client" / "client.key"
    ensure_self_signed(certificate, key)
    return certificate, key


@pytest.fixture(scope="module")
def mutual(launch_module: Callable[..., Proxy], pair: tuple[Path, Path]) -> Proxy:
    return launch_module(TLS="self-signed", TLS_REDIRECT="off", TLS_CLIENT_CA=str(pair[0]), HEALTH_PATH="/lb")


class TestClientCertificates:
    def test_the_application_learns_who_it_is(self, mutual: Proxy, pair: tuple[Path, Path]) -> None:
        context = unverified()
        context.load_cert_chain(*pair)
        forged = {"X-SSL-Client-Subject": "CN=root"}
        response = httpx.get(f"https://localhost:{mutual.tls_port}/", verify=context, headers=forged)
        assert response.status_code == 200
        assert json.loads(response.text)["headers"]["X-Ssl-Client-Subject"] == "CN=localhost"

    def test_without_one_nothing_is_shown(self, mutual: Proxy) -> None:
        assert httpx.get(f"https://localhost:{mutual.tls_port}/", verify=unverified()).status_code == 403
        assert mutual.get("/").status_code == 403, "nor over plain HTTP"
        assert httpx.get(f"https://localhost:{mutual.tls_port}/lb", verify=unverified()).status_code == 200

    def test_one_that_is_signed_by_another_is_refused(self, mutual: Proxy, tmp_path: Path) -> None:
        ensure_self_signed(tmp_path / "other.crt", tmp_path / "other.key")
        context = unverified()
        context.load_cert_chain(tmp_path / "other.crt", tmp_path / "other.key")
        assert httpx.get(f"https://localhost:{mutual.tls_port}/", verify=context).status_code == 400

    def test_a_subject_that_a_client_claims_is_cleared(self, proxy: Proxy) -> None:
        assert (
            "X-Ssl-Client-Subject" not in proxy.get("/", headers={"X-SSL-Client-Subject": "CN=root"}).json()["headers"]
        )


def test_the_proxy_protocol_names_the_client(launch: Callable[..., Proxy]) -> None:
    proxy = launch(PROXY_PROTOCOL="on", TRUSTED_PROXIES="127.0.0.0/8")
    request = b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: 6.6.6.6\r\nConnection: close\r\n\r\n"
    answer = proxy.raw(b"PROXY TCP4 203.0.113.9 127.0.0.1 40000 80\r\n" + request)
    assert b'"X-Forwarded-For": "203.0.113.9"' in answer
    assert proxy.raw(request) == b"", "a connection without it is closed"
    stranger = launch(PROXY_PROTOCOL="on", TRUSTED_PROXIES="10.0.0.0/8")
    answer = stranger.raw(b"PROXY TCP4 203.0.113.9 127.0.0.1 40000 80\r\n" + request)
    assert b'"X-Forwarded-For": "127.0.0.1"' in answer, "believed only of a trusted proxy"


def test_the_named_networks_are_listed_with_their_age(proxy: Proxy) -> None:
    listed = proxy.command("networks").stdout
    assert "days ago" in listed
    assert "cloudflare: 22 networks; the newest are at https://www.cloudflare.com/ips/" in listed
    assert "  173.245.48.0/20\n" in listed


def test_a_client_stays_with_its_replica_where_that_is_asked_for(
    launch: Callable[..., Proxy], replicas: Callable[..., tuple[Record, list[object]]]
) -> None:
    _, servers = replicas("one", "two")
    upstream = ",".join(f"127.0.0.1:{server.port}" for server in servers)  # type: ignore[attr-defined]
    proxy = launch(UPSTREAM=upstream, STICKY="cookie")
    with httpx.Client(base_url=proxy.url) as client:
        seen = {client.get("/").json()["name"] for _ in range(10)}
        assert len(seen) == 1
    cookie = proxy.get("/").headers["Set-Cookie"]
    assert "httponly" in cookie.lower()
    assert "127.0.0.1" not in cookie


def test_kept_alive_connections_can_be_off(launch: Callable[..., Proxy]) -> None:
    assert launch(KEEPALIVE_TIMEOUT="0").get("/").headers["Connection"] == "close"


def test_bodies_can_be_of_any_size(launch: Callable[..., Proxy]) -> None:
    body = b"x" * (11 * 2**20)
    assert launch(CLIENT_MAX_BODY_SIZE="0").request("POST", "/swallow", content=body).text == str(len(body))
