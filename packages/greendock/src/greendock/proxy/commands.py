"""``greendock proxy`` (in the proxy's image ``greendock``): render, check, run and steer the proxy.

Exit codes: 0 done; 1 refused by Nginx or the machine; 2 a wrong configuration or command line.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

from greendock.env.problems import ConfigurationError
from greendock.host import scheduling
from greendock.proxy import (
    acme,
    certificate,
    configuration,
    maintenance,
    master,
    networks,
    pause,
    ports,
    renewal,
    requests,
    static,
)
from greendock.proxy.render import (
    certificate_paths,
    is_renewed,
    is_self_signed,
    lasting_certificate_paths,
    published_addresses,
    render,
    worker_processes,
)
from greendock.proxy.rundir import RunDir
from greendock.proxy.template import TemplateError
from greendock.proxy.types import ANY, LOCAL, NETWORKS, SHARED_UPSTREAM, duration

_RELOAD_TIMEOUT = 15.0
# After a restart of the machine the holder of the ports may be the last that starts.
_PORTS_TIMEOUT = 60.0
_PAUSE = duration(1, 300)


class RefusedError(Exception):
    """Nginx or the machine would not have it; the text says why."""


def main(arguments: Sequence[str] | None = None, environ: Mapping[str, str] = os.environ) -> int:
    """Run one command and return the exit code."""
    options = _parser().parse_args(arguments)
    try:
        command: Callable[[argparse.Namespace, dict[str, Any]], None] = options.command
        command(options, {} if _other_command(options) else configuration.read(environ))
    except ConfigurationError as error:
        print(error, file=sys.stderr)
        return 2
    except (RefusedError, TemplateError, TimeoutError, ports.NotLentError) as error:
        print(f"greendock: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"greendock: {error.filename or ''}: {error.strerror}".replace(" : ", " "), file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="greendock", description=__doc__.split("\n", 1)[0])
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, command: Callable[[argparse.Namespace, dict[str, Any]], None], summary: str) -> Any:
        sub = commands.add_parser(name, help=summary, description=summary)
        sub.set_defaults(command=command)
        return sub

    run = add("run", _run, "render, test, and become Nginx; or become another command")
    run.add_argument("rest", nargs=argparse.REMAINDER, metavar="COMMAND", help="default: nginx")
    add("config", _config, "print the rendered configuration")
    add("check", _check, "validate the variables and have Nginx test the result")
    add("render", _render, "write nginx.conf into a folder").add_argument("--output", type=Path, required=True)
    add("reload", _reload, "render again and reload; a refused configuration changes nothing").add_argument(
        "--wait",
        action="store_true",
        help="return when no worker has the old configuration any more, or after NGINX_SHUTDOWN_TIMEOUT",
    )
    upstream = add(
        "upstream",
        _upstream,
        "point Nginx at these addresses, wait until none of the old is used; without any, say where it points",
    )
    upstream.add_argument(
        "addresses", nargs="*", metavar="HOST:PORT", help="HOST:PORT=10: a canary, 10 percent of requests"
    )
    upstream.add_argument("--default", action="store_true", help="return to NGINX_UPSTREAM")
    upstream.add_argument("--no-wait", action="store_true", help="return as soon as new requests go there")
    add("settle", _settle, "return when no former worker of Nginx is left")
    asked = add("ask", _ask, "ask one replica as Nginx would; say what status it answers with")
    asked.add_argument("address", metavar="HOST:PORT")
    asked.add_argument("path")
    asked.add_argument("--timeout", type=float, default=10, metavar="SECONDS")
    shared = add("assets", _assets, "put this version's static files where the Nginx of another version finds them")
    shared.add_argument("--only", action="store_true", help="and remove those of all others")
    closed = add("maintenance", _maintenance, "answer 503 with Retry-After, or stop doing so; it outlives a restart")
    closed.add_argument("state", choices=("on", "off", "status"))
    closed.add_argument("--message", default="", help="what visitors read")
    closed.add_argument("--until", default="", help="announced end, such as 14:00; it does not end by itself")
    closed.add_argument("--allow", action="append", default=[], help="addresses and networks that are let in")
    paused = add("pause", _pause, "hold new requests for the application for this long, then let them go")
    paused.add_argument("time", help="1s to 5m; a signal (Ctrl-C) ends it earlier")
    paused.add_argument("--most", type=int, default=1000, help="requests held at a time; more are answered 503")
    add("acme", _acme, "with NGINX_TLS=acme: get the certificate and renew it, for ever; SIGHUP looks at once")
    add("health", _health, "ask the internal port whether Nginx answers")
    add(
        "networks",
        _networks,
        "the networks NGINX_TRUSTED_PROXIES knows by name, where they come from, and how old they are",
    )
    add("precompress", _precompress, "write compressed twins of the files that gain from it").add_argument(
        "folder", type=Path
    )
    return parser


def _config(_: argparse.Namespace, values: dict[str, Any]) -> None:
    print(_rendered(values), end="")


def _render(options: argparse.Namespace, values: dict[str, Any]) -> None:
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / "nginx.conf").write_text(_rendered(values), encoding="utf-8")


def _check(_: argparse.Namespace, values: dict[str, Any]) -> None:
    rundir = _prepared(values)
    with rundir.locked():
        _test(values, rundir, _rendered(values)).unlink()
    print("greendock: the configuration is good")


def _other_command(options: argparse.Namespace) -> bool:
    """Whether `run` was given something else than Nginx, which needs no configuration: `run sh`."""
    return getattr(options, "rest", None) not in (None, [], ["nginx"])


def _run(options: argparse.Namespace, values: dict[str, Any]) -> None:
    if _other_command(options):
        _become(options.rest)
    rundir = _prepared(values)
    with rundir.locked():
        _test(values, rundir, _rendered(values)).replace(rundir.configuration)
    _announce(values)
    if is_renewed(values):
        _reload_on_renewal(values)
    if values["NGINX_METRICS"]:
        _count_requests(values, rundir)
    command = [*_nginx(values, rundir, rundir.configuration), "-g", "daemon off;"]
    scheduling.choose(values["NGINX_SCHEDULER"])
    if values["NGINX_PORT_DIR"] is not None:
        _borrow_ports(values, rundir)
    _become(command)


def _borrow_ports(values: dict[str, Any], rundir: RunDir) -> None:
    """Have Nginx inherit the published ports' sockets, in the way in which a new Nginx inherits from its predecessor.

    The healthcheck compares the holder's id: a holder that has started again has other sockets.
    """
    identity, descriptors = ports.borrow(Path(values["NGINX_PORT_DIR"]), published_addresses(values), _PORTS_TIMEOUT)
    rundir.write("port.id", identity)
    os.environ["NGINX"] = "".join(f"{descriptor};" for descriptor in descriptors)


def _reload_on_renewal(values: dict[str, Any]) -> None:
    """Leave a small process behind that reloads Nginx when an ACME client has put a new certificate there."""
    files = lasting_certificate_paths(values)
    before, parent = renewal.state(files), os.getpid()
    if os.fork() != 0:
        return
    try:
        for _ in renewal.changes(files, before, parent):
            subprocess.run([sys.executable, "-m", "greendock", "proxy", "reload"], check=False)
    finally:
        os._exit(0)  # whatever happens, this process must not become a second Nginx


def _count_requests(values: dict[str, Any], rundir: RunDir) -> None:
    """Leave a small process behind that counts requests for ``/metrics``."""
    port = values["NGINX_METRICS_PORT"]
    try:
        receiver = requests.listen(port)
    except OSError as error:
        raise RefusedError(f"NGINX_METRICS_PORT={port}: {error.strerror}: accepted: a free UDP port") from error
    rundir.write(requests.PAGE, requests.Counts().page(0, None))
    with receiver:
        if os.fork() != 0:
            return
        try:
            certificate = None if values["NGINX_TLS"] == "off" else certificate_paths
            requests.serve(
                receiver, lambda text: rundir.write(requests.PAGE, text), lambda: certificate and certificate(values)[0]
            )
        finally:
            os._exit(0)  # whatever happens, this process must not become a second Nginx


def _become(command: list[str]) -> NoReturn:
    try:
        os.execvp(command[0], command)  # noqa: S606
    except OSError as error:
        raise RefusedError(f"{command[0]}: {error.strerror}") from error


def _reload(options: argparse.Namespace, values: dict[str, Any]) -> None:
    rundir = _prepared(values)
    with rundir.locked():
        old = _apply(values, rundir)
        if options.wait:
            _wait_for_end(values, rundir, old)
    print("greendock: reloaded")


def _upstream(options: argparse.Namespace, values: dict[str, Any]) -> None:
    if options.addresses and options.default:
        raise RefusedError("upstream: give addresses, or --default")
    rundir = _prepared(values)
    if not options.addresses and not options.default:
        print(" ".join(rundir.upstream() or values["NGINX_UPSTREAM"]))
        return
    try:
        wanted = None if options.default else SHARED_UPSTREAM.parse(" ".join(options.addresses))
    except ValueError as error:
        raise RefusedError(f"upstream: {error}: accepted: {SHARED_UPSTREAM.accepted}") from error
    with rundir.locked():
        before = rundir.upstream()
        rundir.set_upstream(wanted)
        try:
            old = _apply(values, rundir)
        except BaseException:
            rundir.set_upstream(before)
            raise
        if not options.no_wait:
            _wait_for_end(values, rundir, old)
    print(f"greendock: upstream is {' '.join(wanted or values['NGINX_UPSTREAM'])}")


def _settle(_: argparse.Namespace, values: dict[str, Any]) -> None:
    rundir = RunDir(Path(values["NGINX_RUN_DIR"]))
    pid = rundir.pid()
    _wait_for_end(values, rundir, [worker for worker, retiring in master.workers(pid or -1).items() if retiring])
    print("greendock: no former worker is left")


def _ask(options: argparse.Namespace, values: dict[str, Any]) -> None:
    """Tell the status of one request with the headers of templates/http/proxy.conf."""
    name = values["NGINX_CANONICAL_HOST"] or values["NGINX_SERVER_NAMES"][0]
    host = "localhost" if name in (ANY, LOCAL) else name.replace("*", "www", 1) if name[0] == "*" else name.lstrip(".")
    secure = values["NGINX_TLS"] != "off" or values["NGINX_TRUSTED_PROXIES"] is not None
    headers = {
        "Host": host,
        "User-Agent": "greendock-rollout",
        "X-Real-IP": "127.0.0.1",
        "X-Forwarded-For": "127.0.0.1",
        "X-Forwarded-Proto": "https" if secure else "http",
        "X-Forwarded-Host": host,
        "X-Forwarded-Port": "443" if secure else "80",
        "X-Request-Start": f"t={time.time():.3f}",
    }
    connection = http.client.HTTPConnection(options.address, timeout=options.timeout)
    try:
        connection.request("GET", options.path, headers=headers)
        print(connection.getresponse().status)
    except (OSError, http.client.HTTPException) as error:
        raise RefusedError(f"{options.address} does not answer: {error or type(error).__name__}") from error
    finally:
        connection.close()


def _assets(options: argparse.Namespace, values: dict[str, Any]) -> None:
    shelf = Path(values["NGINX_TEMP_DIR"]) / "assets"
    root = Path(values["NGINX_STATIC_ROOT"])
    print(f"greendock: {static.share(root, values['NGINX_STATIC_URL'], shelf, only=options.only)} static files shared")


def _maintenance(options: argparse.Namespace, values: dict[str, Any]) -> None:
    if options.state == "status" or (options.state == "off" and not maintenance.flag(values).exists()):
        print(f"greendock: maintenance is {_maintenance_state(values)}")
        return
    try:
        wanted = maintenance.Maintenance(
            maintenance.message(options.message),
            maintenance.until(options.until, datetime.now().astimezone()) if options.until else None,
            maintenance.networks(options.allow),
        )
    except ValueError as error:
        raise RefusedError(
            f'maintenance: {error}: accepted: a message on one line without ", $ and \\; a time such as 14:00 or '
            f"2030-01-31T14:00; {NETWORKS.accepted}"
        ) from error
    rundir = _prepared(values)
    with rundir.locked():
        if options.state == "off":
            maintenance.flag(values).unlink(missing_ok=True)
        # Its words first: from the moment that the file is there, it says them.
        if rundir.pid() and rundir.configuration.read_text(encoding="utf-8") != (text := _rendered(values, wanted)):
            _apply(values, rundir, text)
        if options.state == "on":
            maintenance.save(values, wanted)
    print(f"greendock: maintenance is {_maintenance_state(values)}")


def _maintenance_state(values: dict[str, Any]) -> str:
    if not maintenance.flag(values).exists():
        return "off"
    state = maintenance.load(values)
    guests = f"; let in: {' '.join(state.allow)}" if state.allow else ""
    end = "" if state.until is None else f" until {datetime.fromtimestamp(state.until).astimezone():%Y-%m-%d %H:%M %Z}"
    return f"on{end}{f': {state.message}' if state.message else ''}{guests}"


def _pause(options: argparse.Namespace, values: dict[str, Any]) -> None:
    try:
        seconds = _PAUSE.parse(options.time)
    except ValueError as error:
        raise RefusedError(f"pause: {options.time}: accepted: {_PAUSE.accepted}") from error
    folder = RunDir(Path(values["NGINX_RUN_DIR"])).path
    if options.most < 1 or RunDir(folder).pid() is None:
        raise RefusedError("pause: --most is at least 1" if options.most < 1 else f"no Nginx runs with {folder}")

    def announce() -> None:
        print(f"greendock: new requests are held for up to {seconds}", flush=True)

    held = asyncio.run(pause.hold(folder / "pause.sock", folder / "pause", seconds, options.most, announce))
    print(f"greendock: {held} requests were held and go on")


def _acme(_: argparse.Namespace, values: dict[str, Any]) -> None:
    if values["NGINX_TLS"] != "acme":
        raise RefusedError("acme: only with NGINX_TLS=acme")
    acme.run(values)


def _health(_: argparse.Namespace, values: dict[str, Any]) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", values["NGINX_STATUS_PORT"], timeout=2)
    try:
        connection.request("GET", "/healthz")
        status = connection.getresponse().status
    except OSError as error:
        raise RefusedError(f"unhealthy: {error.strerror or error}") from error
    finally:
        connection.close()
    if status != 200:
        raise RefusedError(f"unhealthy: answered {status}")
    print("ok")


def _networks(_: argparse.Namespace, __: dict[str, Any]) -> None:
    age = (datetime.now(UTC).date() - networks.WRITTEN).days
    print(f"written down on {networks.WRITTEN}, {age} days ago")
    for name, published in networks.NAMED.items():
        print(f"\n{name}: {len(published.networks)} networks; the newest are at {published.source}")
        print("  " + "\n  ".join(published.networks))


def _precompress(options: argparse.Namespace, _: dict[str, Any]) -> None:
    print(f"greendock: {static.precompress(options.folder)} files compressed")


def _rendered(values: dict[str, Any], closed: maintenance.Maintenance | None = None) -> str:
    return render(values, RunDir(Path(values["NGINX_RUN_DIR"])).upstream(), closed or maintenance.load(values))


def _prepared(values: dict[str, Any]) -> RunDir:
    """Make what Nginx writes to; a folder that cannot be written is named here rather than by a failing request."""
    rundir = RunDir(Path(values["NGINX_RUN_DIR"]))
    for folder in (rundir.path, Path(values["NGINX_TEMP_DIR"])):
        try:
            folder.mkdir(mode=0o755, parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as error:
            raise RefusedError(
                f"{folder} cannot be written ({error.strerror}): mount a tmpfs or a volume there"
            ) from error
    rundir.keep_others_out()
    if values["NGINX_BASIC_AUTH_FILE"] is not None:
        _check_passwords(Path(values["NGINX_BASIC_AUTH_FILE"]))
    if is_self_signed(values):
        try:
            certificate.ensure_self_signed(*certificate_paths(values))
        except (OSError, subprocess.CalledProcessError) as error:
            raise RefusedError(f"no self-signed certificate: {getattr(error, 'stderr', None) or error}") from error
    return rundir


def _check_passwords(file: Path) -> None:
    """Nginx opens the file at a request only, and then answers 500 or refuses everybody."""
    lines = [line for line in file.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]
    if not lines or any(":" not in line for line in lines):
        raise RefusedError(f"{file}: NGINX_BASIC_AUTH_FILE holds `name:hash` lines, as `htpasswd` makes them")


def _nginx(values: dict[str, Any], rundir: RunDir, file: Path) -> list[str]:
    return [values["NGINX_BINARY"], "-p", f"{rundir.path}/", "-e", "stderr", "-c", str(file)]


def _test(values: dict[str, Any], rundir: RunDir, text: str) -> Path:
    """Write the candidate beside the configuration in use and have Nginx test it; return its path."""
    candidate = rundir.path / "nginx.conf.candidate"
    candidate.write_text(text, encoding="utf-8")
    try:
        tested = subprocess.run(
            [*_nginx(values, rundir, candidate), "-t", "-q"], check=False, stderr=subprocess.PIPE, text=True
        )
    except OSError as error:
        raise RefusedError(f"{values['NGINX_BINARY']}: {error.strerror}") from error
    sys.stderr.write(tested.stderr)
    if tested.returncode != 0:
        raise RefusedError("nginx -t refused the configuration (above); nothing was changed")
    return candidate


def _apply(values: dict[str, Any], rundir: RunDir, text: str | None = None) -> list[int]:
    """Have the running Nginx use what is rendered now; return its former workers."""
    pid = rundir.pid()
    if pid is None:
        raise RefusedError(f"no Nginx runs with {rundir.path}")
    _test(values, rundir, text or _rendered(values)).replace(rundir.configuration)
    return master.reload(pid, _RELOAD_TIMEOUT)


def _wait_for_end(values: dict[str, Any], rundir: RunDir, old: list[int]) -> None:
    """Wait for the former workers; one that carries a WebSocket or a long request goes on beyond the wait."""
    pid = rundir.pid()
    if pid and not master.wait_for_end(pid, old, values["NGINX_SHUTDOWN_TIMEOUT"]):
        print("greendock: connections go on that are older than this configuration", file=sys.stderr)


def _announce(values: dict[str, Any]) -> None:
    notes = [f"{worker_processes(values)} workers", f"upstream {' '.join(values['NGINX_UPSTREAM'])}"]
    if values["NGINX_SERVER_NAMES"] == [LOCAL]:
        notes.append("answering local names only: set NGINX_SERVER_NAMES to your host names")
    if values["NGINX_TLS"] == "self-signed":
        notes.append("self-signed certificate, for development only")
    elif is_self_signed(values):
        notes.append(f"a self-signed certificate stands in until {lasting_certificate_paths(values)[0]} is there")
    print("greendock: " + "; ".join(notes), file=sys.stderr, flush=True)
