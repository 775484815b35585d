"""``examples/redis-pool`` with a real Redis: no connection is left behind, whatever happens to workers."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from tests.support import ROOT, Server, free_port, wait_for

Serve = Callable[..., Server]
# Runs after the pool's own worker_exit: teardown is in reverse.
PROBE = """
import os, redis
def report(server, worker):
    with redis.Redis.from_url(os.environ["REDIS_URL"], client_name="probe") as client:
        mine = [c for c in client.client_list() if c["name"] == f"worker-{worker.pid}"]
    open("left", "a").write(f"{len(mine)} ")
"""
HOOKS = {
    "APP_MODULE": "shop:app",
    "GUNICORN_ON_STARTING": "pool:check",
    "GUNICORN_POST_WORKER_INIT": "pool:open_pool",
    "GUNICORN_WORKER_EXIT": "pool:close_pool",
}


class Redis:
    """A Redis server of this test's own."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._command = ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--dir", folder]
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL)
        self.client = redis.Redis.from_url(self.url, client_name="test")

        def answers() -> bool:
            try:
                return bool(self.client.ping())
            except redis.ConnectionError:
                return False

        wait_for(answers, "Redis answers")

    def stop(self) -> None:
        self.client.close()
        self.process.terminate()
        self.process.wait(10)

    def owners(self) -> set[int]:
        """Return the pids of the workers that have connections open, by the names they gave them."""
        names = [str(client["name"]) for client in self.client.client_list()]
        return {int(name.removeprefix("worker-")) for name in names if name.startswith("worker-")}

    def others(self) -> int:
        """Return how many connections are neither a worker's nor the test's."""
        return sum(not client["name"] for client in self.client.client_list())


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Redis]:
    assert shutil.which("redis-server"), "needs redis-server: scripts/test-deps installs it"
    server = Redis(tmp_path)
    yield server
    server.stop()


@pytest.fixture(params=["sync", "drain"])
def shop(request: pytest.FixtureRequest, serve: Serve, database: Redis, tmp_path: Path) -> Server:
    (tmp_path / "probe.py").write_text(PROBE)
    settings = environment()
    settings["PYTHONPATH"] += f":{tmp_path}"
    settings["GUNICORN_WORKER_EXIT"] = "probe:report,pool:close_pool"
    server = serve("", wait=False, REDIS_URL=database.url, GUNICORN_WORKER_CLASS=request.param, **settings)
    server.wait_ready("2/2")
    return server


def environment() -> dict[str, str]:
    return HOOKS | {"PYTHONPATH": str(ROOT / "examples" / "redis-pool"), "GUNICORN_TIMEOUT": "30"}


def visit(server: Server, times: int = 12) -> None:
    threads = [threading.Thread(target=server.get) for _ in range(times)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def only_workers(server: Server, database: Redis) -> None:
    """Wait until exactly the living workers have connections."""
    wait_for(lambda: database.owners() == set(server.workers()) != set(), "only living workers have connections")
    assert database.others() == 0


def test_no_connection_outlives_its_worker_through_reload_crash_and_shutdown(shop: Server, database: Redis) -> None:
    visit(shop)
    assert json.loads(shop.get()[1])["visitors"] == 13
    only_workers(shop, database)

    before = set(shop.workers())
    shop.signal(signal.SIGHUP)
    wait_for(lambda: not before & set(shop.workers()), "new workers")
    shop.wait_ready("2/2")
    visit(shop)
    only_workers(shop, database)

    crashed = shop.workers()[0]
    os.kill(crashed, signal.SIGKILL)
    wait_for(lambda: crashed not in shop.workers(), "the worker is gone")
    shop.wait_ready("2/2")
    visit(shop)
    only_workers(shop, database)

    shop.signal(signal.SIGTERM)
    assert shop.wait_exit() == 0
    wait_for(lambda: database.owners() == set(), "no connection is left")
    assert (shop.folder / "left").read_text().split() == ["0"] * 4  # two at the reload, two at the end
    assert "Hook failed" not in shop.log


def test_a_worker_never_has_more_connections_than_threads(serve: Serve, database: Redis) -> None:
    server = serve("", wait=False, REDIS_URL=database.url, **(environment() | {"GUNICORN_THREADS": "2"}))
    server.wait_ready("2/2")
    visit(server, 40)
    assert json.loads(server.get()[1])["visitors"] == 41
    assert len([client for client in database.client.client_list() if client["name"] != "test"]) <= 4


def test_without_redis_nothing_starts(serve: Serve, tmp_path: Path) -> None:
    server = serve("", wait=False, REDIS_URL=f"redis://127.0.0.1:{free_port()}/0", **environment())
    assert server.wait_exit() == 1
    assert "Hook failed: on_starting hook pool:check" in server.log


def test_the_pool_connects_again_when_redis_has_been_restarted(serve: Serve, database: Redis) -> None:
    server = serve("", wait=False, REDIS_URL=database.url, **environment())
    server.wait_ready("2/2")
    database.stop()
    assert server.get("/livez")[0] == 200
    database.start()
    wait_for(lambda: server.get()[0] == 200, "visitors are counted again")
    only_living = set(server.workers())
    assert database.owners() <= only_living
