"""How many requests are lost while replicas are replaced under load.

Two replicas of the application's image are replaced one after the other, new one first, four times, while clients on
kept-alive connections ask with GET and POST. Four ways: by DNS alone, without the second try that the template makes;
with it, as shipped; with a fallback that resolves the name afresh instead; and by pointing Nginx at the new pair before
the old one is stopped.

`python -m bench.replacing greendock-nginx greendock-app [WAY…]`; needs Docker and both images.
"""

from __future__ import annotations

import collections
import http.client
import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CLIENTS, ROUNDS = 16, 4
FRESH = """
        error_page 418 502 504 = @fresh;
        if ($request_method !~ ^(GET|HEAD|OPTIONS)$) { return 418; }
        proxy_pass http://app;
    }
    set $app_fresh app:8000;
    location @fresh { proxy_pass http://$app_fresh; }
"""


def docker(*arguments: str) -> str:
    return subprocess.run(["docker", *arguments], check=True, capture_output=True, text=True).stdout.strip()


def wait_healthy(container: str) -> None:
    deadline = time.monotonic() + 60
    while docker("inspect", "--format", "{{.State.Health.Status}}", container) != "healthy":
        if time.monotonic() > deadline:
            raise TimeoutError(docker("logs", container))
        time.sleep(0.1)


class Load:
    """Clients that ask without a pause and count what came back."""

    def __init__(self, port: int) -> None:
        self.port, self.stop, self.lock = port, threading.Event(), threading.Lock()
        self.outcomes: collections.Counter[str] = collections.Counter()
        self.slowest = 0.0
        self.threads = [threading.Thread(target=self._ask, args=(n,)) for n in range(CLIENTS)]
        for thread in self.threads:
            thread.start()

    def _ask(self, number: int) -> None:
        method = ("GET", "POST")[number % 2]
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        while not self.stop.is_set():
            begun = time.monotonic()
            try:
                connection.request(method, "/", body=b"x=1" if method == "POST" else None)
                response = connection.getresponse()
                response.read()
                # The sample answers 405 to POST: an answer of the application's.
                outcome = "answered" if response.status in (200, 405) else f"{method} {response.status}"
            except (http.client.HTTPException, OSError) as error:
                outcome = f"{method} {type(error).__name__}"
                connection.close()
            with self.lock:
                self.outcomes[outcome] += 1
                self.slowest = max(self.slowest, time.monotonic() - begun)

    def end(self) -> dict[str, object]:
        self.stop.set()
        for thread in self.threads:
            thread.join()
        return dict(self.outcomes) | {"slowest": round(self.slowest, 2)}


def _change(file: Path, way: str) -> None:
    """Take the second try out of the template for `dns`, and put the other fallback in for `fresh`."""
    if way not in ("dns", "fresh"):
        return
    text = file.read_text()
    for status in (502, 504):
        again = f"        error_page {status} = @again_after_{status};\n"
        assert again in text
        text = text.replace(
            again, "" if way == "fresh" else f"        error_page {status} /__errors/error.$error_format;\n"
        )
    if way == "fresh":
        text = text.replace("        proxy_pass http://app;\n    }\n", FRESH, 1)
    file.write_text(text)


def measure(way: str, proxy: str, application: str) -> dict[str, object]:
    network = f"measure-{way}"
    docker("network", "create", network)
    containers: list[str] = []

    def replica() -> str:
        container = docker(
            *("run", "--detach", "--network", network, "--network-alias", "app", "--init"),
            *("--tmpfs", "/run/greendock:uid=10001,gid=10001,mode=0700", "--env", "FORWARDED_ALLOW_IPS=network"),
            *("--env", "WEB_CONCURRENCY=1", application),
        )
        containers.append(container)
        return container

    def address(container: str) -> str:
        form = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}:8000"
        return docker("inspect", "--format", form, container)

    try:
        with tempfile.TemporaryDirectory() as folder:
            own = Path(folder) / "nginx"
            subprocess.run(["cp", "-r", str(ROOT / "nginx"), str(own)], check=True)
            _change(own / "templates" / "servers" / "app.conf", way)
            Path(folder).chmod(0o755)
            pair = [replica(), replica()]
            for container in pair:
                wait_healthy(container)
            nginx = docker(
                *("run", "--detach", "--network", network, "--publish", "127.0.0.1::8080"),
                *("--tmpfs", "/run/nginx:mode=1777", "--volume", f"{own}:/opt/greendock/nginx:ro", proxy),
            )
            containers.append(nginx)
            wait_healthy(nginx)
            load = Load(int(docker("port", nginx, "8080/tcp").splitlines()[0].rpartition(":")[2]))
            time.sleep(2)
            for _ in range(ROUNDS):
                if way == "upstream":
                    new = [replica(), replica()]
                    for container in new:
                        wait_healthy(container)
                    command = ("python3", "-m", "greendock.proxy", "upstream", *map(address, new))
                    docker("exec", nginx, *command)
                    docker("stop", "--time", "60", *pair)
                    pair = new
                    continue
                for position, old in enumerate(pair):
                    pair[position] = replica()
                    wait_healthy(pair[position])
                    docker("stop", "--time", "60", old)
            time.sleep(2)
            return load.end()
    finally:
        docker("rm", "--force", "--volumes", *containers)
        docker("network", "rm", network)


if __name__ == "__main__":
    for way in sys.argv[3:] or ("dns", "again", "fresh", "upstream"):
        print(json.dumps({"way": way} | measure(way, sys.argv[1], sys.argv[2])), flush=True)
