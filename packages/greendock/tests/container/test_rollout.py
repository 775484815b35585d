"""``greendock rollout`` on real containers: what it loses under load, and what a failure leaves behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from contextlib import ExitStack
from pathlib import Path

import pytest

from greendock.proxy.static import fingerprint
from greendock.testing.load import Result, Running, load, slow_requests, table, uploads, websocket
from tests.container.stack import Site, started
from tests.container.support import docker
from tests.support import wait_for

# Short where nothing is measured; the defaults take longer for slower clients.
QUICK = {"NGINX_KEEPALIVE_MIN_TIMEOUT": "1s", "GREENDOCK_DRAIN_SECONDS": "1"}


class Everything:
    """All kinds of client at once."""

    def __init__(self, url: str, rate: int) -> None:
        self._stack = ExitStack()
        self._clients = {
            "GET": load(url, rate=rate),
            "POST": load(url, rate=rate, post=True),
            "2 s": slow_requests(f"{url}slow"),
            "upload": uploads(f"{url}upload"),
            "WebSocket": websocket(f"{url}ws"),
        }
        self._running: dict[str, Running] = {}

    def __enter__(self) -> Everything:
        self._running = {name: self._stack.enter_context(client) for name, client in self._clients.items()}
        return self

    def __exit__(self, *details: object) -> None:
        self._stack.close()

    @property
    def results(self) -> dict[str, Result]:
        return {name: running.result for name, running in self._running.items()}


@pytest.mark.parametrize(("replicas", "asgi"), [(3, False), (1, True)], ids=["3", "asgi"])
def test_a_rollout_under_load_loses_no_request(tmp_path: Path, replicas: int, asgi: bool) -> None:
    with started(tmp_path / "site", replicas, asgi=asgi) as site:
        before = site.containers("app") + site.containers("nginx")
        style = site.folder / "app/static/app.css"
        old = fingerprint(style)
        site.set_version("two")
        style.write_text("/* two */")
        (site.folder / "app/static/page.0a1b2c3d.js").unlink()
        with Everything(site.url(), rate=100) as clients:
            # Every client is at work before it begins.
            wait_for(lambda: clients.results["2 s"].total >= 3, "slow requests have been answered")
            output = site.rollout()
        shown = table(clients.results.items()) + "\n" + output
        print(shown)
        assert not any(result.failed for result in clients.results.values()), shown
        assert all(result.total for result in clients.results.values()), shown
        if asgi:
            closes = {how: n for how, n in clients.results["WebSocket"].outcomes.items() if how.startswith("closed")}
            assert closes == {"closed 1012": 1}, shown
        assert site.version() == "two"
        assert len(site.containers("app")) == replicas
        assert not set(site.containers("app") + site.containers("nginx")) & set(before)
        # A page of either version finds its own.
        assert site.static("app.css").text == "/* two */"
        assert "two" not in site.get(f"/static/app.css?v={old}").raise_for_status().text
        assert site.get("/static/page.0a1b2c3d.js").text == "page();\n"
        assert Compose(site).leaves_alone(replicas)


def test_the_version_before_comes_back_with_one_command(tmp_path: Path) -> None:
    with started(tmp_path / "site", settings=QUICK) as site:
        assert "there is no" in site.rollout("--back", expect=1)
        site.set_version("two")
        site.rollout()
        with load(site.url(), rate=50, post=True) as running:
            site.rollout("--back")
            assert site.version() == "one"

            site.set_version("three")
            assert "--promote" in site.rollout("--canary", "30%", "--hold")
            wait_for(lambda: versions(site) == {"one", "three"}, "both versions answer")
            assert "undo" in site.rollout("--back")
            assert versions(site) == {"one"}
            site.rollout("--canary", "30%", "--hold")
            site.rollout("--promote")
            assert versions(site) == {"three"}
            assert "no canary is under way" in last_line(site.rollout("--promote", expect=1))
        assert running.result.failed == 0, running.result
        assert Compose(site).leaves_alone()
        assert follows_dns(site)


def test_whatever_fails_the_old_version_goes_on_serving(tmp_path: Path) -> None:
    with started(tmp_path / "site", settings=QUICK) as site, load(site.url(), rate=50, post=True) as running:
        before = site.containers("app")

        site.set_version("two")
        assert "start 1 replica" in site.rollout("--dry-run")

        dockerfile = site.folder / "Dockerfile"
        good = dockerfile.read_text()
        dockerfile.write_text(good + "RUN false\n")
        assert "does not build" in last_line(site.rollout(expect=1))
        dockerfile.write_text(good)

        settings = (site.folder / ".env").read_text()
        (site.folder / ".env").write_text(settings + "DB_PASSWORD=s3$cret\n")
        output = site.rollout(expect=1)
        assert "DB_PASSWORD=(hidden) (from .env line" in output
        assert "the old version serves" in last_line(output)
        (site.folder / ".env").write_text(settings)

        # It starts, and answers with 500: seen before anybody gets it, or by what those see who do.
        site.set_version("bad")
        site.environment["GREENDOCK_ROLLOUT_CHECK"] = "/fails"
        output = site.rollout(expect=1)
        assert "the new version answers /fails with 500; the old version serves" in last_line(output)
        site.environment["GREENDOCK_ROLLOUT_CHECK"] = "off"
        with load(f"{site.url()}fails", rate=50) as failing:
            output = site.rollout("--canary", "20%", "--for", "60", expect=1)
            assert "the new version is worse" in last_line(output)
            site.environment["GREENDOCK_ROLLOUT_WATCH"] = "60"
            output = site.rollout(expect=1)
            assert "the new version is worse" in last_line(output)
        assert set(failing.result.outcomes) == {"200", "500"}, failing.result
        assert failing.result.outcomes["500"] < failing.result.outcomes["200"]
        del site.environment["GREENDOCK_ROLLOUT_CHECK"], site.environment["GREENDOCK_ROLLOUT_WATCH"]
        site.set_version("two")

        site.edit("app/main.py", lambda text: text + "\nraise RuntimeError('broken on purpose')\n")
        output = site.rollout(expect=1)
        assert "RuntimeError: broken on purpose" in output
        assert "does not become healthy" in last_line(output)
        assert "the old version serves" in last_line(output)

        site.edit("app/main.py", lambda text: text.replace("raise RuntimeError", "import time; time.sleep"))
        site.edit("app/main.py", lambda text: text.replace("'broken on purpose'", "60"))
        assert "not healthy after 3 s (starting: 0/1 workers" in last_line(site.rollout("--timeout", "3", expect=1))

        rolling = site.start_rollout()
        wait_for_step(rolling, "wait until healthy")
        assert "another rollout" in last_line(site.rollout(expect=1))
        os.kill(rolling.pid, signal.SIGTERM)
        assert "interrupted; the old version serves" in last_line(rolling.communicate()[0])
        assert rolling.returncode == 1

        assert site.containers("app") == before
        assert site.version() == "one"
        assert follows_dns(site)
        assert Compose(site).leaves_alone()
    assert running.result.failed == 0, running.result


def test_nginx_is_reloaded_and_replaced_without_loss_and_only_by_one_that_works(tmp_path: Path) -> None:
    site = Site(tmp_path / "site", QUICK)
    mount = "      - ./nginx/server.d:/opt/greendock/nginx/server.d:ro\n"
    site.edit("docker-compose.yml", lambda text: text.replace("      - proxy-buffers", f"{mount}      - proxy-buffers"))
    mine = site.folder / "nginx/server.d/mine.conf"
    try:
        site.start(replicas=2)
        apps, proxies = site.containers("app"), site.containers("nginx")

        with load(site.url(), rate=100) as reading, load(site.url(), rate=100, post=True) as writing:
            mine.write_text("location = /mine { return 200 mine; }\n")
            site.rollout("--nginx", "--no-build")
            assert site.get("/mine").text == "mine"

            mine.write_text("nonsense on;\n")
            assert "nginx -t refused" in site.rollout("--nginx", "--no-build", expect=1)
            site.set_version("two")
            output = site.rollout("--app", expect=1)
            assert "nginx -t refused" in last_line(output)
            assert "the old version serves" in last_line(output)
            (site.folder / "app/static/app.css").write_text("/* two */")
            output = site.rollout(expect=1)
            assert "nginx -t refused" in output
            assert "the old version serves" in last_line(output)
            assert (site.containers("app"), site.containers("nginx")) == (apps, proxies)
            assert site.version() == "one"

            mine.unlink()
            site.rollout("--nginx")
        assert not reading.result.failed + writing.result.failed, (reading.result, writing.result)
        assert site.containers("app") == apps
        assert not set(site.containers("nginx")) & set(proxies)
        assert site.version() == "one"
        assert Compose(site).leaves_alone(2)
    finally:
        site.down()


# What is no server outlives every limit of a server's healthcheck: here a second.
LIMITS = "services: {release: &limit {environment: {GREENDOCK_RESTART_AFTER: 1}}, worker: *limit}"
OUTLIVES = ("run", "--rm", "--no-deps", "--no-TTY", "--env", "GREENDOCK_RESTART_AFTER=1", "app", "sh", "-c")
WORKER = "import signal; print('a worker begins', flush=True); signal.pause()\n"


def test_the_release_command_runs_once_before_anything_new_serves_and_workers_follow(tmp_path: Path) -> None:
    settings = {"GREENDOCK_RELEASE_COMMAND": "sh app/release.sh"}
    settings |= {"COMPOSE_PROFILES": "worker", "WORKER_COMMAND": "python app/worker.py"}
    site = Site(tmp_path / "site", QUICK | settings)
    (site.folder / "app/worker.py").write_text(WORKER)
    (site.folder / "app/release.sh").write_text("echo migration one")
    (site.folder / "docker-compose.override.yml").write_text(LIMITS)
    try:
        site.start()
        assert site.compose("logs", "--no-log-prefix", "release").stdout.count("migration one") == 1
        apps, workers = site.containers("app"), site.containers("worker")

        with load(site.url(), rate=50, post=True) as running:
            site.set_version("broken")
            (site.folder / "app/release.sh").write_text("echo migration broken; exit 3")
            output = site.rollout(expect=1)
            assert "migration broken" in output
            assert "ended with exit code 3" in last_line(output)
            assert "the old version serves" in last_line(output)
            assert (site.containers("app"), site.containers("worker")) == (apps, workers)

            site.set_version("two")
            (site.folder / "app/release.sh").write_text("echo migration two; sleep 5; echo migrated")
            output = site.rollout()
            assert output.count("migration two") == 1
            assert output.index("migrated") < output.index("start 1 replica") < output.index("replace worker")
        assert running.result.failed == 0, running.result
        assert site.version() == "two"
        assert len(site.containers("worker")) == 1
        assert not set(site.containers("worker")) & set(workers)
        assert site.health("worker") == "healthy"
        assert site.inspect("worker")["RestartCount"] == 0
        assert site.compose(*OUTLIVES, "sleep 5; echo lived").stdout == "lived\n"
        assert Compose(site).leaves_alone()

        site.set_version("three")
        rolling = site.start_rollout()
        wait_for_step(rolling, "the release command begins")
        os.kill(rolling.pid, signal.SIGTERM)
        assert "interrupted; the old version serves" in last_line(rolling.communicate()[0])
        assert site.compose("ps", "--all", "--quiet", "--orphans=false", "release").stdout == "", "it left no container"
        assert Compose(site).leaves_alone()
    finally:
        site.down()


# What a rollout of both has just told when it is killed, and which version serves then: each state it can leave.
STEPS = [
    (["create a container of Nginx"], "old"),
    (["start 1 replica"], "old"),
    (["ask each new replica"], "old"),
    (["point Nginx at the new ones"], "either"),
    (["watch the answers"], "new"),
    (["start Nginx beside"], "both"),  # until the next run: the new Nginx follows DNS
    (["start Nginx beside", "let the old ones drain"], "new"),
    (["let the old Nginx end"], "new"),
]


def test_a_rollout_killed_at_any_step_loses_nothing_and_the_next_run_clears_up(tmp_path: Path) -> None:
    """Each run clears up after the one before, and is killed itself at another step."""
    site = Site(tmp_path / "site", QUICK | {"GREENDOCK_ROLLOUT_WATCH": "1"})
    image = f"greendock-app:{site.name}"
    try:
        site.start()
        docker("tag", image, f"{image}-one")
        site.set_version("two")
        site.compose("build", "app")
        docker("tag", image, f"{image}-two")
        with load(site.url(), rate=50) as reading, load(site.url(), rate=50, post=True) as writing:
            before, after = "one", "two"
            for number, (steps, serves) in enumerate(STEPS):
                docker("tag", f"{image}-{after}", image)
                label_proxy(site, str(number))
                seen = kill_at(site, *steps)
                expected = {"old": [before], "new": [after]}.get(serves, [before, after])
                wait_for(lambda: site.version() in expected, f"{expected} after {steps}: {seen}")  # noqa: B023
                if serves in ("new", "both") or (serves == "either" and site.version() == after):
                    before, after = after, before
            docker("tag", f"{image}-{after}", image)
            site.rollout("--no-build")
        assert site.version() == after
        assert len(site.containers("app")) == len(site.containers("nginx")) == 1
        assert site.inspect("nginx")["Config"]["Labels"]["number"] == str(len(STEPS) - 1)
        assert follows_dns(site)
        assert Compose(site).leaves_alone()
    finally:
        site.down()
        docker("image", "rm", f"{image}-one", f"{image}-two", check=False)
    assert not reading.result.failed + writing.result.failed, (reading.result, writing.result)


def label_proxy(site: Site, number: str) -> None:
    """Make another image of Nginx, which differs in a label."""
    image = f"greendock-nginx:{site.name}"
    command = ("docker", "build", "--quiet", "--tag", image, "-")
    subprocess.run(command, input=f"FROM {image}\nLABEL number={number}\n".encode(), check=True, capture_output=True)


def kill_at(site: Site, *steps: str) -> str:
    """Start a rollout, kill it, with every command it has started, when it has told ``steps``; return its output."""
    rolling = site.start_rollout("--no-build")
    seen = "".join(wait_for_step(rolling, step) for step in steps)
    os.killpg(rolling.pid, signal.SIGKILL)
    rolling.communicate()
    return seen


def wait_for_step(rolling: subprocess.Popen[str], step: str) -> str:
    """Read a rollout's output until it tells ``step``; return what was read."""
    assert rolling.stdout is not None
    seen = []
    for line in rolling.stdout:
        seen.append(line)
        if step in line:
            return "".join(seen)
    raise AssertionError(f"never came to {step!r}:\n{''.join(seen)}")


def versions(site: Site) -> set[str]:
    """Return the versions that answer some requests."""
    return {site.version() for _ in range(30)}


def follows_dns(site: Site) -> bool:
    """Whether Nginx is pointed at no particular container."""
    config = site.compose("exec", "--no-TTY", "nginx", "greendock", "config").stdout
    return re.findall(r"^\s*server (\S+) resolve", config, re.MULTILINE) == ["app:8000"]


def last_line(output: str) -> str:
    return output.rstrip().rpartition("\n")[2]


class Compose:
    """What Compose itself makes of the project."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def leaves_alone(self, replicas: int = 1) -> bool:
        """Whether `docker compose up` finds everything as it should be, and replaces no container."""
        before = self._site.compose("ps", "--quiet", "--no-trunc").stdout.split()
        self._site.compose("up", "--detach", "--scale", f"app={replicas}")
        return sorted(self._site.compose("ps", "--quiet", "--no-trunc").stdout.split()) == sorted(before)
