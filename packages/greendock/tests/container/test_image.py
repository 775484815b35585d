"""The application's image: what is in it, and what it does under limits and faults."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote

import pytest

from greendock.env import dotenv
from greendock.env.problems import Problem
from greendock.project import sbom
from tests.container.support import docker, inspect, logs
from tests.support import ROOT, clean_environment, run_clean, wait_for

Run = Callable[..., str]


def health(container: str) -> dict[str, object]:
    done = docker("exec", container, "python", "-I", "-S", "/srv/healthcheck.pyc", "--json", check=False)
    return dict(json.loads(done.stdout)) if done.stdout else {"ready": False, "state": done.stderr}


def wait_ready(container: str) -> None:
    try:
        wait_for(lambda: health(container)["ready"], "ready")
    except AssertionError as error:
        raise AssertionError(f"{error}\n{logs(container)}") from None


def config(image: str, *options: str) -> dict[str, dict[str, str]]:
    done = docker("run", "--rm", *options, image, "greendock", "config", "--format", "json")
    return dict(json.loads(done.stdout))


def test_nothing_that_builds_and_nothing_secret_is_in_the_image(image: str) -> None:
    tools = "for program in gcc cc make uv; do command -v $program; done"
    files = "find / -xdev '(' -name '.env*' -o -name .git ')' 2>/dev/null"
    assert docker("run", "--rm", image, "sh", "-c", f"{tools}; {files}; true").stdout == ""
    facts = json.loads(docker("image", "inspect", image).stdout)[0]["Config"]
    assert facts["Cmd"] == ["gunicorn"]
    assert facts["User"] == "10001:10001"


@pytest.mark.parametrize(
    ("options", "workers", "reason"),
    [
        (("--cpus", "1.5", "--memory", "1g"), "4", "floor(2 × 1.5 CPUs) + 1, by cgroup v"),
        (("--cpuset-cpus", "0"), "3", "floor(2 × 1 CPUs) + 1"),
        (("--cpus", "1.5", "--memory", "300m"), "2", "300 MiB ÷ 128 MiB a worker, by cgroup v"),
        (
            (
                "--cpus",
                "0.3",
            ),
            "1",
            "floor(2 × 0.3 CPUs) + 1",
        ),
        (("--cpus", "2", "--env", "MAX_WORKERS=2"), "2", "MAX_WORKERS, down from"),
    ],
)
def test_workers_follow_the_containers_limits(image: str, options: tuple[str, ...], workers: str, reason: str) -> None:
    shown = config(image, *options)["workers"]
    assert shown["value"] == workers
    assert shown["source"].startswith(reason)


def test_a_secret_file_supplies_a_setting_and_the_applications_variable(image: str, tmp_path: Path) -> None:
    (tmp_path / "timeout").write_text("77\n")
    (tmp_path / "timeout").chmod(0o444)
    mount = ("--volume", f"{tmp_path}/timeout:/run/secrets/timeout:ro")
    shown = config(image, *mount, "--env", "GUNICORN_TIMEOUT_FILE=/run/secrets/timeout")
    assert shown["timeout"] == {"value": "(hidden)", "source": "file /run/secrets/timeout (GUNICORN_TIMEOUT_FILE)"}


def test_every_process_of_the_image_sees_the_same_environment_and_secrets(run: Run, tmp_path: Path) -> None:
    (tmp_path / "url").write_text("postgres://x\n")
    (tmp_path / "url").chmod(0o444)
    (tmp_path / "shows.py").write_text(
        "import os\n"
        "def app(environ, start_response):\n"
        "    start_response('200 OK', [])\n"
        "    return [os.environ['DATABASE_URL'].encode()]\n"
    )
    container = run(
        *("--volume", f"{tmp_path}/url:/run/secrets/url:ro", "--volume", f"{tmp_path}/shows.py:/srv/app/shows.py:ro"),
        *("--env", "DATABASE_URL_FILE=/run/secrets/url", "--env", "APP_MODULE=shows:app"),
    )
    wait_ready(container)
    ask = "import urllib.request as u; print(u.urlopen('http://127.0.0.1:8000/').read().decode())"
    shows = "import os; print(os.environ['DATABASE_URL'])"
    for command in (
        ("python", "-c", ask),
        ("python", "-c", shows),
        ("greendock", "run", "sh", "-c", "echo $DATABASE_URL"),
    ):
        assert docker("exec", container, *command).stdout == "postgres://x\n", command
    docker("exec", container, "greendock", "check")


def test_another_process_of_the_image_is_healthy_and_judged_by_its_own_command(run: Run) -> None:
    fast = ("--health-start-period", "1s", "--health-interval", "1s", "--env", "GREENDOCK_RESTART_AFTER=1")
    long = ("python", "-c", "import time; time.sleep(600)")
    plain = run(*fast, command=long)
    overridden = run(*fast, "--entrypoint", "sleep", command=("600",))
    sick = run(*fast, "--env", "GREENDOCK_HEALTH_COMMAND=test -e /nowhere", command=long)
    status = {plain: "healthy", overridden: "healthy", sick: "unhealthy"}
    for container, expected in status.items():
        wait_for(lambda c=container, e=expected: inspect(c)["State"]["Health"]["Status"] == e, expected, 60)  # type: ignore[misc]
    for container in status:
        checks = len(inspect(container)["State"]["Health"]["Log"])
        wait_for(lambda c=container, n=checks: len(inspect(c)["State"]["Health"]["Log"]) >= min(n + 2, 5), "checks", 60)  # type: ignore[misc]
        assert inspect(container)["State"]["Running"], "nothing but a server is ever ended"


def test_a_killed_master_ends_the_container_and_its_restart_is_ready_again(run: Run) -> None:
    container = run("--restart", "unless-stopped")
    wait_ready(container)
    master = health(container)["master"]
    docker("exec", container, "python", "-c", f"import os; os.kill({master}, 9)", check=False)
    wait_for(lambda: inspect(container)["RestartCount"] == 1, "restarted")
    wait_ready(container)


EATS = """
import os
def app(environ, start_response):
    if environ["PATH_INFO"] == "/eat":
        kept = bytearray(400 << 20)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"%d" % os.getpid()]
"""


def test_a_worker_out_of_memory_is_replaced_and_the_container_lives(run: Run, tmp_path: Path) -> None:
    (tmp_path / "eats.py").write_text(EATS)
    (tmp_path / "eats.py").chmod(0o644)
    limits = ("--memory", "160m", "--memory-swap", "160m", "--env", "WEB_CONCURRENCY=2", "--env", "APP_MODULE=eats:app")
    container = run("--volume", f"{tmp_path}/eats.py:/srv/app/eats.py:ro", *limits)
    wait_ready(container)
    ask = "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/eat')"
    assert docker("exec", container, "python", "-c", ask, check=False).returncode != 0
    wait_for(lambda: "Perhaps out of memory?" in logs(container), "the worker's end in the log")
    wait_for(lambda: health(container).get("booted") == 2, "replaced")
    assert inspect(container)["State"]["Running"]
    assert inspect(container)["RestartCount"] == 0


def test_a_full_tmpfs_does_not_hide_that_the_server_drains(run: Run) -> None:
    size = "/run/greendock:uid=10001,gid=10001,mode=0700,size=64k"
    container = run("--tmpfs", size, "--env", "GREENDOCK_DRAIN_SECONDS=20", "--env", "GUNICORN_GRACEFUL_TIMEOUT=10")
    wait_ready(container)
    docker("exec", container, "sh", "-c", "cat /dev/zero > /run/greendock/filler", check=False)
    assert health(container)["ready"]
    docker("kill", "--signal", "TERM", container)
    wait_for(lambda: health(container)["state"] == "draining", "draining")


def test_a_master_that_serves_nothing_is_restarted_under_a_plain_restart_policy(run: Run, tmp_path: Path) -> None:
    (tmp_path / "hangs.py").write_text("import time\nwhile True: time.sleep(1)\n")
    tmp_path.chmod(0o755)
    container = run(
        *("--restart", "unless-stopped", "--volume", f"{tmp_path}/hangs.py:/srv/app/hangs.py:ro"),
        *("--env", "APP_MODULE=hangs:app", "--env", "GREENDOCK_RESTART_AFTER=2", "--env", "WEB_CONCURRENCY=1"),
        *("--env", "GUNICORN_GRACEFUL_TIMEOUT=1", "--health-start-period", "1s", "--health-interval", "1s"),
    )
    wait_for(lambda: inspect(container)["RestartCount"] >= 1, "restarted", 60)


AWKWARD = """\
PLAIN=value
export EXPORTED=value
SPACED = value
COMMENTED=value # comment
HASHED=a#b
DOUBLE="two words"
DOUBLE_HASH="a # b"
SINGLE='two words'
SINGLE_DOLLAR='s3$cret'
SINGLE_REFERENCE='${PLAIN}'
NEWLINE="a\\nb"
EQUALS=a=b=c
EMPTY=
REFERENCE=${PLAIN}-x
QUOTED_REFERENCE="${PLAIN} y"
FALLBACK=${NOT_SET_ANYWHERE:-fallback}
URL=postgres://user:pa%23ss@host:5432/db?x=1&y=2
TWICE=1
TWICE=2
UNICODE=grün
JSON='{"a": 1}'
TRAILING=value\x20\x20
"""


def test_dotenv_means_the_same_to_compose_and_to_us(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(AWKWARD)
    (tmp_path / "docker-compose.yml").write_text("services: {a: {image: x, env_file: .env}}\n")
    done = run_clean(["docker", "compose", "config", "--format", "json"], tmp_path, clean_environment())
    theirs = json.loads(done.stdout)["services"]["a"]["environment"]
    problems: list[Problem] = []
    ours = dotenv.read(tmp_path / ".env", {}, problems)
    assert not problems
    # Compose doubles a dollar sign in what it prints; an empty value is unset to us.
    expected = {name: text.replace("$$", "$") for name, text in theirs.items() if text}
    assert {name: value.text for name, value in ours.items()} == expected


def test_the_sbom_lists_every_debian_and_python_package_of_the_image(
    image: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)  # the lock has the hashes
    components = sbom.describe(image)["components"]
    listed = {unquote(component["purl"].partition("?")[0]) for component in components}
    query = ("dpkg-query", "--show", "--showformat", "pkg:deb/debian/${Package}@${Version}\n")
    packages = (
        "from importlib.metadata import distributions\n"
        "for package in distributions(path=[path for path in __import__('sys').path if 'site-packages' in path]):\n"
        "    print(f'pkg:pypi/{package.name.lower().replace(chr(95), chr(45))}@{package.version}')"
    )
    debian = set(docker("run", "--rm", image, *query).stdout.split())
    python = set(docker("run", "--rm", image, "python", "-c", packages).stdout.split())
    assert {"pkg:pypi/flask", "pkg:pypi/gunicorn"} <= {name.partition("@")[0] for name in python}
    assert (debian | python) - listed == set()
    of_python = [component for component in components if component["purl"].startswith("pkg:pypi/")]
    assert {component["purl"] for component in of_python} == python
    for component in of_python:
        assert component["licenses"], component
        hashes = [entry["hashes"] for entry in component["externalReferences"] if "hashes" in entry]
        assert hashes or component["name"] == "greendock", component
