"""What the stack costs beside the application: `python -m bench.cost`, some minutes.

Start, image sizes and builds in real containers, of a copy of this checkout under a name of its own; memory with real
Gunicorn processes. Writes bench/results/cost-<date>.json; `python -m bench --document` puts it into the page.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path

from bench import cost_table, results, run
from bench.ask import get
from bench.peers.model import OURS, ROOT, Peer, Place, Program, installed
from bench.processes import Processes
from bench.running import private

WORKERS = 4
_IMPORT = "import time; t = time.perf_counter(); import app.main; print(time.perf_counter() - t)"
_BASES = {"app": ("PYTHON_IMAGE", "python:3.14-slim"), "nginx": ("NGINX_IMAGE", "nginx:1.30")}
_PRELOAD = {"GUNICORN_PRELOAD_APP": "true"}
_MEMORY = {
    "as shipped": {},
    "GUNICORN_PRELOAD_APP=true": _PRELOAD,
    "the same, and gc.freeze in when_ready": _PRELOAD | {"GUNICORN_WHEN_READY": "bench.freeze:when_ready"},
}


def main() -> int:
    """Measure everything the options ask for, print it, and keep it."""
    parser = argparse.ArgumentParser(prog="python -m bench.cost", description=__doc__)
    parser.add_argument("--repeats", type=int, default=5, help="starts of the stack (default: 5)")
    parser.add_argument("--no-containers", action="store_true", help="memory only")
    options = parser.parse_args()
    found = {} if options.no_containers else containers(options.repeats)
    found |= memory()
    found["Load average of the machine when done"] = f"{run.load_average()[0]:.1f}"
    print(cost_table.markdown(found))
    if not options.no_containers:
        path = results.FOLDER / f"cost-{run.now()}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")
        print(f"written: {path}", file=sys.stderr)
    return 0


def memory() -> dict[str, str]:
    """Return memory for each worker of the sample application, with and without preloading."""
    return {f"Memory of each worker beyond what is shared (USS), {name}": _worker(env) for name, env in _MEMORY.items()}


def _worker(environment: Mapping[str, str]) -> str:
    def programs(place: Place) -> list[Program]:
        place.write("gunicorn.conf.py", (ROOT / "gunicorn.conf.py").read_text())
        ours = {
            "APP_MODULE": "app.main:app",
            "GUNICORN_BIND": f"127.0.0.1:{place.port()}",
            "WEB_CONCURRENCY": str(WORKERS),
            "GREENDOCK_READINESS_FILE": str(place.folder / "ready"),
            "GREENDOCK_DRAIN_SECONDS": "0",
        }
        return [Program((installed("greendock"), "run", "gunicorn"), ours | dict(environment))]

    with tempfile.TemporaryDirectory(prefix="bench-") as folder, ExitStack() as stack:
        place = Place(Path(folder), Path(folder), "")
        running = Processes(Peer("memory", "", OURS, "", "", programs), place)
        stack.callback(running.end)
        running.start()
        running.wait("/livez")
        load = ["wrk", "-t1", "-c32", "-d3s", f"http://127.0.0.1:{place.port()}/status.json"]
        subprocess.run(load, stdout=subprocess.DEVNULL, check=True)
        pids = running.pids()
        master = min(pids)
        workers = [private(pid) for pid in pids if pid != master]
        each, together = statistics.median(workers) / 2**20, running.memory() / 2**20
        return f"{each:.1f} MiB (all {len(pids)} processes: {together:.0f} MiB PSS)"


def containers(repeats: int) -> dict[str, str]:
    """Return build times, image sizes and start times of a copy of this checkout."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, ExitStack() as stack:
        compose = _Compose(Path(folder))
        stack.callback(compose.remove)
        found = {"Build of both images without any cache": f"{_seconds(lambda: compose('build', '--no-cache')):.1f} s"}
        module = Path(folder) / "app" / "main.py"
        module.write_text(module.read_text() + "\n# changed\n")
        found["Build after a change in app/ alone"] = f"{_seconds(lambda: compose('build')):.1f} s"
        found |= {f"Image {service}": compose.size(service) for service in _BASES}
        imports, starts, answers = zip(*(compose.start() for _ in range(repeats)), strict=True)
        found["Import of the sample application, in its container"] = _median(imports)
        found["`docker compose up --wait` until it returns"] = _median(starts)
        found["… until the first request is answered"] = _median(answers)
        return found


class _Compose:
    """A copy of this checkout, run by Compose under a name, a tag and a port of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.name = folder, f"bench{os.getpid()}"
        self.place = Place(folder, folder, "")
        published = f"127.0.0.1:{self.place.port()}"
        self.environment = os.environ | {
            "COMPOSE_PROJECT_NAME": self.name,
            "GREENDOCK_TAG": self.name,
            "NGINX_PUBLISHED_PORT": published,
        }
        listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
        for name in filter(None, listed.stdout.split("\0")):
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes((ROOT / name).read_bytes())

    def __call__(self, *arguments: str) -> None:
        done = subprocess.run(
            ["docker", "compose", *arguments],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise SystemExit(f"docker compose {' '.join(arguments)}:\n{done.stdout}{done.stderr}")

    def start(self) -> tuple[float, float, float]:
        """Return the seconds of the application's import, of `up --wait`, and until the first good answer."""
        image = f"greendock-app:{self.name}"
        load = float(_output("docker", "run", "--rm", "--entrypoint", "python", image, "-c", _IMPORT))
        begin = time.perf_counter()
        self("up", "--detach", "--wait")
        up = time.perf_counter() - begin
        while get(self.place.port(), "/livez")[0] != 200:
            time.sleep(0.01)
        answered = time.perf_counter() - begin
        self("down", "--timeout", "5")
        return load, up, answered

    def size(self, service: str) -> str:
        """Return an image's size, and how much of it is not the base's."""
        variable, default = _BASES[service]
        base = _size(os.environ.get(variable, default))
        image = _size(f"greendock-{service}:{self.name}")
        return f"{image / 1e6:.0f} MB ({(image - base) / 1e6:.1f} MB over its base)"

    def remove(self) -> None:
        """Leave no container, network, volume or tag behind."""
        self("down", "--timeout", "5", "--volumes", "--rmi", "all")


def _size(image: str) -> int:
    return int(_output("docker", "image", "inspect", "--format", "{{.Size}}", image))


def _output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def _seconds(action: Callable[[], None]) -> float:
    begin = time.perf_counter()
    action()
    return time.perf_counter() - begin


def _median(values: tuple[float, ...]) -> str:
    return f"{statistics.median(values):.2f} s ({min(values):.2f}–{max(values):.2f})"


if __name__ == "__main__":
    raise SystemExit(main())
