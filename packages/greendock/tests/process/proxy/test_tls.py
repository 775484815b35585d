"""TLS, judged by sslyze against Mozilla's profile, and by what clients see."""

from __future__ import annotations

import http.client
import json
import re
import shutil
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from greendock.proxy.certificate import ensure_self_signed
from tests.process.proxy.support import Proxy, Record, certificate_of, handshake, unverified
from tests.support import DEADLINE, wait_for

HSTS = "max-age=63072000"


def ask(proxy: Proxy, path: str = "/", host: str = "localhost") -> http.client.HTTPResponse:
    connection = http.client.HTTPSConnection("localhost", proxy.tls_port, timeout=DEADLINE, context=unverified())
    connection.request("GET", path, headers={"Host": host})
    return connection.getresponse()


@pytest.fixture(scope="module")
def pair(folder: Path) -> dict[str, str]:
    """A certificate and its key, as variables."""
    certificate, key = folder / "tls" / "tls.crt", folder / "tls" / "tls.key"
    ensure_self_signed(certificate, key)
    return {"TLS_CERTIFICATE": str(certificate), "TLS_CERTIFICATE_KEY": str(key)}


@pytest.fixture(scope="module")
def secure(launch_module: Callable[..., Proxy], pair: dict[str, str]) -> Proxy:
    """Nginx with a certificate and key of its own, HTTP redirected."""
    return launch_module(TLS="on", **pair)


@pytest.mark.parametrize("profile", ["intermediate", "modern"])
def test_sslyze_finds_mozilla_s_profile(
    launch: Callable[..., Proxy], pair: dict[str, str], tmp_path: Path, profile: str
) -> None:
    proxy = launch(TLS="on", TLS_PROFILE=profile, **pair)
    report = tmp_path / "report.json"
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "sslyze",
            "--mozilla_config",
            profile,
            "--json_out",
            str(report),
            "--sni",
            "localhost",
            f"127.0.0.1:{proxy.tls_port}",
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    verdict = done.stdout.partition(f'Mozilla\'s "{profile}" configuration')[2]
    # The tests' certificate is self-signed; everything else is as Mozilla asks.
    assert re.findall(r"^\s+\* (\w+):", verdict, re.MULTILINE) == ["certificate_path_validation"], done.stdout[-3000:]
    results = json.loads(report.read_text())["server_scan_results"][0]["scan_result"]
    for attack in ("heartbleed", "openssl_ccs_injection", "robot", "session_renegotiation", "tls_compression"):
        assert results[attack]["status"] == "COMPLETED", attack
    assert results["session_renegotiation"]["result"]["supports_secure_renegotiation"]
    assert not results["session_renegotiation"]["result"]["is_vulnerable_to_client_renegotiation_dos"]
    assert not results["tls_compression"]["result"]["supports_compression"]


def test_a_session_is_resumed_by_any_worker_and_after_a_reload(launch: Callable[..., Proxy]) -> None:
    """Nginx makes the tickets' keys and changes them by itself, in memory that all workers share."""
    proxy = launch(TLS="self-signed", WORKER_PROCESSES="4")
    context = unverified()
    context.maximum_version = ssl.TLSVersion.TLSv1_2

    def resumed(session: ssl.SSLSession | None) -> tuple[bool, ssl.SSLSession | None]:
        plain = socket.create_connection(("127.0.0.1", proxy.tls_port), timeout=DEADLINE)
        with context.wrap_socket(plain, server_hostname="localhost", session=session) as connection:
            return bool(connection.session_reused), connection.session

    reused, session = resumed(None)
    assert not reused
    assert all(resumed(session)[0] for _ in range(12))
    assert proxy.command("reload").returncode == 0
    assert resumed(session)[0]


def test_http_2_is_offered(secure: Proxy) -> None:
    with handshake(secure, context=unverified("h2", "http/1.1")) as connection:
        assert connection.selected_alpn_protocol() == "h2"


@pytest.mark.skipif(shutil.which("nghttp") is None, reason="nghttp is not installed")
def test_a_request_over_http_2_reaches_the_application(secure: Proxy) -> None:
    url = f"https://localhost:{secure.tls_port}/over-h2"
    done = subprocess.run(["nghttp", "-n", "-s", url], capture_output=True, text=True, timeout=DEADLINE, check=False)
    assert " 200 " in done.stdout


def test_http_2_can_be_off(launch: Callable[..., Proxy]) -> None:
    proxy = launch(TLS="self-signed", HTTP2="off")
    with handshake(proxy, context=unverified("h2", "http/1.1")) as connection:
        assert connection.selected_alpn_protocol() == "http/1.1"


def test_the_modern_profile_refuses_tls_1_2(launch: Callable[..., Proxy]) -> None:
    proxy = launch(TLS="self-signed", TLS_PROFILE="modern")
    with handshake(proxy) as connection:
        assert connection.version() == "TLSv1.3"
    context = unverified()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(ssl.SSLError):
        handshake(proxy, context=context)


def test_the_application_knows_that_the_client_used_https(secure: Proxy) -> None:
    response = ask(secure, "/scheme")
    seen = json.loads(response.read())
    assert seen["scheme"] == "https"
    assert seen["headers"]["X-Forwarded-Proto"] == "https"
    assert response.headers["Strict-Transport-Security"] == HSTS


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_plain_http_is_sent_to_https(secure: Proxy, method: str) -> None:
    response = secure.request(method, "/a%20b?c=d", headers={"Host": "localhost"})
    assert response.status_code == 308
    assert response.headers["Location"] == f"https://localhost:{secure.tls_port}/a%20b?c=d"
    assert "Strict-Transport-Security" not in response.headers


def test_plain_http_to_the_tls_port_is_sent_to_https(secure: Proxy) -> None:
    connection = http.client.HTTPConnection("localhost", secure.tls_port, timeout=DEADLINE)
    connection.request("GET", "/x")
    response = connection.getresponse()
    assert (response.status, response.headers["Location"]) == (308, f"https://localhost:{secure.tls_port}/x")


def test_an_unknown_name_is_not_even_shown_the_certificate(secure: Proxy) -> None:
    with pytest.raises(ssl.SSLError, match="UNRECOGNIZED_NAME"):
        handshake(secure, "evil.example")


@pytest.mark.parametrize("tls", ["on", "self-signed"])
@pytest.mark.parametrize("names", ["local", "127.0.0.1,example.com", "any"])
def test_https_by_address_works_where_an_address_is_a_name(
    launch: Callable[..., Proxy], pair: dict[str, str], tls: str, names: str
) -> None:
    """A client that asks by address names no server in its handshake (RFC 6066, section 3)."""
    proxy = launch(TLS=tls, SERVER_NAMES=names, **pair)
    location = proxy.get("/x").headers["Location"]
    assert location == f"https://127.0.0.1:{proxy.tls_port}/x"
    assert httpx.get(location, verify=unverified()).status_code == 200
    with handshake(proxy, None, unverified("h2", "http/1.1")) as connection:
        assert connection.selected_alpn_protocol() == "h2"


def test_a_client_that_names_no_server_is_refused_where_no_address_is_a_name(
    launch: Callable[..., Proxy], pair: dict[str, str]
) -> None:
    proxy = launch(TLS="on", SERVER_NAMES="example.com", **pair)
    for name in ("evil.example", None):
        with pytest.raises(ssl.SSLError, match="UNRECOGNIZED_NAME"):
            handshake(proxy, name)
    handshake(proxy, "example.com").close()


def test_an_unknown_host_inside_tls_is_cut_off(secure: Proxy, record: Record) -> None:
    with pytest.raises((http.client.RemoteDisconnected, ConnectionResetError)):
        ask(secure, "/unknown-in-tls", host="evil.example")
    assert record.count("/unknown-in-tls") == 0


def test_an_old_protocol_is_refused(secure: Proxy) -> None:
    context = unverified()
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.raises(ssl.SSLError):
        handshake(secure, context=context)


def test_a_new_certificate_is_taken_without_cutting_a_connection(
    launch: Callable[..., Proxy], record: Record, tmp_path: Path
) -> None:
    certificate, key = tmp_path / "tls.crt", tmp_path / "tls.key"
    ensure_self_signed(certificate, key)
    proxy = launch(TLS="on", TLS_CERTIFICATE=str(certificate), TLS_CERTIFICATE_KEY=str(key))
    old = certificate_of(proxy)
    connection = http.client.HTTPSConnection("localhost", proxy.tls_port, timeout=DEADLINE, context=unverified())
    connection.request("GET", "/hold?gate=certificate")
    record.wait_held("certificate")
    certificate.unlink()
    ensure_self_signed(certificate, key)
    assert proxy.command("reload").returncode == 0
    assert certificate_of(proxy) != old
    record.open("certificate")
    assert connection.getresponse().status == 200, "begun with the old certificate, ended after the reload"


def test_a_key_of_another_certificate_is_refused_and_the_old_pair_stays(
    launch: Callable[..., Proxy], tmp_path: Path
) -> None:
    certificate, key = tmp_path / "tls.crt", tmp_path / "tls.key"
    ensure_self_signed(certificate, key)
    proxy = launch(TLS="on", TLS_CERTIFICATE=str(certificate), TLS_CERTIFICATE_KEY=str(key))
    old = certificate_of(proxy)
    ensure_self_signed(tmp_path / "other.crt", tmp_path / "other.key")
    (tmp_path / "other.key").replace(key)
    done = proxy.command("reload")
    assert done.returncode == 1
    assert "key values mismatch" in done.stderr
    assert "PRIVATE KEY" not in done.stderr
    assert certificate_of(proxy) == old


def test_the_development_mode_makes_its_own_certificate_and_promises_nothing(launch: Callable[..., Proxy]) -> None:
    proxy = launch(TLS="self-signed")
    key = proxy.folder / "run" / "tls" / "self-signed.key"
    assert key.stat().st_mode & 0o077 == 0
    assert "Strict-Transport-Security" not in ask(proxy).headers
    with handshake(proxy, None) as connection:
        assert connection.version() == "TLSv1.3"
    trusting = ssl.create_default_context(cafile=str(key.with_suffix(".crt")))
    handshake(proxy, "localhost", trusting).close()
    before = certificate_of(proxy)
    assert proxy.command("reload").returncode == 0
    assert certificate_of(proxy) == before, "kept while the container lives"


def test_both_schemes_are_served_without_the_redirect(launch: Callable[..., Proxy]) -> None:
    proxy = launch(TLS="self-signed", TLS_REDIRECT="off")
    assert proxy.get("/").json()["scheme"] == "http"
    assert json.loads(ask(proxy).read())["scheme"] == "https"


def test_hsts_is_as_the_variables_say(launch: Callable[..., Proxy]) -> None:
    """Over plain HTTP behind a trusted proxy that ends TLS."""
    proxy = launch(
        TRUSTED_PROXIES="127.0.0.0/8", HSTS_MAX_AGE="31536000", HSTS_INCLUDE_SUBDOMAINS="on", HSTS_PRELOAD="on"
    )
    behind = proxy.get("/", headers={"X-Forwarded-Proto": "https"})
    assert behind.headers["Strict-Transport-Security"] == "max-age=31536000; includeSubDomains; preload"
    assert "Strict-Transport-Security" not in proxy.get("/").headers


def test_acme_challenges_are_answered_over_plain_http_even_in_maintenance(
    launch: Callable[..., Proxy], tmp_path: Path
) -> None:
    challenge = tmp_path / ".well-known" / "acme-challenge" / "token"
    challenge.parent.mkdir(parents=True)
    challenge.write_text("token.thumbprint")
    for environment in ({"TLS": "self-signed"}, {"TLS": "off"}):
        proxy = launch(ACME_WEBROOT=str(tmp_path), **environment)
        proxy.command("maintenance", "on")
        response = proxy.get("/.well-known/acme-challenge/token", headers={"Host": "localhost"})
        assert (response.status_code, response.text) == (200, "token.thumbprint")


def test_the_first_start_before_a_certificate_is_there_waits_for_it(
    launch: Callable[..., Proxy], record: Record, tmp_path: Path
) -> None:
    """As with an ACME client: it needs a running Nginx to get the first certificate, and renews it later."""
    challenge = tmp_path / ".well-known" / "acme-challenge" / "token"
    challenge.parent.mkdir(parents=True)
    challenge.write_text("token.thumbprint")
    files = {"TLS_CERTIFICATE": str(tmp_path / "tls.crt"), "TLS_CERTIFICATE_KEY": str(tmp_path / "tls.key")}
    proxy = launch(TLS="on", ACME_WEBROOT=str(tmp_path), **files)
    assert proxy.get("/.well-known/acme-challenge/token").text == "token.thumbprint"
    stand_in = certificate_of(proxy)
    assert "Strict-Transport-Security" not in ask(proxy).headers
    connection = http.client.HTTPSConnection("localhost", proxy.tls_port, timeout=DEADLINE, context=unverified())
    connection.request("GET", "/hold?gate=first-certificate")
    record.wait_held("first-certificate")
    ensure_self_signed(tmp_path / "new.crt", tmp_path / "new.key")
    (tmp_path / "new.key").rename(tmp_path / "tls.key")
    (tmp_path / "new.crt").rename(tmp_path / "tls.crt")
    wait_for(lambda: certificate_of(proxy) != stand_in, "the new certificate is in use")
    assert ask(proxy).headers["Strict-Transport-Security"] == HSTS
    record.open("first-certificate")
    assert connection.getresponse().status == 200, "begun before, ended after"


def test_http_3_is_announced_where_it_is_switched_on(launch: Callable[..., Proxy]) -> None:
    proxy = launch(TLS="self-signed", HTTP3="on")
    assert ask(proxy).headers["Alt-Svc"] == f'h3=":{proxy.tls_port}"; ma=86400'
    udp = {line.split()[1].rpartition(":")[2] for line in Path("/proc/net/udp").read_text().splitlines()[1:]}
    assert f"{proxy.tls_port:04X}" in udp
