"""``deploy/monitoring`` with Debian's Prometheus: the rules, and every query of the dashboards under load."""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import yaml

from tests.process.proxy.support import Proxy
from tests.support import DEADLINE, ROOT, Server, free_port, local_nginx, wait_for

MONITORING = ROOT / "deploy" / "monitoring"
APPLICATION = """
import time
def app(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/slow":
        time.sleep(0.02)
    start_response("500 Internal Server Error" if path == "/broken" else "200 OK", [("Content-Length", "2")])
    return [b"ok"]
"""


def promtool(*arguments: str) -> None:
    done = subprocess.run(
        ["promtool", *arguments], cwd=MONITORING, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def alerts() -> set[str]:
    groups = yaml.safe_load((MONITORING / "alerts.yml").read_text())["groups"]
    return {rule["alert"] for group in groups for rule in group["rules"] if "alert" in rule}


def test_each_alert_fires_when_it_must_and_is_silent_when_it_must() -> None:
    promtool("check", "config", "prometheus.yml")  # and the rules it names
    promtool("test", "rules", "tests/alerts.yml")
    cases = yaml.safe_load((MONITORING / "tests" / "alerts.yml").read_text())["tests"]
    checks = [check for case in cases for check in case["alert_rule_test"]]
    assert {check["alertname"] for check in checks if check["exp_alerts"]} == alerts()


def test_each_alert_says_where_it_is_explained() -> None:
    headings = re.findall(r"^### (\w+)$", (ROOT / "docs" / "operating.md").read_text(), re.MULTILINE)
    assert set(headings) == alerts()
    groups = yaml.safe_load((MONITORING / "alerts.yml").read_text())["groups"]
    for rule in (rule for group in groups for rule in group["rules"] if "alert" in rule):
        assert rule["annotations"]["runbook"] == f"docs/operating.md#{rule['alert'].lower()}"
        assert rule["labels"]["severity"] in ("page", "ticket")


def queries() -> Iterator[tuple[str, str]]:
    """Yield the title of each panel and each of its queries, filled in as Grafana would."""
    for file in sorted((MONITORING / "grafana" / "dashboards").glob("*.json")):
        dashboard = json.loads(file.read_text())
        for panel in dashboard["panels"]:
            for target in panel["targets"]:
                query = target["expr"].replace("$__rate_interval", "30s").replace("$instance", ".+")
                yield f"{file.stem}: {panel['title']}", query


def test_dashboards_are_what_grafana_reads() -> None:
    """Grafana cannot be had here: what its provisioning would refuse or leave empty is looked for."""
    (source,) = yaml.safe_load((MONITORING / "grafana/provisioning/datasources/prometheus.yml").read_text())[
        "datasources"
    ]
    uids = set()
    for file in (MONITORING / "grafana" / "dashboards").glob("*.json"):
        dashboard = json.loads(file.read_text())
        uids.add(dashboard["uid"])
        panels = dashboard["panels"]
        assert len({panel["id"] for panel in panels}) == len(panels)
        taken: set[tuple[int, int]] = set()
        for panel in panels:
            assert panel["type"] in ("stat", "timeseries")
            assert {target["datasource"]["uid"] for target in panel["targets"]} == {source["uid"]}
            assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])
            place = panel["gridPos"]
            cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
            assert place["x"] + place["w"] <= 24
            assert taken.isdisjoint(cells), panel["title"]
            taken |= cells
    assert len(uids) == 2


@contextmanager
def prometheus(folder: Path, jobs: dict[str, str]) -> Iterator[Callable[[str], list[Any]]]:
    """Run Prometheus with the shipped rules, scraping once a second; yield what answers a query."""
    configuration = yaml.safe_load((MONITORING / "prometheus.yml").read_text())
    configuration["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    configuration["rule_files"] = [str(MONITORING / "alerts.yml")]
    del configuration["alerting"]
    for job in configuration["scrape_configs"]:
        del job["dns_sd_configs"]
        job["static_configs"] = [{"targets": [jobs[job["job_name"]]]}]
    (folder / "prometheus.yml").write_text(yaml.safe_dump(configuration))
    address = f"127.0.0.1:{free_port()}"
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(
            [
                "prometheus",
                f"--config.file={folder / 'prometheus.yml'}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address={address}",
            ],
            stdout=log,
            stderr=log,
            env=os.environ | {"GOMAXPROCS": "1"},
        )

    def query(expression: str) -> list[Any]:
        with suppress(httpx.TransportError):
            answer = httpx.get(f"http://{address}/api/v1/query", params={"query": expression}, timeout=DEADLINE)
            body = answer.json() if answer.headers.get("content-type", "").startswith("application/json") else {}
            assert body.get("status") != "error", f"{expression}: {body}"
            return list(body.get("data", {}).get("result", []))
        return []

    try:
        yield query
    finally:
        process.terminate()
        process.wait(DEADLINE)


def test_every_query_of_the_dashboards_returns_data_under_load(serve: Callable[..., Server], tmp_path: Path) -> None:
    server = serve(
        APPLICATION,
        GREENDOCK_PLUGINS="metrics",
        GREENDOCK_METRICS_BIND=f"127.0.0.1:{free_port()}",
        GREENDOCK_SLO_LATENCY="0.01",
        GUNICORN_PRE_REQUEST="",
    )
    proxy = Proxy(
        tmp_path / "proxy",
        local_nginx(),
        UPSTREAM=f"127.0.0.1:{server.port}",
        METRICS="on",
        METRICS_PORT=str(free_port()),
        CACHE_TIME="1s",
        RATE_LIMIT="20r/s",
        RATE_LIMIT_BURST="1",
        TLS="self-signed",
        TLS_REDIRECT="off",
    )
    stop = threading.Event()

    def ask() -> None:
        with httpx.Client(verify=False, timeout=DEADLINE) as client:  # noqa: S501
            while not stop.wait(0.02):
                for url in (proxy.url, f"https://127.0.0.1:{proxy.tls_port}"):
                    for path in ("/", "/slow", "/broken"):
                        with suppress(httpx.TransportError):
                            client.get(url + path)

    client = threading.Thread(target=ask, daemon=True)
    try:
        proxy.start()
        client.start()
        jobs = {
            "app": server.environment["GREENDOCK_METRICS_BIND"],
            "nginx": f"127.0.0.1:{proxy.status_port}",
        }
        with prometheus(tmp_path, jobs) as query:
            waiting = dict.fromkeys(queries())

            def answered() -> bool:
                for key in list(waiting):
                    values = [float(sample["value"][1]) for sample in query(key[1])]
                    if not all(math.isnan(value) for value in values):  # NaN: nothing was counted yet
                        del waiting[key]
                return not waiting

            try:
                wait_for(answered, "every query returns data", 60)
            except AssertionError:
                raise AssertionError(f"no data: {list(waiting)}\n{(tmp_path / 'prometheus.log').read_text()}") from None
    finally:
        stop.set()
        client.join(DEADLINE)
        proxy.close()
