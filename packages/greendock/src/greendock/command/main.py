"""The ``greendock`` command: what is set, whether it is right, what can be set, which plugins there are.

Imports are made where they are needed: ``greendock run`` stands before every start of the container.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from greendock import __version__
from greendock.env import secrets
from greendock.runtime import process
from greendock.server import own_file, preimport

# For an application, where GREENDOCK_BOOT_TIMEOUT sets no end.
_LOAD_SECONDS = 60


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return the exit status (2 for a configuration that is refused)."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if arguments[:1] and arguments[0] in _PARTS:  # each has a command line of its own
        return _PARTS[arguments[0]](arguments[1:])
    options = _parser().parse_args(arguments)
    command = {
        "run": _run,
        "config": _config,
        "check": _check,
        "env": _env,
        "plugins": _plugins,
        "health": _health,
        "release": _release,
    }[options.command]
    try:
        return command(options)
    except BrokenPipeError:  # `greendock env | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="greendock", description="Gunicorn behind Nginx, configured by environment.")
    parser.add_argument("--version", action="version", version=f"greendock {__version__}")
    commands = parser.add_subparsers(dest="command", required=True)

    def add(name: str, text: str, *, rest: str = "", formats: tuple[str, ...] = ()) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=text, description=text)
        if formats:
            command.add_argument("--format", choices=formats, default=formats[0])
        if rest:
            command.add_argument("rest", nargs=argparse.REMAINDER, help=rest)
        return command

    add(
        "run",
        "Run a command (default: gunicorn) in an environment that Gunicorn can be imported in.",
        rest="the command",
    ).add_argument("--server", action="store_true", help="the command is a server: not ready until it says so")
    add(
        "config",
        "Show every setting, its value and where it came from.",
        rest="Gunicorn's own arguments",
        formats=("table", "json"),
    )
    check = add(
        "check", "Check the configuration, load the application once, and exit: 0 when all is right, 2 when not."
    )
    check.add_argument("--no-load", dest="load", action="store_false", help="leave the application alone")
    check.add_argument(
        "--dotenv", action="store_true", help="check only that the .env on standard input means the same to Compose"
    )
    add("env", "Show the reference of all variables.", formats=("table", "markdown", "dotenv", "proxy"))
    add(
        "plugins",
        "List installed plugins: package, version, whether enabled, what each hooks.",
        formats=("table", "json"),
    )
    add("proxy", "Render, check, run and steer Nginx: `greendock proxy --help`.")
    add("top", "Show requests, workers, CPU and memory as they go on: `greendock top --help`.")
    add("up", "Build and start the stack of this folder, and wait until it is healthy: `greendock up --help`.")
    add("rollout", "Replace the running application, or Nginx, on this host: `greendock rollout --help`.")
    add("sbom", "Write what is in the images, as CycloneDX: `greendock sbom --help`.")
    add("audit", "Report known vulnerabilities of what is in the images: `greendock audit --help`.")
    add("upgrade", "Bring this project the template's next version: `greendock upgrade --help`.")
    release = add("release", "Run GREENDOCK_RELEASE_COMMAND, if it is set, and exit as it did.")
    release.add_argument("--lock", type=Path, metavar="FILE", help="never run beside another that has locked FILE")
    health = add("health", "Say whether the running server is ready, and why.")
    health.add_argument("file", nargs="?", help="the readiness file")
    health.add_argument("--json", action="store_true")
    return parser


def _dotenv() -> Path:
    return Path.cwd() / ".env"


def _run(options: argparse.Namespace) -> int:
    command = options.rest or ["gunicorn"]
    if not preimport.prepare(os.environ):
        _refuse()
    # Console scripts of this very environment first, so that nothing needs to be activated.
    complaints = secrets.export(os.environ)
    if complaints and Path(command[0]).name not in ("gunicorn", "greendock"):  # these report everything at once
        print("\n".join(f"greendock: {complaint}; nothing was started" for complaint in complaints), file=sys.stderr)
        return 2
    command = own_file.join(command, os.environ)
    process.announce(command, server=options.server)
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    try:
        os.execvp(command[0], command)
    except OSError as error:
        print(f"greendock: {command[0]}: {error.strerror}", file=sys.stderr)
        return 127


def _refuse() -> None:
    """Report what is wrong, and everything else that is wrong with it, before Gunicorn fails while it is imported."""
    environment = preimport.hide(os.environ)
    from greendock.server.build import build_or_exit

    build_or_exit(_dotenv(), environment)
    os.environ.update(environment)


def _config(options: argparse.Namespace) -> int:
    environment = preimport.hide(os.environ)
    from greendock.command import show
    from greendock.server.build import build_or_exit

    rest = [argument for argument in options.rest if argument != "--"]
    print(show.settings(build_or_exit(_dotenv(), environment), rest, options.format))
    return 0


def _check(options: argparse.Namespace) -> int:
    """Check what the start would check, and load the application as a worker would, within the time that one has."""
    if options.dotenv:
        return _check_dotenv()
    environment = preimport.hide(os.environ)
    from greendock.env.problems import Problem, report
    from greendock.server.build import build_or_exit
    from greendock.server.effective import effective
    from greendock.server.rehearsal import rehearse

    built = build_or_exit(_dotenv(), environment)
    for notice in built.notices:
        print(f"greendock: warning: {notice}", file=sys.stderr)
    if not options.load:
        print("greendock: the configuration is right; the application was not loaded")
        return 0
    config = effective(built).config
    rehearsal = rehearse(
        config, {**environment, **os.environ}, built.options["GREENDOCK_BOOT_TIMEOUT"] or _LOAD_SECONDS
    )
    if rehearsal.complaint:
        source = built.settings["wsgi_app"].source
        problem = Problem("APP_MODULE", config.wsgi_app, source, f"{rehearsal.complaint}; {rehearsal.seconds:.1f} s")
        print(report([problem]), file=sys.stderr)
        return 2
    print(f"greendock: the configuration is right; {config.wsgi_app} was loaded in {rehearsal.seconds:.1f} s")
    return 0


def _check_dotenv() -> int:
    from greendock.env import dotenv
    from greendock.env.problems import Problem, report

    problems: list[Problem] = []
    dotenv.parse(sys.stdin.buffer.read(), ".env", os.environ, problems)
    if problems:
        print(report(problems), file=sys.stderr)
    return 2 if problems else 0


def _env(options: argparse.Namespace) -> int:
    preimport.hide(os.environ)  # the reference must not depend on who asks: Gunicorn takes some defaults from there
    from greendock.command import reference

    print(reference.render(options.format), end="")
    return 0


def _plugins(options: argparse.Namespace) -> int:
    environment = preimport.hide(os.environ)
    from greendock.command import show
    from greendock.server.build import build_or_exit

    print(show.plugin_list(environment, _dotenv(), options.format), flush=True)
    build_or_exit(_dotenv(), environment)  # which of them would run is a question only of a right configuration
    return 0


def _proxy(arguments: list[str]) -> int:
    from greendock.proxy import commands

    return commands.main(arguments)


def _rollout(arguments: list[str]) -> int:
    from greendock.rollout import cli

    return cli.main(arguments)


def _up(arguments: list[str]) -> int:
    from greendock.project import up

    return up.main(arguments)


def _upgrade(arguments: list[str]) -> int:
    from greendock.project import upgrade

    return upgrade.main(arguments)


def _sbom(arguments: list[str]) -> int:
    from greendock.project import sbom

    return sbom.main(arguments)


def _audit(arguments: list[str]) -> int:
    from greendock.project import audit

    return audit.main(arguments)


def _top(arguments: list[str]) -> int:
    from greendock.command import top

    return top.main(arguments)


_PARTS = {
    "proxy": _proxy,
    "rollout": _rollout,
    "top": _top,
    "up": _up,
    "upgrade": _upgrade,
    "sbom": _sbom,
    "audit": _audit,
}


def _health(options: argparse.Namespace) -> int:
    from greendock.runtime import healthcheck

    flags = ["--json"] if options.json else []
    return healthcheck.main(flags + ([options.file] if options.file else []))


def _release(options: argparse.Namespace) -> int:
    from greendock.command import release

    return release.main(options.lock, _dotenv())
