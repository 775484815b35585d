"""Limits from recorded cgroup trees, and worker counts from limits."""

from __future__ import annotations

from pathlib import Path

import pytest

from greendock.host.cgroups import Limits, read_limits
from greendock.server.build import build
from greendock.server.workers import count_workers

MIB = 1024 * 1024
V2_MOUNT = "30 23 0:26 {root} /sys/fs/cgroup rw,nosuid - cgroup2 cgroup rw\n"
V1_NAMES = ("cpu,cpuacct", "cpuset", "memory")


def v1_mounts(root: str = "/") -> str:
    return "".join(
        f"3{i} 23 0:2{i} {root} /sys/fs/cgroup/{name} rw - cgroup cgroup rw,{name}\n" for i, name in enumerate(V1_NAMES)
    )


def tree(root: Path, cgroup: str, mounts: str, files: dict[str, str]) -> Path:
    """Write a recorded tree: what /proc said, and the cgroup files."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(cgroup)
    (root / "proc/self/mountinfo").write_text("1 0 8:1 / / rw - ext4 /dev/vda rw\n" + mounts)
    for name, text in files.items():
        path = root / "sys/fs/cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    return root


NO_LIMIT_V1 = "9223372036854771712"
TREES = {
    "v2 container": (
        "0::/\n",
        V2_MOUNT.format(root="/"),
        {"cpu.max": "150000 100000", "memory.max": str(300 * MIB), "cpuset.cpus.effective": "0-7"},
        (1.5, "cgroup v2 CPU quota", 300 * MIB),
    ),
    "v2 without limits": (
        "0::/user.slice\n",
        V2_MOUNT.format(root="/"),
        {"user.slice/cpu.max": "max 100000", "user.slice/memory.max": "max"},
        (8.0, "CPU affinity", None),
    ),
    "v2 cpuset": (
        "0::/a\n",
        V2_MOUNT.format(root="/"),
        {"a/cpuset.cpus.effective": "0-1,5"},
        (3.0, "cgroup v2 cpuset", None),
    ),
    "systemd slice: an ancestor is tighter": (
        "0::/web.slice/app.service\n",
        V2_MOUNT.format(root="/"),
        {
            "web.slice/cpu.max": "200000 100000",
            "web.slice/app.service/cpu.max": "400000 100000",
            "web.slice/memory.max": str(512 * MIB),
            "web.slice/app.service/memory.max": "max",
        },
        (2.0, "cgroup v2 CPU quota", 512 * MIB),
    ),
    "kubernetes v2, no cgroup namespace": (
        "0::/kubepods.slice/kubepods-burstable.slice/pod1.slice/cri-abc.scope\n",
        V2_MOUNT.format(root="/kubepods.slice/kubepods-burstable.slice/pod1.slice/cri-abc.scope"),
        {"cpu.max": "50000 100000", "memory.max": str(256 * MIB)},
        (0.5, "cgroup v2 CPU quota", 256 * MIB),
    ),
    "v1 container": (
        "4:cpu,cpuacct:/docker/abc\n3:cpuset:/docker/abc\n2:memory:/docker/abc\n",
        v1_mounts("/docker/abc"),
        {
            "cpu,cpuacct/cpu.cfs_quota_us": "250000",
            "cpu,cpuacct/cpu.cfs_period_us": "100000",
            "cpuset/cpuset.cpus": "0-3",
            "memory/memory.limit_in_bytes": str(400 * MIB),
        },
        (2.5, "cgroup v1 CPU quota", 400 * MIB),
    ),
    "v1 without limits": (
        "4:cpu,cpuacct:/\n2:memory:/\n",
        v1_mounts(),
        {
            "cpu,cpuacct/cpu.cfs_quota_us": "-1",
            "cpu,cpuacct/cpu.cfs_period_us": "100000",
            "memory/memory.limit_in_bytes": NO_LIMIT_V1,
        },
        (8.0, "CPU affinity", None),
    ),
    "v1 nested: the tightest ancestor": (
        "4:cpu,cpuacct:/a/b/c\n2:memory:/a/b/c\n",
        v1_mounts(),
        {
            "cpu,cpuacct/a/cpu.cfs_quota_us": "100000",
            "cpu,cpuacct/a/cpu.cfs_period_us": "100000",
            "cpu,cpuacct/a/b/c/cpu.cfs_quota_us": "-1",
            "memory/a/b/memory.limit_in_bytes": str(128 * MIB),
            "memory/a/b/c/memory.limit_in_bytes": NO_LIMIT_V1,
        },
        (1.0, "cgroup v1 CPU quota", 128 * MIB),
    ),
    "hybrid: limits in v1, an empty v2 beside": (
        "4:cpu,cpuacct:/x\n2:memory:/x\n0::/x\n",
        v1_mounts() + "40 23 0:30 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n",
        {
            "cpu,cpuacct/x/cpu.cfs_quota_us": "300000",
            "cpu,cpuacct/x/cpu.cfs_period_us": "100000",
            "memory/x/memory.limit_in_bytes": str(64 * MIB),
        },
        (3.0, "cgroup v1 CPU quota", 64 * MIB),
    ),
    "nothing there at all": ("", "", {}, (8.0, "CPU affinity", None)),
    "nonsense in every file": (
        "0::/\nnonsense\n",
        V2_MOUNT.format(root="/") + "short - cgroup2\n",
        {"cpu.max": "many some", "memory.max": "-5", "cpuset.cpus.effective": "a-b"},
        (8.0, "CPU affinity", None),
    ),
}


@pytest.mark.parametrize("name", TREES)
def test_a_recorded_tree_gives_the_tightest_limits(tmp_path: Path, name: str) -> None:
    cgroup, mounts, files, (cpus, reason, memory) = TREES[name]
    limits = read_limits(tree(tmp_path, cgroup, mounts, files), affinity=8)
    assert (limits.cpus, limits.cpus_reason, limits.memory) == (cpus, reason, memory)


def test_affinity_binds_when_it_is_the_smallest(tmp_path: Path) -> None:
    limits = read_limits(tree(tmp_path, "0::/\n", V2_MOUNT.format(root="/"), {"cpu.max": "400000 100000"}), affinity=1)
    assert (limits.cpus, limits.cpus_reason) == (1.0, "CPU affinity")


def test_this_machine_has_at_least_a_part_of_a_cpu() -> None:
    assert read_limits().cpus > 0


def limits(cpus: float, memory: int | None = None) -> Limits:
    return Limits(cpus, "CPU quota", memory, "memory limit")


@pytest.mark.parametrize(("cpus", "workers"), [(0.2, 1), (0.5, 2), (1, 3), (1.5, 4), (2, 5), (4, 9)])
def test_two_workers_for_each_cpu_and_one_more(cpus: float, workers: int) -> None:
    count = count_workers(limits(cpus))
    assert (count.number, count.reason) == (workers, f"floor(2 × {cpus:g} CPUs) + 1, by CPU quota")


@pytest.mark.parametrize(
    ("environment", "workers"),
    [
        ({"GUNICORN_WORKER_CLASS": "asgi"}, 3),
        ({"GUNICORN_WORKER_CLASS": "asgi", "WORKERS_PER_CORE": "2"}, 5),
        ({"GUNICORN_WORKER_CLASS": "lean"}, 5),
        ({"GUNICORN_WORKER_CLASS": "lean", "WORKERS_PER_CORE": "1"}, 3),
    ],
)
def test_an_event_loop_gets_one_worker_for_each_cpu_unless_told_otherwise(
    environment: dict[str, str], workers: int
) -> None:
    assert build(environment, limits=limits(2)).settings["workers"].value == workers


def test_memory_bounds_the_count_and_says_so() -> None:
    count = count_workers(limits(4, 300 * MIB), memory_per_worker=128 * MIB)
    assert (count.number, count.reason) == (2, "300 MiB ÷ 128 MiB a worker, by memory limit")


def test_max_workers_bounds_the_count_and_says_so() -> None:
    count = count_workers(limits(4), most=3)
    assert count.number == 3
    assert count.reason.startswith("MAX_WORKERS")


def test_there_is_always_one_worker() -> None:
    assert count_workers(limits(1, 10 * MIB), memory_per_worker=128 * MIB).number == 1
    assert count_workers(limits(1), per_core=0).number == 1
