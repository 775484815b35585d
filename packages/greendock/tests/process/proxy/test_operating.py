"""Start, reload, maintenance, rollout, health and metrics: what an operator does with a running Nginx."""

from __future__ import annotations

import http.client
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.process.proxy.support import Edge, Record, background
from tests.support import DEADLINE, Server, free_port, wait_for


def test_a_wrong_configuration_is_reported_whole_and_nothing_starts(launch: Callable[..., Edge]) -> None:
    edge = launch(wait=False)
    done = edge.command("run", HTTP_PORT="none", SERVER_NAMES="a b;", TLSS="on")
    assert done.returncode == 2
    assert "3 configuration problems, nothing was started" in done.stderr
    assert "did you mean NGINX_TLS?" in done.stderr
    assert not (edge.folder / "run").exists()


def test_a_folder_that_cannot_be_written_is_named(launch: Callable[..., Edge]) -> None:
    done = launch(wait=False).command("run", RUN_DIR="/proc/nginx")
    assert done.returncode == 1
    assert "/proc/nginx cannot be written" in done.stderr


def test_what_nginx_refuses_is_not_started(launch: Callable[..., Edge]) -> None:
    edge = launch(wait=False)
    done = edge.command("run", TLS="on", TLS_CERTIFICATE="/nowhere.crt")
    assert done.returncode == 1
    assert "/nowhere.crt" in done.stderr
    assert not (edge.folder / "run" / "nginx.conf").exists()


def test_config_prints_what_runs(edge: Edge) -> None:
    done = edge.command("config")
    assert done.stdout == (edge.folder / "run" / "nginx.conf").read_text()
    assert f"listen {edge.port}" in done.stdout


def test_check_accepts_what_runs(edge: Edge) -> None:
    done = edge.command("check")
    assert (done.returncode, done.stdout) == (0, "greendock: the configuration is good\n"), done.stderr


def test_render_writes_the_configuration_into_a_folder(edge: Edge, tmp_path: Path) -> None:
    assert edge.command("render", "--output", str(tmp_path / "new")).returncode == 0
    assert (tmp_path / "new" / "nginx.conf").read_text() == edge.command("config").stdout


def test_health_asks_the_internal_port(edge: Edge) -> None:
    assert edge.command("health").stdout == "ok\n"
    done = edge.command("health", STATUS_PORT=str(free_port()))
    assert done.returncode == 1
    assert "unhealthy" in done.stderr


def test_metrics_are_in_prometheus_s_format(edge: Edge) -> None:
    edge.get("/")
    response = edge.status("/metrics")
    assert response.headers["Content-Type"] == "text/plain; version=0.0.4"
    samples = dict(line.split() for line in response.text.splitlines() if line and not line.startswith("#"))
    types = [line.split()[2:] for line in response.text.splitlines() if line.startswith("# TYPE")]
    assert {name for name, _ in types} == set(samples)
    assert float(samples["nginx_up"]) == 1
    assert 0 < float(samples["nginx_connections_accepted"]) <= float(samples["nginx_http_requests_total"])
    plain = edge.status("/stub_status").text
    assert plain.startswith("Active connections:")


def test_metrics_are_for_the_networks_named(launch: Callable[..., Edge]) -> None:
    edge = launch(STATUS_ALLOW="10.99.0.0/16")
    assert edge.status("/metrics").status_code == edge.status("/stub_status").status_code == 403
    assert edge.status("/healthz").status_code == 200


def test_the_internal_pages_are_not_on_the_public_port(edge: Edge) -> None:
    assert edge.get("/metrics").json()["path"] == "/metrics"
    assert edge.get("/__errors/error.html").status_code == 404


def test_maintenance_is_one_command_on_and_one_off(launch: Callable[..., Edge], record: Record) -> None:
    edge = launch(MAINTENANCE_RETRY_AFTER="2m")
    pid = edge.pid
    assert edge.command("maintenance", "status").stdout == "greendock: maintenance is off\n"
    assert edge.command("maintenance", "on").stdout == "greendock: maintenance is on\n"
    before = len(record.requests())
    for method in ("GET", "POST", "DELETE"):
        response = edge.request(method, "/anything")
        assert (response.status_code, response.headers["Retry-After"]) == (503, "120")
        assert response.headers["Cache-Control"] == "no-store"
        assert "Down for maintenance" in response.text
    assert edge.get("/", headers={"Accept": "application/json"}).json()["title"] == "Down for maintenance"
    assert len(record.requests()) == before
    assert edge.status("/healthz").status_code == 200
    assert edge.command("reload").returncode == 0
    assert edge.get("/").status_code == 503, "a reload does not end it"
    assert edge.command("maintenance", "off").stdout == "greendock: maintenance is off\n"
    assert edge.get("/").status_code == 200
    assert edge.pid == pid


def test_without_an_application_the_error_page_says_when_to_come_back(launch: Callable[..., Edge]) -> None:
    edge = launch(UPSTREAM=f"127.0.0.1:{free_port()}")
    response = edge.request("POST", "/", content=b"x")
    assert (response.status_code, response.headers["Retry-After"]) == (502, "5")
    assert "Bad gateway" in response.text
    assert response.headers["X-Request-ID"] in response.text
    assert edge.status("/healthz").status_code == 200, "the proxy itself is well"


def test_an_application_that_is_silent_too_long_is_a_gateway_timeout(
    launch: Callable[..., Edge], record: Record
) -> None:
    edge = launch(PROXY_READ_TIMEOUT="1s")
    assert edge.get("/hold?gate=too-long").status_code == 504
    record.open("too-long")


class Clients:
    """Clients on kept-alive connections that ask without a pause, and note every failure."""

    def __init__(self, edge: Edge, count: int = 4) -> None:
        self.edge, self.stop, self.answers, self.failures = edge, threading.Event(), 0, []  # type: ignore[var-annotated]
        self.threads = [threading.Thread(target=self._ask, args=(n % 2,), daemon=True) for n in range(count)]

    def _ask(self, post: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.edge.port, timeout=DEADLINE)
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


def test_reloads_lose_no_request(launch: Callable[..., Edge]) -> None:
    edge = launch()
    with Clients(edge) as clients:
        for _ in range(5):
            clients.wait_for(50)
            assert edge.command("reload").returncode == 0
        clients.wait_for(50)
    assert clients.failures == []


def test_a_request_under_way_survives_a_reload(edge: Edge, record: Record) -> None:
    with background(edge.get, "/hold?gate=reload") as answer:
        record.wait_held("reload")
        assert edge.command("reload").returncode == 0
        record.open("reload")
    assert answer[0].status_code == 200


def test_a_refused_reload_leaves_everything_as_it_was(launch: Callable[..., Edge]) -> None:
    edge = launch()
    before = (edge.folder / "run" / "nginx.conf").read_text()
    assert edge.command("reload", TLS="on", TLS_CERTIFICATE="/nowhere.crt").returncode == 1
    assert edge.command("reload", GZIP_LEVEL="12").returncode == 2
    assert (edge.folder / "run" / "nginx.conf").read_text() == before
    assert edge.get("/").status_code == 200


def test_a_reload_without_nginx_says_so(launch: Callable[..., Edge]) -> None:
    done = launch(wait=False).command("reload")
    assert done.returncode == 1
    assert "no Nginx runs" in done.stderr


def test_a_rollout_points_nginx_at_new_replicas_and_loses_nothing(
    launch: Callable[..., Edge], replicas: Callable[..., tuple[Record, list[Server]]]
) -> None:
    _, (old, new) = replicas("old", "new")
    edge = launch(UPSTREAM=f"127.0.0.1:{old.port}")
    with Clients(edge) as clients:
        clients.wait_for(50)
        done = edge.command("upstream", f"127.0.0.1:{new.port}")
        assert (done.returncode, done.stdout) == (0, f"greendock: upstream is 127.0.0.1:{new.port}\n"), done.stderr
        # From here on nothing may reach the old one: it can be stopped.
        old.close()
        clients.wait_for(100)
        assert edge.command("reload").returncode == 0
        clients.wait_for(50)
    assert clients.failures == []
    assert edge.get("/").json()["name"] == "new", "a later reload keeps it"


def test_the_upstream_returns_to_the_variable_s(launch: Callable[..., Edge], app: Server) -> None:
    edge = launch(UPSTREAM=f"127.0.0.1:{app.port}")
    nobody = f"127.0.0.1:{free_port()}"
    assert edge.command("upstream", "--no-wait", nobody).returncode == 0
    assert edge.command("upstream").stdout == f"{nobody}\n", "without addresses it says where Nginx points"
    assert edge.get("/").status_code == 502
    assert edge.command("upstream", "--default").returncode == 0
    assert edge.command("upstream").stdout == f"127.0.0.1:{app.port}\n"
    assert edge.get("/").status_code == 200


@pytest.mark.parametrize("wrong", [["app"], ["a:1; server b:2"], ["--default", "a:1"]])
def test_a_wrong_upstream_is_refused(edge: Edge, wrong: list[str]) -> None:
    done = edge.command("upstream", *wrong)
    assert done.returncode == 1
    assert "upstream: " in done.stderr
    assert edge.get("/").status_code == 200


def test_quit_lets_the_request_under_way_end(launch: Callable[..., Edge], record: Record) -> None:
    edge = launch()
    with background(edge.get, "/hold?gate=quit") as answer:
        record.wait_held("quit")
        os.kill(edge.pid, signal.SIGQUIT)
        record.open("quit")
    assert answer[0].status_code == 200
    assert edge.process is not None
    assert edge.process.wait(DEADLINE) == 0


def test_a_user_s_own_pieces_take_part(launch: Callable[..., Edge], tmp_path: Path) -> None:
    own = drop_ins(tmp_path)
    (own / "http.d" / "a.conf").write_text("map $arg_plan $plan { default free; gold gold; }\n")
    (own / "server.d" / "b.conf").write_text('location = /plan { return 200 "$plan"; }\n')
    (own / "location.d" / "c.conf").write_text("add_header X-Own yes;\n")
    edge = launch(CONFIG_DIR=str(own))
    assert edge.get("/plan?plan=gold").text == "gold"
    response = edge.get("/")
    assert response.headers["X-Own"] == "yes"
    assert response.headers["X-Content-Type-Options"] == "nosniff", "added, not replaced"


@pytest.mark.parametrize("level", ["http.d", "server.d", "location.d"])
def test_a_user_s_own_piece_is_validated_with_the_rest(launch: Callable[..., Edge], tmp_path: Path, level: str) -> None:
    own = drop_ins(tmp_path)
    (own / level / "wrong.conf").write_text("gzipp on;\n")
    done = launch(wait=False, CONFIG_DIR=str(own)).command("check")
    assert done.returncode == 1
    assert f"{level}/wrong.conf:1" in done.stderr


def drop_ins(folder: Path) -> Path:
    """Make a folder with the shipped templates and room for one's own pieces."""
    own = folder / "nginx"
    own.mkdir()
    shipped = Path(__file__).resolve().parents[3] / "nginx"
    for name in ("templates", "errors", "metrics"):
        (own / name).symlink_to(shipped / name)
    for name in ("http.d", "server.d", "location.d"):
        (own / name).mkdir()
    return own
