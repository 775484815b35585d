"""`python -m bench --containers`: this stack and another one, asked and measured in their containers.

The images it builds stay, under the tag a whole run would use.
"""

from __future__ import annotations

import subprocess

from bench import containers, load, run
from bench.peers import every
from bench.workloads import HELLO, Cell

NAMES = ("greendock", "greendock-direct", "tutorial")


def docker(*arguments: str) -> str:
    return subprocess.run(["docker", *arguments], check=True, capture_output=True, text=True, timeout=60).stdout


def test_peers_are_measured_in_containers_of_which_none_is_left() -> None:
    setup = containers.setup(print)
    with run.started([peer for peer in every() if peer.name in NAMES], print, setup) as running:
        samples = {one.peer.name: load.measure(one, Cell(HELLO.name, 8), 0, 1) for one in running}
        projects = {one.project for one in running if isinstance(one, containers.Containers)}
    assert samples.keys() == set(NAMES)
    for sample in samples.values():
        assert sample.rate > 0
        assert sample.cpu_seconds > 0
        assert sample.memory > 0
    for project in projects:
        for kind in ("container", "network", "volume"):
            every_one = ["--all"] if kind == "container" else []
            assert docker(kind, "ls", "--quiet", *every_one, "--filter", f"name={project}").strip() == ""
