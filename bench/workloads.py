"""What is asked of every peer."""

from __future__ import annotations

from dataclasses import dataclass

from bench import app

MIB = 1024 * 1024
STATIC_FILE = "large.bin"
CONNECTIONS = (8, 64, 256, 1024)
USUAL = 64


@dataclass(frozen=True)
class Workload:
    """One kind of request. ``size`` is the length of the uncompressed answer, to see that a peer does the work;
    ``usual`` the numbers of connections of a default run, ``longer`` how many times as long it is measured."""

    name: str
    title: str
    path: str
    size: int
    usual: tuple[int, ...] = (USUAL,)
    upload: int = 0
    gzip: bool = False
    longer: int = 1
    slow_clients: int = 0

    @property
    def static(self) -> bool:
        return self.path.startswith("/static/")


HELLO = Workload("hello", "Hello, without a framework", "/hello", len(app.HELLO))
JSON = Workload("json", "Flask JSON", "/json", 0, usual=CONNECTIONS)
WAIT = Workload("wait", "50 ms wait", "/wait", 0)
LARGE = Workload("large", "100 kB JSON, gzip accepted", "/large", len(app.LARGE), gzip=True)
STATIC = Workload("static", "1 MiB static file", f"/static/{STATIC_FILE}", MIB)
UPLOAD = Workload("upload", "10 MiB upload", "/upload", 0, usual=(8,), upload=10 * MIB, longer=2)
SLOW = Workload("slow", "Flask JSON beside 200 slow clients", "/json", 0, slow_clients=200)
ALL = (HELLO, JSON, WAIT, LARGE, STATIC, UPLOAD, SLOW)
FASTAPI = Workload("fastapi", "FastAPI JSON", "/fastapi", 0)  # `bench.streams` asks for it
BY_NAME = {workload.name: workload for workload in (*ALL, FASTAPI)}


@dataclass(frozen=True, order=True)
class Cell:
    """One workload at one number of connections."""

    workload: str
    connections: int


def cells(which: str) -> list[Cell]:
    """Return what a run measures: ``quick``, ``default`` or ``full``."""
    if which == "quick":
        return [Cell(workload.name, workload.usual[0] if workload is UPLOAD else USUAL) for workload in ALL]
    if which == "full":
        return [Cell(workload.name, connections) for workload in ALL for connections in CONNECTIONS]
    return [Cell(workload.name, connections) for workload in ALL for connections in workload.usual]
