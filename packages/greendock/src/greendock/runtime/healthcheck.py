"""The container's healthcheck: reads the readiness file and says in one line whether this server is ready, and why.

Standard library only, nothing of this package imported: ``python -I -S healthcheck.py`` takes a few milliseconds
and no worker. Usage: ``healthcheck.py [--json] [--heal] [READINESS_FILE]``. Exit status 0 when ready, else 1.
A container that runs something else than a server is healthy while it lives.

The file (written by ``greendock.readiness``) has a line ``name=value`` for each fact: the master's pid and start time,
the workers wanted, the state. It is not JSON because importing ``json`` costs more than all of this. Beside it,
``READINESS_FILE.workers/`` holds one empty file for each worker that booted, named ``MASTER.WORKER.START_TIME``. A
process counts as alive only when its start time fits too: pids are used again.

``READINESS_FILE.process`` is written by the image's entrypoint, ``greendock run``, before it becomes the command: its
pid and start time, and whether that command is a server.
"""

import os
import sys
import time

DEFAULT_FILE = "/run/greendock/ready"
PROBE_SECONDS = 3.0
# The module ``signal`` is not imported for the same reason; these numbers are the same on every Linux.
_SIGKILL, _SIGTERM = 9, 15
_NAMES = {_SIGKILL: "SIGKILL", _SIGTERM: "SIGTERM"}
SERVER, OTHER = "server", "other"
NOT_A_SERVER = "not a server"


def start_time(pid: int) -> int:
    """Return when a process started, in clock ticks since boot; 0 when there is none, or only a zombie.

    Field 22 of /proc/PID/stat: https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html
    """
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return 0
    return 0 if fields[0] in (b"Z", b"X") else int(fields[19])


def alive(pid: int, started: int) -> bool:
    """Say whether the process that had this pid and start time still runs."""
    return started > 0 and start_time(pid) == started


def parse(text: str) -> "dict[str, str] | None":
    """Return the facts of a readiness file, or ``None`` for anything else."""
    state = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    numbers = (state.get(name, "") for name in ("pid", "started", "workers", "minimum"))
    return state if "state" in state and all(number.isdigit() for number in numbers) else None


def load(path: str) -> "dict[str, str] | None":
    """Return the readiness file's facts, or ``None``. After a failed USR2 the older master's copy counts."""
    dead = None
    for name in (path, path + ".previous"):
        try:
            with open(name, encoding="utf-8") as file:
                state = parse(file.read())
        except (OSError, ValueError):
            continue
        if state is None:
            continue
        if alive(int(state["pid"]), int(state["started"])):
            return state
        dead = dead or state
    return dead


def booted(path: str, master: int) -> "list[int]":
    """Return the pids of the living workers of ``master`` that have booted."""
    pids = []
    try:
        names = os.listdir(path + ".workers")
    except OSError:
        return []
    for name in names:
        parts = name.split(".")
        if len(parts) == 3 and parts[0] == str(master) and alive(int(parts[1]), int(parts[2])):
            pids.append(int(parts[1]))
    return sorted(pids)


def check(path: str, contained: bool = False) -> "dict[str, object]":
    """Return the verdict: ``ready``, ``state``, ``reason`` (the one line) and what it was drawn from.

    ``contained``: asked by a container's engine, so that the first process is what the container is for.
    """
    state, process = load(path), started(path)
    if state is None:
        return _check_process(process, path, contained)
    pid = int(state["pid"])
    if not alive(pid, int(state["started"])):
        if process is not None:  # started after the one that left the file behind
            return _check_process(process, path, contained)
        return _verdict("dead", f"master {pid} is gone", master=pid)
    workers, wanted, minimum = booted(path, pid), int(state["workers"]), int(state["minimum"])
    counts = {"master": pid, "workers": wanted, "booted": len(workers), "since": float(state.get("since", 0))}
    if state["state"] == "draining":
        return _verdict("draining", f"master {pid} is stopping, {len(workers)} workers left", **counts)
    if len(workers) < minimum:
        needed = f", {minimum} needed" if minimum > 1 else ""
        return _verdict("starting", f"{len(workers)}/{wanted} workers booted{needed}", **counts)
    complaint = _probe(state)
    if complaint:
        return _verdict("failing", complaint, **counts)
    return _verdict("ready", f"{len(workers)}/{wanted} workers", **counts)


def _check_process(process: "dict[str, str] | None", path: str, contained: bool) -> "dict[str, object]":
    """Judge a command that has written no readiness file: a server that starts, or no server at all."""
    if process is None:
        if contained and not _first_process_is_ours():
            return _check_other("healthy while it lives")
        return _verdict("starting", f"no readiness file at {path}")
    if process["kind"] == OTHER:
        return _check_other(f"{process['command']} runs, healthy while it lives")
    return _verdict("starting", f"no readiness file at {path}", master=int(process["pid"]))


def _check_other(lives: str) -> "dict[str, object]":
    """Judge a process that is no server: by ``GREENDOCK_HEALTH_COMMAND`` when it is set."""
    command = os.environ.get("GREENDOCK_HEALTH_COMMAND", "").strip()
    if not command:
        return _verdict(NOT_A_SERVER, lives)
    import subprocess

    done = subprocess.run(["/bin/sh", "-c", command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    last = (done.stdout.decode(errors="replace").strip().splitlines() or ["no output"])[-1]
    if done.returncode == 0:
        return _verdict(NOT_A_SERVER, f"healthy by {command}: {last}")
    return _verdict("failing", f"{command}: exit status {done.returncode}: {last}")


def started(path: str) -> "dict[str, str] | None":
    """Return what the entrypoint wrote about the command it became (kind, pid, started, command), while that lives."""
    try:
        with open(path + ".process", encoding="utf-8") as file:
            process = dict(line.split("=", 1) for line in file.read().splitlines() if "=" in line)
        return process if alive(int(process["pid"]), int(process["started"])) else None
    except (OSError, ValueError, KeyError):
        return None


def _first_process_is_ours() -> bool:
    """Say whether this container's first process is our entrypoint, or Gunicorn itself.

    An init has the whole command line it was given among its own arguments.
    """
    try:
        with open("/proc/1/cmdline", "rb") as file:
            words = [word.rpartition(b"/")[2] for word in file.read().split(b"\0")]
    except OSError:
        return True
    return b"greendock" in words or b"gunicorn" in words


def _verdict(state: str, reason: str, **details: object) -> "dict[str, object]":
    return {"ready": state in ("ready", NOT_A_SERVER), "state": state, "reason": f"{state}: {reason}", **details}


def _probe(state: "dict[str, str]") -> "str | None":
    """Ask Gunicorn for the health path, when one is set; return what is wrong with the answer."""
    target, address = state.get("health_path", ""), state.get("address", "")
    if not target or not address:
        return None
    import socket

    host, _, port = address.rpartition(":")
    try:
        with socket.socket(socket.AF_INET if port.isdigit() else socket.AF_UNIX) as client:
            client.settimeout(PROBE_SECONDS)
            client.connect((host, int(port)) if port.isdigit() else address)
            name = state.get("health_host") or "localhost"
            client.sendall(f"GET {target} HTTP/1.0\r\nHost: {name}\r\nUser-Agent: healthcheck\r\n\r\n".encode())
            answer = client.recv(64).split(b" ", 2)
    except OSError as error:
        return f"GET {target}: {error}"
    status = answer[1][:3].decode("ascii", "replace") if len(answer) > 1 else "no status"
    if status[:1] in ("2", "3"):
        return None
    hint = f" (Host: {name}; GREENDOCK_HEALTH_HOST sets another)" if status == "400" else ""
    return f"GET {target} answered {status}{hint}"


def heal(path: str, verdict: "dict[str, object]") -> "str | None":
    """End a server that has not been ready for too long, so that the restart policy starts it again.

    Only a Gunicorn master is ended: the one that wrote the readiness file, or the one the entrypoint became. The
    restart policies of Docker and Compose act on exits only; an unhealthy container is left alone. First SIGTERM; a
    master still there after its grace period gets SIGKILL. Returns what was done, if anything.
    """
    marker = path + ".unready"
    if verdict["ready"] or verdict["state"] == "draining":
        _unlink(marker)
        _unlink(marker + ".told")
        return None
    state = load(path) or {}
    after = int(state.get("restart_after") or os.environ.get("GREENDOCK_RESTART_AFTER") or 120)
    if after == 0 or _age(marker) < after:
        return None
    if verdict["state"] == "dead" or "master" not in verdict:
        return None  # its pid may be another process's by now
    pid = int(str(verdict["master"]))
    told = os.path.exists(marker + ".told")
    if not told:
        _age(marker + ".told")
        return _signal(pid, _SIGTERM, after)
    grace = state.get("stop_grace") or os.environ.get("GREENDOCK_STOP_GRACE_SECONDS") or 75
    if _age(marker + ".told") >= int(grace):
        return _signal(pid, _SIGKILL, after)
    return None


def _age(marker: str) -> float:
    """Return the seconds since ``marker`` was first asked about: an empty file, which a full disk has room for."""
    now = time.clock_gettime(time.CLOCK_BOOTTIME)  # the wall clock may jump
    try:
        return now - os.stat(marker).st_mtime
    except OSError:
        pass
    try:
        os.close(os.open(marker, os.O_CREAT | os.O_WRONLY, 0o644))
        os.utime(marker, (now, now))
    except OSError:
        pass
    return 0.0


def _unlink(name: str) -> None:
    try:
        os.unlink(name)
    except OSError:
        pass


def _signal(pid: int, number: int, after: int) -> str:
    try:
        os.kill(pid, number)
    except OSError as error:
        return f"process {pid} cannot be ended: {error}"
    return f"not ready for {after} s: sent {_NAMES[number]} to process {pid}"


def main(arguments: "list[str]") -> int:
    """Print the verdict; return the exit status."""
    paths = [argument for argument in arguments if not argument.startswith("-")]
    path = paths[0] if paths else os.environ.get("GREENDOCK_READINESS_FILE") or DEFAULT_FILE
    heals = "--heal" in arguments
    verdict = check(path, contained=heals)
    if heals:
        done = heal(path, verdict)
        if done:
            verdict["reason"] = f"{verdict['reason']}; {done}"
    if "--json" in arguments:
        import json

        print(json.dumps(verdict))
    else:
        print(verdict["reason"])
    return 0 if verdict["ready"] else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
