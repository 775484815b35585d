"""Measure what a deployment loses, on this machine: `python -m tests.measure.deployments --help`.

A copy of the template with the tests' application runs as a project of its own. 200 requests/s (half of them POST)
over 20 kept-alive connections, three clients whose requests take 2 s, an upload of 1 MiB in 4 s, a WebSocket. Prints
Markdown.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from greendock.testing.load import load, slow_requests, streams, table, uploads, websocket
from tests.container.stack import Site, started
from tests.container.swarm import REPLICAS, Swarm, swarm
from tests.support import wait_for

_QUIET_SECONDS = 10
_SETTLE_SECONDS = 3


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("what", choices=("rollout", "compose", "nginx", "both", "reload", "bad", "swarm"))
    parser.add_argument("--replicas", type=int, default=1)
    parser.add_argument("--times", type=int, default=5, help="how many rollouts in a row")
    parser.add_argument("--asgi", action="store_true", help="the worker asgi and its application")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if given.what == "swarm":
            with swarm(Path(folder) / "site") as cluster:
                _swarm(cluster)
            return 0
        settings = {"NGINX_SHUTDOWN_TIMEOUT": "30s", "NGINX_CLIENT_MAX_BODY_SIZE": "300m"}
        settings |= {"GREENDOCK_ROLLOUT_WATCH": "3"}
        kinds = {"rollout": _rollouts, "compose": _compose, "nginx": _nginx, "both": _both, "reload": _reload}
        with started(Path(folder) / "site", given.replicas, settings, given.asgi) as site:
            (kinds | {"bad": _bad})[given.what](site, given)
    return 0


def under_load(title: str, url: str, action: Callable[[], object]) -> None:
    """Do ``action`` under load and print what the clients saw."""
    with ExitStack() as clients:
        running = {
            "GET": clients.enter_context(load(url, rate=100)),
            "POST": clients.enter_context(load(url, rate=100, post=True)),
            "2 s": clients.enter_context(slow_requests(f"{url}slow")),
            "upload": clients.enter_context(uploads(f"{url}upload")),
            "WebSocket": clients.enter_context(websocket(f"{url}ws")),
        }
        time.sleep(_SETTLE_SECONDS)
        began = time.monotonic()
        action()
        took = time.monotonic() - began
        time.sleep(_SETTLE_SECONDS)
    print(f"\n{title} ({took:.0f} s)\n\n{table((name, client.result) for name, client in running.items())}", flush=True)


def _rollouts(site: Site, given: argparse.Namespace) -> None:
    under_load(f"{given.replicas} replicas, nothing happens", site.url(), lambda: time.sleep(_QUIET_SECONDS))
    for number in range(1, given.times + 1):
        site.set_version(f"v{number}")
        under_load(f"{given.replicas} replicas, rollout {number}", site.url(), site.rollout)


def _compose(site: Site, given: argparse.Namespace) -> None:
    site.set_version("next")
    title = f"{given.replicas} replicas, docker compose up --detach --build"
    under_load(title, site.url(), lambda: site.start(given.replicas))


def everything(title: str, site: Site, action: Callable[[], object]) -> None:
    """Do ``action`` under every kind of load at once; half of the connections are new ones."""
    url = site.url()
    with ExitStack() as clients:
        running = {
            "GET": clients.enter_context(load(url, rate=50)),
            "GET, new connections": clients.enter_context(load(url, rate=50, fresh=True)),
            "POST": clients.enter_context(load(url, rate=50, post=True)),
            "POST, new connections": clients.enter_context(load(url, rate=50, post=True, fresh=True)),
            "2 s": clients.enter_context(slow_requests(f"{url}slow")),
            "upload of 200 MB": clients.enter_context(uploads(f"{url}upload", seconds=15, size=200 << 20)),
            "events": clients.enter_context(streams(f"{url}events")),
            "WebSocket": clients.enter_context(websocket(f"{url}ws")),
        }
        time.sleep(_SETTLE_SECONDS)
        began = time.monotonic()
        action()
        took = time.monotonic() - began
    print(f"\n{title} ({took:.0f} s)\n\n{table((name, client.result) for name, client in running.items())}", flush=True)


def _change_proxy(site: Site, number: int) -> None:
    site.edit("packages/greendock/src/greendock/proxy/errors/error.html", lambda text: text + f"<!-- {number} -->\n")


def _nginx(site: Site, given: argparse.Namespace) -> None:
    everything("nothing happens", site, lambda: time.sleep(2 * _QUIET_SECONDS))

    def replace() -> None:
        for number in range(given.times):
            _change_proxy(site, number)
            site.rollout("--nginx")

    everything(f"Nginx: a new image, {given.times} times", site, replace)


def _both(site: Site, given: argparse.Namespace) -> None:
    everything("nothing happens", site, lambda: time.sleep(2 * _QUIET_SECONDS))

    def replace() -> None:
        for number in range(given.times):
            _change_proxy(site, number)
            site.set_version(f"v{number}")
            site.rollout()

    everything(f"both, {given.times} times", site, replace)


def _reload(site: Site, given: argparse.Namespace) -> None:
    def reload() -> None:
        for _ in range(given.times):
            site.rollout("--nginx", "--no-build")

    everything(f"reload, {given.times} times", site, reload)


def _bad(site: Site, _: argparse.Namespace) -> None:
    """A version that answers 500 at a path that the check does not ask for."""
    site.set_version("bad")
    with load(f"{site.url()}fails", rate=50) as failing, load(site.url(), rate=100) as others:
        time.sleep(_SETTLE_SECONDS)
        said = site.rollout(expect=1).rstrip().rpartition("\n")[2]
    print(f"\n{said}\n\n{table([('/fails', failing.result), ('/', others.result)])}", flush=True)


def _swarm(cluster: Swarm) -> None:
    settings = "WEB_CONCURRENCY=1\\n"
    under_load("swarm, nothing happens", cluster.url() + "/", lambda: time.sleep(_QUIET_SECONDS))
    under_load("swarm, update", cluster.url() + "/", lambda: cluster.deploy("two", settings))
    print(f"\nstate: {cluster.update_state()}")
    under_load("swarm, broken version", cluster.url() + "/", lambda: cluster.deploy("broken", settings))
    print(f"\nstate: {cluster.update_state()}\n\n```\n{cluster.manage('docker node ls; docker stack ps site')}```")

    def lose() -> None:
        cluster.lose(1)
        wait_for(lambda: cluster.replicas().count(cluster.nodes[0]) == REPLICAS, "all replicas on one machine", 120)

    under_load("swarm, loss of a machine", cluster.url() + "/", lose)
    print(f"\n```\n{cluster.manage('docker node ls; docker stack ps site')}```")


if __name__ == "__main__":
    sys.exit(main())
