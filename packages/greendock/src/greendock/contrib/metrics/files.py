"""The folder of memory-mapped files, one for each master, and what becomes of a dead worker's files."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# The kinds of file that only ever grow, whose numbers stay right when they are added up.
_ADDED_UP = ("counter", "histogram", "summary")


@dataclass(frozen=True)
class Folder:
    """``base`` is shared by an old and a new master while a USR2 upgrade lasts; each has a folder of its own in it."""

    base: Path
    master: int

    @property
    def path(self) -> Path:
        """The folder that ``PROMETHEUS_MULTIPROC_DIR`` names."""
        return self.base / str(self.master)

    def create(self) -> None:
        """Make the folder, and remove those of masters that are gone. Raises ``OSError``."""
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        for other in self.base.iterdir():
            if other.name.isdigit() and not Path("/proc", other.name).exists():
                shutil.rmtree(other, ignore_errors=True)

    def remove(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.path, ignore_errors=True)

    def bury(self, worker: int) -> None:
        """Add what a dead worker has counted to the files of the dead, and remove its own.

        Nothing is done while the exporter reads: the files count there as they are, and go with the next one's.
        """
        from prometheus_client.multiprocess import mark_process_dead  # noqa: PLC0415

        mark_process_dead(worker, str(self.path))  # type: ignore[no-untyped-call]
        (self.path / f"{worker}.dead").touch()
        with locked(self.path, wait=False) as free:
            if not free:
                return
            for mark in self.path.glob("*.dead"):
                for kind in _ADDED_UP:
                    _add_up(self.path / f"{kind}_{mark.stem}.db", self.path / f"{kind}_dead.db")
                mark.unlink()


def _add_up(source: Path, target: Path) -> None:
    from prometheus_client.mmap_dict import MmapedDict  # noqa: PLC0415

    # The library has no types here.
    files: Any = MmapedDict
    if not source.exists():
        return
    sums = files(str(target))
    try:
        for key, value, _, _ in files.read_all_values_from_file(str(source)):
            sums.write_value(key, sums.read_value(key)[0] + value, 0.0)
    finally:
        sums.close()
    source.unlink()


@contextmanager
def locked(folder: Path, *, wait: bool) -> Iterator[bool]:
    """Hold the folder's lock between reading all files and adding some up; yield whether it was free."""
    descriptor = os.open(folder / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
            return
        yield True
    finally:
        os.close(descriptor)


def sum_of(file: Path, sample: str) -> float:
    """Return the sum of all series of ``sample`` in one process's file; 0 for a file that is not there."""
    from prometheus_client.mmap_dict import MmapedDict  # noqa: PLC0415

    files: Any = MmapedDict
    try:
        values = files.read_all_values_from_file(str(file))
        return float(sum(value for key, value, _, _ in values if json.loads(key)[1] == sample))
    except FileNotFoundError:
        return 0.0
