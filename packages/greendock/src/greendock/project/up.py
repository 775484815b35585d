"""``greendock up``: build the stack, start it and wait until it is healthy. Run it in the project's folder.

Where it does not become healthy: shows why, and stops what this start left behind, so that nothing restarts for ever.
What was healthy before is left as it was.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from greendock.rollout import dotenv

_LINES = "80"
_TAKEN = ("address already in use", "port is already allocated")
HELP = """usage: greendock up [argument of `docker compose up`]...

Build, start, and wait until every container is healthy, at most WAIT_SECONDS (120). Prints the address."""


def main(arguments: Sequence[str]) -> int:
    """Start the stack; return the exit code: 0 when it is healthy."""
    if set(arguments) & {"-h", "--help"}:
        print(HELP)
        return 0
    wait = os.environ.get("WAIT_SECONDS", "120")
    try:
        before, began = _healthy(), _engine_time()
        # Ctrl-C ends Compose; what it has started is then stopped like any other start that came to nothing.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: None)
        build = ("docker", "compose", "build", "app")
        if subprocess.run(build, check=False).returncode or not dotenv.means_the_same_inside():
            return 1
        _stop_unhealthy()
        command = ["docker", "compose", "up", "--build", "--detach", "--wait", "--wait-timeout", wait, *arguments]
        if subprocess.run(command, check=False).returncode == 0:
            published = _output("docker", "compose", "port", "port", _inside_port())
            _say(f"ready at http://localhost:{published.rpartition(':')[2].strip()}/")
            return 0
        _give_up(before, began)
    except OSError as error:
        _say(f"docker: {error.strerror}; see https://docs.docker.com/engine/install/")
    return 1


def _inside_port() -> str:
    """Return the port Nginx listens on in its container: from the shell or ``.env``, as Compose reads them."""
    lines = _output("docker", "compose", "config", "--environment").splitlines()
    ports = [line.partition("=")[2] for line in lines if line.startswith("NGINX_HTTP_PORT=")]
    return (ports and ports[0]) or "8080"


def _stop_unhealthy() -> None:
    """Stop what is unhealthy: Compose would take that verdict, of the time before, for the outcome of this start."""
    for container in _containers():
        state = container["State"]
        if state["Status"] == "running" and (state.get("Health") or {}).get("Status") == "unhealthy":
            _say(f"{container['Name']} has been unhealthy and is started again")
            subprocess.run(["docker", "stop", container["Id"]], stdout=subprocess.DEVNULL, check=False)


def _give_up(before: set[str], began: str) -> None:
    containers = _containers()
    healthy = _healthy(containers)
    for container in containers:
        name = container["Id"]
        if name in before & healthy:
            continue
        if name not in healthy and not _ended_well(container):
            _show(container, began)
        subprocess.run(["docker", "stop", name], stdout=subprocess.DEVNULL, check=False)
    _say("the stack did not become healthy; what is not healthy has been stopped, see above for why")


def _ended_well(container: dict[str, Any]) -> bool:
    """Say whether it has done its work, as the release command does."""
    return (container["State"]["Status"], container["State"]["ExitCode"]) == ("exited", 0)


def _show(container: dict[str, Any], began: str) -> None:
    state = container["State"]
    health = state.get("Health") or {}
    started = state.get("StartedAt")
    checks = [check["Output"].strip() for check in health.get("Log") or [] if _since(started, check.get("Start"))]
    words = [f"{container['Name']}: {state['Status']}", f"exit code {state['ExitCode']}"]
    words += [f"{container['RestartCount']} restarts", *([health["Status"]] if health else [])]
    _say(", ".join(words) + (f" ({' '.join(checks[-1].split())})" if checks else ""))
    sys.stderr.flush()
    # Not what an earlier start has said.
    since = ["--since", began] if began else []
    subprocess.run(["docker", "logs", "--tail", _LINES, *since, container["Id"]], stdout=sys.stderr, check=False)
    if any(text in state.get("Error", "") for text in _TAKEN):
        _say("the port is taken: end what uses it, or set another as NGINX_PUBLISHED_PORT in .env")


def _since(started: str | None, check: str | None) -> bool:
    """Say whether a check is of this start; the engine keeps those of the start before."""
    if not started or not check:
        return True
    return datetime.fromisoformat(check) >= datetime.fromisoformat(started)


def _healthy(containers: list[dict[str, Any]] | None = None) -> set[str]:
    containers = _containers() if containers is None else containers
    return {
        container["Id"]
        for container in containers
        if (container["State"].get("Health") or {}).get("Status") == "healthy"
    }


def _engine_time() -> str:
    """Return the time as the engine has it, whose clock stamps the logs; nothing where there is no engine."""
    return _output("docker", "info", "--format", "{{.SystemTime}}").strip()


def _containers() -> list[dict[str, Any]]:
    """Return the project's containers as the engine describes them; none where there is no engine."""
    ids = _output("docker", "compose", "ps", "--all", "--quiet").split()
    return list(json.loads(_output("docker", "inspect", *ids) or "[]")) if ids else []


def _output(*command: str) -> str:
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False)
    return done.stdout


def _say(text: str) -> None:
    print(f"up: {text}", file=sys.stderr)
