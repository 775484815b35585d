"""``deploy/monitoring`` in containers: every replica is found, and an alert reaches Alertmanager."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import httpx

from greendock.testing.load import load
from tests.container.support import Stack
from tests.support import free_ports, wait_for

LONG = 60.0


class Monitored(Stack):
    """The stack with the overlay; Prometheus asks once a second, and an alert need not last."""

    def __init__(self, folder: Path) -> None:
        self.prometheus, self.alertmanager = free_ports(2)
        super().__init__(
            folder,
            COMPOSE_FILE="docker-compose.yml:deploy/monitoring/compose.yml",
            PROMETHEUS_PORT=str(self.prometheus),
            ALERTMANAGER_PORT=str(self.alertmanager),
            WEB_CONCURRENCY="1",
        )
        for name, pattern, text in (
            ("prometheus.yml", r"_interval: \d+s", "_interval: 1s"),
            ("alerts.yml", r"for: 1m", "for: 1s"),
        ):
            file = folder / "deploy" / "monitoring" / name
            file.write_text(re.sub(pattern, text, file.read_text()))

    def query(self, expression: str) -> dict[str, float]:
        """Return the values of a query by instance, or by alert's name."""
        answer = httpx.get(
            f"http://{self.address}:{self.prometheus}/api/v1/query", params={"query": expression}, timeout=LONG
        )
        series = answer.raise_for_status().json()["data"]["result"]
        return {
            each["metric"].get("alertname") or each["metric"].get("instance", ""): float(each["value"][1])
            for each in series
        }

    def firing(self) -> set[Any]:
        """Return the names of the alerts that Alertmanager has."""
        answer = httpx.get(f"http://{self.address}:{self.alertmanager}/api/v2/alerts", timeout=LONG)
        return {alert["labels"]["alertname"] for alert in answer.raise_for_status().json()}


def test_replicas_are_found_and_a_fault_is_an_alert(tmp_path: Path) -> None:
    stack = Monitored(tmp_path / "checkout")
    try:
        stack.up("--scale", "app=2")
        wait_for(lambda: list(stack.query("gunicorn_ready").values()) == [1, 1], "both replicas are found", LONG)
        with load(stack.url(), rate=50):
            wait_for(
                lambda: (
                    stack.query('sum(nginx_http_responses_total{status="200"})').get("", 0) > 50
                    and stack.query("sum(gunicorn_request_queue_seconds_count)").get("", 0) > 50
                ),
                "requests are counted by both",
                LONG,
            )
            done = stack.run(sys.executable, "-m", "greendock", "top", "--all", "--json", "--interval", "1")
        shown = json.loads(done.stdout)
        assert len(shown["replicas"]) == 2, done.stderr
        assert all(replica["readiness"] == "ready: 1/1 workers" for replica in shown["replicas"])
        assert sum(replica["requests_per_second"] for replica in shown["replicas"]) > 0
        assert shown["proxies"][0]["statuses"]["2xx"] > 0
        assert stack.query("sum(rate(nginx_http_responses_total[10s]))")[""] > 0
        # Before the first replica was there, that was an alert.
        wait_for(lambda: stack.firing() == set(), "no alert is left of the start", LONG)
        wait_for(lambda: stack.query("nginx_requests_uncounted_total"), "the proxy says what it has lost")

        # Both see the network and no more: published on the loopback address, nothing to write but their data.
        for service in ("prometheus", "alertmanager"):
            host = stack.inspect(service)["HostConfig"]
            assert host["ReadonlyRootfs"]
            assert host["CapDrop"] == ["ALL"]
            assert {each["HostIp"] for published in host["PortBindings"].values() for each in published} == {
                "127.0.0.1"
            }

        stack.compose("stop", "nginx")
        wait_for(lambda: "GreendockProxyDown" in stack.firing(), "Alertmanager has the alert", LONG)
        assert stack.firing() == {"GreendockProxyDown"}
        stack.compose("start", "nginx")
        wait_for(lambda: "GreendockProxyDown" not in stack.query('ALERTS{alertstate="firing"}'), "it is over", LONG)
    finally:
        stack.down()
