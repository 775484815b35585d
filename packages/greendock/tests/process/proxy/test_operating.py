"""Start, reload, maintenance, rollout, health and metrics: what an operator does with a running Nginx."""

from __future__ import annotations

import collections
import os
import re
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.process.proxy.support import Clients, Proxy, Record, background
from tests.support import DEADLINE, ROOT, Server, children, free_port, wait_for


def test_a_wrong_configuration_is_reported_whole_and_nothing_starts(launch: Callable[..., Proxy]) -> None:
    proxy = launch(wait=False)
    done = proxy.command("run", HTTP_PORT="none", SERVER_NAMES="a b;", TLSS="on")
    assert done.returncode == 2
    assert "3 configuration problems, nothing was started" in done.stderr
    assert "did you mean NGINX_TLS?" in done.stderr
    assert not (proxy.folder / "run").exists()


def test_a_folder_that_cannot_be_written_is_named(launch: Callable[..., Proxy]) -> None:
    done = launch(wait=False).command("run", RUN_DIR="/proc/nginx")
    assert done.returncode == 1
    assert "/proc/nginx cannot be written" in done.stderr


def test_what_nginx_refuses_is_not_started(launch: Callable[..., Proxy]) -> None:
    proxy = launch(wait=False)
    done = proxy.command("run", TLS="on", TLS_CERTIFICATE="/nowhere.crt")
    assert done.returncode == 1
    assert "/nowhere.crt" in done.stderr
    assert not (proxy.folder / "run" / "nginx.conf").exists()


def test_config_prints_what_runs(proxy: Proxy) -> None:
    done = proxy.command("config")
    assert done.stdout == (proxy.folder / "run" / "nginx.conf").read_text()
    assert f"listen {proxy.port}" in done.stdout


def test_check_accepts_what_runs(proxy: Proxy) -> None:
    done = proxy.command("check")
    assert (done.returncode, done.stdout) == (0, "greendock: the configuration is good\n"), done.stderr


def test_render_writes_the_configuration_into_a_folder(proxy: Proxy, tmp_path: Path) -> None:
    assert proxy.command("render", "--output", str(tmp_path / "new")).returncode == 0
    assert (tmp_path / "new" / "nginx.conf").read_text() == proxy.command("config").stdout


def test_health_asks_the_internal_port(proxy: Proxy) -> None:
    assert proxy.command("health").stdout == "ok\n"
    done = proxy.command("health", STATUS_PORT=str(free_port()))
    assert done.returncode == 1
    assert "unhealthy" in done.stderr


def test_metrics_are_in_prometheus_s_format(proxy: Proxy) -> None:
    proxy.get("/")
    response = proxy.status("/metrics")
    assert response.headers["Content-Type"] == "text/plain; version=0.0.4"
    samples = dict(line.split() for line in response.text.splitlines() if line and not line.startswith("#"))
    types = [line.split()[2:] for line in response.text.splitlines() if line.startswith("# TYPE")]
    assert {name for name, _ in types} == set(samples)
    assert float(samples["nginx_up"]) == 1
    assert 0 < float(samples["nginx_connections_accepted"]) <= float(samples["nginx_http_requests_total"])
    plain = proxy.status("/stub_status").text
    assert plain.startswith("Active connections:")


def counted(proxy: Proxy) -> dict[str, float]:
    """Return what the proxy's page says, by name and labels."""
    text = proxy.status("/metrics").text
    return {
        sample.name + "".join(f" {value}" for _, value in sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_requests_are_counted_by_status_time_and_limit(launch: Callable[..., Proxy], app: Server) -> None:
    proxy = launch(
        METRICS="on",
        METRICS_PORT=str(free_port()),
        ACCESS_LOG="off",
        TLS="self-signed",
        TLS_REDIRECT="off",
        CACHE_TIME="60s",
        RATE_LIMIT="1r/s",
        RATE_LIMIT_BURST="3",
    )
    (proxy.folder / "static" / "a.css").write_text("a {}")
    assert proxy.get("/static/a.css").status_code == 200
    assert httpx.get(f"https://127.0.0.1:{proxy.tls_port}/static/a.css", verify=False).status_code == 200  # noqa: S501
    answers = collections.Counter(proxy.get(f"/?{number}").status_code for number in range(8))
    wait_for(lambda: counted(proxy)["nginx_http_request_duration_seconds_count"] == 10, "ten requests")
    seen = counted(proxy)
    assert answers[429] > 0
    assert seen["nginx_http_responses_total 200"] == answers[200] + 2
    assert seen["nginx_http_responses_total 429"] == answers[429] == seen["nginx_limited_requests_total rate rejected"]
    assert (
        seen["nginx_upstream_response_duration_seconds_count"]
        == answers[200]
        == seen["nginx_cache_requests_total miss"]
    )
    assert seen["nginx_tls_requests_total tlsv1.3"] == 1
    assert seen["nginx_requests_uncounted_total"] == 0
    assert seen["nginx_http_response_bytes_total"] > seen["nginx_http_request_bytes_total"] > 0
    wait_for(
        lambda: 80 < (counted(proxy)["nginx_certificate_expiry_timestamp_seconds"] - time.time()) / 86400 < 91, "expiry"
    )

    listed = set(re.findall(r"`(nginx_[a-z_]+)", (ROOT / "docs" / "metrics.md").read_text()))
    assert set(re.findall("^# TYPE (nginx_[a-z_]+)", proxy.status("/metrics").text, re.MULTILINE)) == listed

    # A reload changes nothing, and what counts ends with Nginx.
    assert proxy.command("reload", "--wait").returncode == 0
    proxy.get("/static/a.css")
    wait_for(lambda: counted(proxy)["nginx_http_request_duration_seconds_count"] == 11, "one more")
    helper = [pid for pid in children(proxy.pid) if b"greendock" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    os.kill(proxy.pid, signal.SIGQUIT)
    wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in helper), "nothing is left behind")


def test_a_taken_port_for_the_counting_is_named(launch: Callable[..., Proxy]) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        done = launch(wait=False).command("run", METRICS="on", METRICS_PORT=str(port))
    assert done.returncode == 1
    assert f"NGINX_METRICS_PORT={port}" in done.stderr


def test_metrics_are_for_the_networks_named(launch: Callable[..., Proxy]) -> None:
    proxy = launch(STATUS_ALLOW="10.99.0.0/16")
    assert proxy.status("/metrics").status_code == proxy.status("/stub_status").status_code == 403
    assert proxy.status("/healthz").status_code == 200


def test_the_internal_pages_are_not_on_the_public_port(proxy: Proxy) -> None:
    assert proxy.get("/metrics").json()["path"] == "/metrics"
    assert proxy.get("/__errors/error.html").status_code == 404


def test_maintenance_is_one_command_on_and_one_off(launch: Callable[..., Proxy], record: Record) -> None:
    proxy = launch(MAINTENANCE_RETRY_AFTER="2m")
    pid = proxy.pid
    assert proxy.command("maintenance", "status").stdout == "greendock: maintenance is off\n"
    assert proxy.command("maintenance", "on").stdout == "greendock: maintenance is on\n"
    before = len(record.requests())
    for method in ("GET", "POST", "DELETE"):
        response = proxy.request(method, "/anything")
        assert (response.status_code, response.headers["Retry-After"]) == (503, "120")
        assert response.headers["Cache-Control"] == "no-store"
        assert "Down for maintenance" in response.text
    assert proxy.get("/", headers={"Accept": "application/json"}).json()["title"] == "Down for maintenance"
    assert len(record.requests()) == before
    assert proxy.status("/healthz").status_code == 200
    assert proxy.command("reload").returncode == 0
    assert proxy.get("/").status_code == 503, "a reload does not end it"
    assert proxy.command("maintenance", "off").stdout == "greendock: maintenance is off\n"
    assert proxy.get("/").status_code == 200
    assert proxy.pid == pid


def test_without_an_application_the_error_page_says_when_to_come_back(launch: Callable[..., Proxy]) -> None:
    proxy = launch(UPSTREAM=f"127.0.0.1:{free_port()}")
    response = proxy.request("POST", "/", content=b"x")
    assert (response.status_code, response.headers["Retry-After"]) == (502, "5")
    assert "We cannot answer right now" in response.text, "words for a visitor"
    assert response.headers["X-Request-ID"] in response.text
    assert proxy.status("/healthz").status_code == 200, "the proxy itself is well"


def test_an_application_that_is_silent_too_long_is_a_gateway_timeout(
    launch: Callable[..., Proxy], record: Record
) -> None:
    proxy = launch(PROXY_READ_TIMEOUT="1s")
    assert proxy.get("/hold?gate=too-long").status_code == 504
    record.open("too-long")


def test_reloads_lose_no_request(launch: Callable[..., Proxy]) -> None:
    proxy = launch()
    with Clients(proxy) as clients:
        for _ in range(5):
            clients.wait_for(50)
            assert proxy.command("reload").returncode == 0
        clients.wait_for(50)
    assert clients.failures == []


def test_a_request_under_way_survives_a_reload(proxy: Proxy, record: Record) -> None:
    with background(proxy.get, "/hold?gate=reload") as answer:
        record.wait_held("reload")
        assert proxy.command("reload").returncode == 0
        record.open("reload")
    assert answer[0].status_code == 200


def test_a_refused_reload_leaves_everything_as_it_was(launch: Callable[..., Proxy]) -> None:
    proxy = launch()
    before = (proxy.folder / "run" / "nginx.conf").read_text()
    assert proxy.command("reload", TLS="on", TLS_CERTIFICATE="/nowhere.crt").returncode == 1
    assert proxy.command("reload", GZIP_LEVEL="12").returncode == 2
    assert (proxy.folder / "run" / "nginx.conf").read_text() == before
    assert proxy.get("/").status_code == 200


def test_a_reload_without_nginx_says_so(launch: Callable[..., Proxy]) -> None:
    done = launch(wait=False).command("reload")
    assert done.returncode == 1
    assert "no Nginx runs" in done.stderr


def test_a_rollout_points_nginx_at_new_replicas_and_loses_nothing(
    launch: Callable[..., Proxy], replicas: Callable[..., tuple[Record, list[Server]]]
) -> None:
    _, (old, new) = replicas("old", "new")
    proxy = launch(UPSTREAM=f"127.0.0.1:{old.port}")
    with Clients(proxy) as clients:
        clients.wait_for(50)
        done = proxy.command("upstream", f"127.0.0.1:{new.port}")
        assert (done.returncode, done.stdout) == (0, f"greendock: upstream is 127.0.0.1:{new.port}\n"), done.stderr
        # From here on nothing may reach the old one: it can be stopped.
        old.close()
        clients.wait_for(100)
        assert proxy.command("reload").returncode == 0
        clients.wait_for(50)
    assert clients.failures == []
    assert proxy.get("/").json()["name"] == "new", "a later reload keeps it"


def test_the_upstream_returns_to_the_variable_s(launch: Callable[..., Proxy], app: Server) -> None:
    proxy = launch(UPSTREAM=f"127.0.0.1:{app.port}")
    nobody = f"127.0.0.1:{free_port()}"
    assert proxy.command("upstream", "--no-wait", nobody).returncode == 0
    assert proxy.command("upstream").stdout == f"{nobody}\n", "without addresses it says where Nginx points"
    assert proxy.get("/").status_code == 502
    assert proxy.command("upstream", "--default").returncode == 0
    assert proxy.command("upstream").stdout == f"127.0.0.1:{app.port}\n"
    assert proxy.get("/").status_code == 200


@pytest.mark.parametrize("wrong", [["app"], ["a:1; server b:2"], ["--default", "a:1"]])
def test_a_wrong_upstream_is_refused(proxy: Proxy, wrong: list[str]) -> None:
    done = proxy.command("upstream", *wrong)
    assert done.returncode == 1
    assert "upstream: " in done.stderr
    assert proxy.get("/").status_code == 200


def test_quit_lets_the_request_under_way_end(launch: Callable[..., Proxy], record: Record) -> None:
    proxy = launch()
    with background(proxy.get, "/hold?gate=quit") as answer:
        record.wait_held("quit")
        os.kill(proxy.pid, signal.SIGQUIT)
        record.open("quit")
    assert answer[0].status_code == 200
    assert proxy.process is not None
    assert proxy.process.wait(DEADLINE) == 0


def test_a_user_s_own_pieces_take_part(launch: Callable[..., Proxy], tmp_path: Path) -> None:
    own = drop_ins(tmp_path)
    (own / "http.d" / "a.conf").write_text("map $arg_plan $plan { default free; gold gold; }\n")
    (own / "server.d" / "b.conf").write_text('location = /plan { return 200 "$plan"; }\n')
    (own / "location.d" / "c.conf").write_text("add_header X-Own yes;\n")
    proxy = launch(CONFIG_DIR=str(own))
    assert proxy.get("/plan?plan=gold").text == "gold"
    response = proxy.get("/")
    assert response.headers["X-Own"] == "yes"
    assert response.headers["X-Content-Type-Options"] == "nosniff", "added, not replaced"


def test_the_second_service_of_the_documentation_works(
    launch: Callable[..., Proxy], replicas: Callable[..., tuple[Record, list[Server]]], tmp_path: Path
) -> None:
    _, (admin,) = replicas("admin")
    page = (ROOT / "docs" / "nginx.md").read_text().partition("**A second service of your own**")[2]
    by_host, by_path = re.findall(r"```nginx\n(.*?)```", page, re.DOTALL)[:2]
    own = drop_ins(tmp_path)
    proxy = launch(wait=False, CONFIG_DIR=str(own), SERVER_NAMES="example.com", RESOLVER="127.0.0.1")
    by_host = by_host.replace("admin:9000", f"127.0.0.1:{admin.port}").replace("listen 8080", f"listen {proxy.port}")
    (own / "http.d" / "admin.conf").write_text(by_host)
    (own / "server.d" / "admin.conf").write_text(by_path)
    proxy.start()
    for host, path, name in (
        ("admin.example.com", "/", "admin"),
        ("example.com", "/admin/x", "admin"),
        ("example.com", "/", ""),
    ):
        response = proxy.get(path, headers={"Host": host, "X-Forwarded-For": "6.6.6.6"}).json()
        assert (response["name"], response["path"], response["headers"]["X-Forwarded-For"]) == (name, path, "127.0.0.1")


@pytest.mark.parametrize("level", ["http.d", "server.d", "location.d"])
def test_a_user_s_own_piece_is_validated_with_the_rest(
    launch: Callable[..., Proxy], tmp_path: Path, level: str
) -> None:
    own = drop_ins(tmp_path)
    (own / level / "wrong.conf").write_text("gzipp on;\n")
    done = launch(wait=False, CONFIG_DIR=str(own)).command("check")
    assert done.returncode == 1
    assert f"{level}/wrong.conf:1" in done.stderr


def drop_ins(folder: Path) -> Path:
    """Make a folder for one's own pieces."""
    own = folder / "nginx"
    own.mkdir()
    for name in ("http.d", "server.d", "location.d"):
        (own / name).mkdir()
    return own
