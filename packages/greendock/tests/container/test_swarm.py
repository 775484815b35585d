"""``deploy/swarm/`` on a swarm of two engines: an update, a broken version and the loss of a machine, under load."""

from __future__ import annotations

from pathlib import Path

from greendock.testing.load import load
from tests.container.swarm import ASGI, REPLICAS, SETTINGS, swarm
from tests.support import wait_for


def test_a_swarm_updates_rolls_back_and_survives_the_loss_of_a_machine(tmp_path: Path) -> None:
    with swarm(tmp_path / "site") as cluster:
        wait_for(lambda: len(set(cluster.replicas())) == 2, "replicas on both machines")
        assert cluster.get("/setting").strip() == "postgresql://user:hunter2@db/site"

        with load(cluster.url(), rate=100) as reading, load(cluster.url(1), rate=100, post=True) as writing:
            # The second update replaces the asgi worker.
            for version, settings in (("one", ASGI), ("two", SETTINGS)):
                cluster.deploy(version, settings)
                wait_for(lambda: cluster.update_state() == "completed", "the update is complete", 60)
            assert cluster.get("/").startswith("two ")
            cluster.deploy("broken", SETTINGS)
            wait_for(lambda: cluster.update_state() == "rollback_completed", "the broken version is rolled back", 60)
            assert cluster.get("/", node=1).startswith("two ")
        assert reading.result.failed == 0, reading.result
        assert writing.result.failed == 0, writing.result

        cluster.lose(1)
        wait_for(
            lambda: cluster.replicas().count(cluster.nodes[0]) == REPLICAS,
            "all replicas on the machine that is left",
            60,
        )
        assert cluster.get("/").startswith("two ")
