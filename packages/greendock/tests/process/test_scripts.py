"""The scripts for machines without an engine or a registry, with stand-ins for Docker and mmdebstrap on PATH."""

from __future__ import annotations

import os
import pty
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import ROOT

UNREACHABLE = 'Error response from daemon: Get "https://registry/v2/": dial tcp: lookup registry: no such host'


class Machine:
    """A PATH whose programs are the test's own, in front of the system's."""

    def __init__(self, folder: Path) -> None:
        self.bin, self.calls, self.answering = folder / "bin", folder / "calls", folder / "answering"
        self.pid_file, self.log = folder / "pid", folder / "log"
        self.bin.mkdir()
        self.calls.touch()
        # As root, unless a test says otherwise.
        self.program("id", "echo 0")

    def program(self, name: str, body: str) -> None:
        path = self.bin / name
        path.write_text(f'#!/bin/sh\necho "{name} $*" >>"{self.calls}"\n{body}\n')
        path.chmod(0o755)

    def docker(self, *cases: str) -> None:
        """A client whose engine answers once the file ``answering`` is there; ``cases`` come first."""
        self.program("docker", f'case "$*" in {" ".join(cases)} compose*) ;; *) [ -e "{self.answering}" ] ;; esac')

    @property
    def env(self) -> dict[str, str]:
        return {
            "PATH": f"{self.bin}:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": os.environ["HOME"],
            "CI": "true",
            "ENGINE_PID_FILE": str(self.pid_file),
            "ENGINE_LOG": str(self.log),
            "ENGINE_SYSTEMD": "/nonexistent",
        }

    def run(self, *command: str, **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [ROOT / "scripts" / command[0], *command[1:]],
            env=self.env | env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def called(self, prefix: str) -> list[str]:
        return [line for line in self.calls.read_text().splitlines() if line.startswith(prefix)]


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    machine = Machine(tmp_path)
    yield machine
    if machine.pid_file.exists():
        machine.run("engine", "stop")


def runs(pid: int) -> bool:
    """Whether the process has not ended; one that only nobody has collected yet has an empty command line."""
    try:
        return bool(Path(f"/proc/{pid}/cmdline").read_bytes())
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_an_engine_that_answers_is_used_as_it_is(machine: Machine) -> None:
    machine.answering.touch()
    machine.docker()
    machine.program("dockerd", "exit 1")
    result = machine.run("engine")
    assert (result.returncode, result.stderr) == (0, "")
    assert not machine.called("dockerd")


def test_without_root_and_engine_one_sentence_names_the_alternative(machine: Machine) -> None:
    machine.docker()
    machine.program("id", "echo 1000")
    result = machine.run("engine")
    assert result.returncode == 1
    assert len(result.stderr.splitlines()) == 1
    assert "make local" in result.stderr


def test_an_installed_engine_is_started_and_stop_ends_it(machine: Machine) -> None:
    machine.docker()
    # No exec: `stop` knows the engine by its process name.
    machine.program("dockerd", f'echo $$ >"$2"; touch "{machine.answering}"; while :; do sleep 0.05; done')
    started = machine.run("engine")
    assert started.returncode == 0, started.stderr
    assert "going to start Docker" in started.stderr
    pid = int(machine.pid_file.read_text())
    assert runs(pid)
    assert machine.run("engine", "stop").returncode == 0
    assert not runs(pid)


def test_an_engine_that_cannot_start_says_why_and_names_the_alternative(machine: Machine) -> None:
    machine.docker()
    machine.program("dockerd", 'echo "overlay: operation not permitted"; exit 1')
    result = machine.run("engine")
    assert result.returncode == 1
    assert "operation not permitted" in result.stderr
    assert "make local" in result.stderr


def test_stop_leaves_a_process_that_is_no_engine_alone(machine: Machine) -> None:
    machine.docker()
    bystander = subprocess.Popen(["sleep", "60"])
    try:
        machine.pid_file.write_text(str(bystander.pid))
        assert machine.run("engine", "stop").returncode == 0
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


def test_a_person_who_says_no_changes_nothing(machine: Machine) -> None:
    machine.docker()
    machine.program("dockerd", "exit 1")
    terminal, end = pty.openpty()
    env = {name: value for name, value in machine.env.items() if name != "CI"}
    process = subprocess.Popen([ROOT / "scripts/engine"], env=env, stdin=end, stdout=end, stderr=subprocess.PIPE)
    os.write(terminal, b"n\n")
    _, error = process.communicate(timeout=60)
    os.close(terminal)
    os.close(end)
    assert process.returncode == 1
    assert b"nothing was changed" in error
    assert not machine.called("dockerd")


def test_images_that_are_there_are_not_pulled(machine: Machine) -> None:
    machine.docker("image*) exit 0 ;;")
    assert machine.run("base-images").returncode == 0
    assert not machine.called("docker pull")


@pytest.mark.parametrize(
    ("answer", "image"),
    [
        ("Error response from daemon: manifest for nginx:1.30 not found: manifest unknown", "nginx:1.30"),
        ("Error response from daemon: toomanyrequests: You have reached your pull rate limit", "nginx:1.30"),
        (UNREACHABLE, "registry.example/our-nginx:2"),
    ],
)
def test_no_stand_in_is_built_where_none_will_do(machine: Machine, answer: str, image: str) -> None:
    machine.docker("'image inspect python'*) exit 0 ;;", f"pull*) echo '{answer}' >&2; exit 1 ;;")
    machine.program("mmdebstrap", "exit 0")
    result = machine.run("base-images", NGINX_IMAGE=image)
    assert result.returncode == 1
    assert answer in result.stderr
    assert not machine.called("mmdebstrap")


def test_stand_ins_are_built_where_the_registry_cannot_be_reached(machine: Machine) -> None:
    machine.docker("image*) exit 1 ;;", f"pull*) echo '{UNREACHABLE}' >&2; exit 1 ;;", "import*) exit 0 ;;")
    # Its hook that lists the packages is what the script reads the version from.
    machine.program(
        "mmdebstrap",
        """for option; do case $option in *dpkg-query*) list=${option##*>\\'}; list=${list%\\'}
echo "nginx 1:1.30.6-2" >"$list"; echo "python3.14 3.14.8-1" >>"$list" ;; esac; done""",
    )
    result = machine.run("base-images", "monitoring")
    assert result.returncode == 0, result.stderr
    imports = "\n".join(machine.called("docker import"))
    assert re.search(r"NGINX_VERSION=1\.30\.6 .*stand-in=true.* nginx:1\.30$", imports, re.MULTILINE)
    assert re.search(r"PYTHON_VERSION=3\.14\.8 .*stand-in=true.* python:3\.14-slim$", imports, re.MULTILINE)
    assert re.search(r"/bin/prometheus.*stand-in=true.* prom/prometheus:v", imports)
    assert re.search(r"/bin/alertmanager.*stand-in=true.* prom/alertmanager:v", imports)
    assert "not the official image" in result.stderr


def test_a_stand_in_that_cannot_be_built_gets_no_name(machine: Machine) -> None:
    machine.docker("image*) exit 1 ;;", f"pull*) echo '{UNREACHABLE}' >&2; exit 1 ;;", "import*) exit 0 ;;")
    machine.program("mmdebstrap", 'echo "E: no space left" >&2; exit 1')
    result = machine.run("base-images")
    assert result.returncode == 1
    assert "no space left" in result.stderr
    assert not machine.called("docker import")


def test_an_nginx_on_path_that_is_new_enough_is_used(machine: Machine) -> None:
    machine.program("nginx", 'echo "nginx version: nginx/1.31.2" >&2')
    assert machine.run("local-nginx").stdout == f"{machine.bin}/nginx\n"


def test_an_nginx_on_path_that_is_too_old_is_not_used(machine: Machine) -> None:
    if not Path("/usr/share/keyrings/debian-archive-keyring.gpg").exists():
        pytest.skip("needs apt and Debian's keys")
    machine.program("nginx", 'echo "nginx version: nginx/1.22.1" >&2')
    result = machine.run("local-nginx")
    assert result.returncode == 0, result.stderr
    assert str(machine.bin) not in result.stdout
    version = subprocess.run([result.stdout.strip(), "-v"], capture_output=True, text=True, check=True).stderr
    assert re.fullmatch(r"nginx version: nginx/1\.[3-9]\d\.\d+.*\n", version)


@pytest.mark.skipif(
    any(map(Path.exists, (Path("/usr/bin/uv"), Path("/bin/uv")))), reason="uv is in the system's folder"
)
def test_a_python_that_is_too_old_is_named(machine: Machine, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "scripts", tmp_path / "scripts")
    machine.program("python3", 'case $1 in --version) echo "Python 3.9.2" ;; *) exit 1 ;; esac')
    result = subprocess.run(
        [tmp_path / "scripts/uv", "--version"], env=machine.env, capture_output=True, text=True, check=False
    )
    assert result.returncode == 1
    assert "Python 3.11 or newer" in result.stderr
    assert "Python 3.9.2" in result.stderr


@pytest.mark.parametrize(("lines", "code"), [("2 passed", 0), ("1 passed, 1 skipped", 1)])
def test_a_skipped_test_is_a_failure_in_ci_which_installs_nothing_itself(
    machine: Machine, tmp_path: Path, lines: str, code: int
) -> None:
    folder = tmp_path / "checkout"
    shutil.copytree(ROOT / ".ci", folder / ".ci")
    machine.program("make", f'echo "==== {lines} in 0.12s ===="')
    result = subprocess.run([folder / ".ci/run"], env=machine.env, capture_output=True, text=True, check=False)
    assert result.returncode == code, result.stdout + result.stderr
    assert ("a skipped test is a failure" in result.stdout) == bool(code)
    assert machine.calls.read_text().splitlines() == ["make lint", "make test"]


def test_make_alone_lists_every_command() -> None:
    targets = set()
    for makefile in (ROOT / "Makefile", ROOT / "packages/maintainers/maintainers.mk"):
        for line in re.findall(r"^\.PHONY: ((?:.*\\\n)*.*)$", makefile.read_text(), re.MULTILINE):
            targets |= set(line.replace("\\\n", " ").split())
    targets.discard("lint-machinery")  # a part of `make lint`
    result = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert {line.split()[1] for line in result.stdout.splitlines()} == targets
