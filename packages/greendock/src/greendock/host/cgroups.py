"""How much CPU and memory this process may use: affinity, cpusets, and cgroup v1 and v2 limits.

A cgroup is bound by its own limits and by those of every group above it, so the tightest ancestor counts.
Sources: https://docs.kernel.org/admin-guide/cgroup-v2.html (``cpu.max``, ``cpuset.cpus.effective``, ``memory.max``),
https://docs.kernel.org/scheduler/sched-bwc.html (``cpu.cfs_quota_us``, ``cpu.cfs_period_us``) and
https://docs.kernel.org/admin-guide/cgroup-v1/memory.html (``memory.limit_in_bytes``).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

# cgroup v1 says "no limit" with the largest page-aligned 63-bit number; anything near it means the same.
_NO_MEMORY_LIMIT = 2**60


@dataclass(frozen=True)
class Limits:
    """``cpus`` in CPUs (1.5 is one and a half), ``memory`` in bytes (``None``: no limit), each with its reason."""

    cpus: float
    cpus_reason: str
    memory: int | None
    memory_reason: str


@dataclass(frozen=True)
class _Group:
    """One mounted cgroup hierarchy and this process's place in it."""

    version: int
    mount: Path
    path: PurePosixPath

    def ancestors(self) -> Iterator[Path]:
        """Yield this process's directory and each one above it, up to the mount point."""
        place = self.path
        while True:
            yield self.mount / str(place).lstrip("/")
            if place == place.parent:
                return
            place = place.parent


def read_limits(root: Path = Path("/"), affinity: int | None = None) -> Limits:
    """Return what binds this process.

    ``root`` is where ``/proc`` and ``/sys`` are found (another place in tests); ``affinity`` is the number of CPUs
    the scheduler may use (default: asked of the kernel).
    """
    available = affinity if affinity is not None else len(os.sched_getaffinity(0))
    cpus: list[tuple[float, str]] = [(float(available), "CPU affinity")]
    memory: list[tuple[int, str]] = []
    for group in _groups(root):
        for directory in group.ancestors():
            cpus += _cpus(group.version, directory)
            memory += _memory(group.version, directory)
    best_cpus = min(cpus, key=lambda item: item[0])
    best_memory = min(memory, default=None, key=lambda item: item[0])
    if best_memory is None:
        return Limits(*best_cpus, None, "no memory limit")
    return Limits(*best_cpus, *best_memory)


def memory_used(root: Path = Path("/")) -> int | None:
    """Return the memory in use by this process's cgroup, without file caches that can be dropped; ``None``: untold."""
    for group in _groups(root):
        directory = next(group.ancestors())
        v2 = group.version == 2
        text = _text(directory / ("memory.current" if v2 else "memory.usage_in_bytes"))
        if text.isdigit():
            stat = dict(line.split(None, 1) for line in _text(directory / "memory.stat").splitlines() if " " in line)
            return max(0, int(text) - int(stat.get("inactive_file" if v2 else "total_inactive_file", 0)))
    return None


def _cpus(version: int, directory: Path) -> Iterator[tuple[float, str]]:
    if version == 2:
        quota, _, period = _text(directory / "cpu.max").partition(" ")
        names = ["cpuset.cpus.effective"]
    else:
        quota = _text(directory / "cpu.cfs_quota_us")
        period = _text(directory / "cpu.cfs_period_us")
        names = ["cpuset.effective_cpus", "cpuset.cpus"]
    if quota.isdigit() and period.isdigit() and int(quota) > 0 and int(period) > 0:
        yield int(quota) / int(period), f"cgroup v{version} CPU quota"
    for name in names:
        count = _cpuset_size(_text(directory / name))
        if count:
            yield float(count), f"cgroup v{version} cpuset"
            return


def _memory(version: int, directory: Path) -> Iterator[tuple[int, str]]:
    text = _text(directory / ("memory.max" if version == 2 else "memory.limit_in_bytes"))
    if text.isdigit() and 0 < int(text) < _NO_MEMORY_LIMIT:
        yield int(text), f"cgroup v{version} memory limit"


def _cpuset_size(text: str) -> int:
    """Count the CPUs in a list such as ``0-3,8``; 0 for anything else."""
    count = 0
    try:
        for part in filter(None, text.split(",")):
            first, _, last = part.partition("-")
            count += int(last or first) - int(first) + 1
    except ValueError:
        return 0
    return count


def _groups(root: Path) -> Iterator[_Group]:
    """Yield every cgroup hierarchy that is mounted here and that this process belongs to."""
    places: dict[str, PurePosixPath] = {}
    for line in _text(root / "proc/self/cgroup").splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        places |= dict.fromkeys([""] if number == "0" else controllers.split(","), PurePosixPath(path or "/"))
    for line in _text(root / "proc/self/mountinfo").splitlines():
        before, _, after = line.partition(" - ")
        fields, tail = before.split(), after.split()
        if len(fields) < 5 or len(tail) < 3 or tail[0] not in ("cgroup", "cgroup2"):
            continue
        names = {""} if tail[0] == "cgroup2" else set(tail[2].split(",")) & {"cpu", "cpuset", "memory"}
        for name in sorted(names & places.keys()):
            mount = root / fields[4].lstrip("/")
            version = 2 if tail[0] == "cgroup2" else 1
            yield _Group(version, mount, _below(places[name], PurePosixPath(fields[3])))


def _below(path: PurePosixPath, mounted: PurePosixPath) -> PurePosixPath:
    """Return where ``path`` lies under a mount whose root is the group ``mounted``.

    In a container without a cgroup namespace ``path`` is the host's name for a group which the container sees
    at the mount point itself.
    """
    try:
        return PurePosixPath("/") / path.relative_to(mounted)
    except ValueError:
        return PurePosixPath("/")


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except (OSError, UnicodeDecodeError):
        return ""
