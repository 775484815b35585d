"""Which hooks run at which event: Greendock's own, enabled plugins', the environment's."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gunicorn.arbiter import Arbiter

from greendock.env.problems import Problem, report
from greendock.hooks import chain
from greendock.hooks.chain import Hook
from greendock.hooks.events import EVENTS, SSL_CONTEXT
from greendock.hooks.plugins import Enabled
from greendock.host import scheduling
from greendock.proxy.types import ANY, LOCAL
from greendock.runtime.lifecycle import Lifecycle
from greendock.runtime.readiness import Readiness
from greendock.server import checks, protocol
from greendock.server.checks import Together
from greendock.server.settings import Setting


@dataclass(frozen=True)
class OwnHooks:
    """Greendock's own hooks by event: those that run before everybody else's, and those that run after."""

    first: Mapping[str, list[Hook]]
    last: Mapping[str, list[Hook]]


def readiness_of(options: Mapping[str, Any], server_names: list[str]) -> Readiness:
    """Return the readiness file that Greendock's options describe; ``server_names`` are those Nginx answers."""
    names = (name.removeprefix(".") for name in server_names if name not in (LOCAL, ANY) and "*" not in name)
    return Readiness(
        Path(options["GREENDOCK_READINESS_FILE"]),
        minimum=options["GREENDOCK_MIN_READY_WORKERS"],
        health_path=options["GREENDOCK_HEALTH_PATH"] or "",
        health_host=options["GREENDOCK_HEALTH_HOST"] or next(names, "localhost"),
        restart_after=options["GREENDOCK_RESTART_AFTER"],
        stop_grace=options["GREENDOCK_STOP_GRACE_SECONDS"],
    )


def own_hooks(options: Mapping[str, Any], together: Together, workers: Setting, readiness: Readiness) -> OwnHooks:
    """Return what Greendock itself does at each event."""
    lifecycle = Lifecycle(readiness, options["GREENDOCK_DRAIN_SECONDS"], options["GREENDOCK_BOOT_TIMEOUT"])

    def check_command_line(server: Any) -> None:
        problems = checks.of_config(server.cfg, together)
        if problems:
            print(report(problems), file=sys.stderr, flush=True)
            sys.exit(2)

    def explain_workers(server: Any) -> None:
        reason = workers.source if server.cfg.workers == workers.value else "Gunicorn's command line"
        server.log.info("Workers: %s (%s)", server.cfg.workers, reason)

    def name_health_path(server: Any) -> None:
        server.log.health_path = options["GREENDOCK_HEALTH_PATH"] or ""  # a logger may leave health checks out

    def check_application(worker: Any) -> None:
        complaint = protocol.complaint(worker.app.wsgi(), type(worker))
        if complaint:
            module = getattr(worker.app, "app_uri", None)
            worker.log.error("%s %s", f"APP_MODULE={module}" if module else "The application", complaint)
            sys.exit(Arbiter.WORKER_BOOT_ERROR)

    def schedule(_server: Any, _worker: Any) -> None:
        scheduling.choose(options["GREENDOCK_SCHEDULER"])

    return OwnHooks(
        first={
            "on_starting": _own(check_command_line, explain_workers, name_health_path, readiness.claim),
            "when_ready": _own(lifecycle.install),
            "on_reload": _own(lifecycle.install, readiness.refresh, explain_workers, name_health_path),
            "nworkers_changed": _own(readiness.resize),
            "post_fork": _own(lifecycle.start_boot_deadline, schedule),
            "post_worker_init": _own(check_application),
            "worker_exit": _own(lifecycle.slow_down),
            "child_exit": _own(readiness.forget),
            "on_exit": _own(readiness.remove),
        },
        # Listening only when everybody's when_ready has run; booted only when everybody's post_worker_init has.
        last={
            "when_ready": _own(readiness.announce),
            "post_worker_init": _own(lifecycle.end_boot_deadline, readiness.record),
        },
    )


def _own(*calls: Callable[..., None]) -> list[Hook]:
    return [Hook(f"greendock.{call.__name__}", call) for call in calls]


def wire(
    own: OwnHooks,
    enabled: list[Enabled],
    settings: dict[str, Setting],
    overrides: Mapping[str, Any],
    options: Mapping[str, Any],
    problems: list[Problem],
) -> dict[str, list[Hook]]:
    """Replace the hook names in ``settings`` by one callable for each hooked event; return each chain's members.

    Hooks among ``overrides`` (a program's own code) run after the environment's.
    """
    named = chain.from_environment(settings, problems)
    chains: dict[str, list[Hook]] = {}
    for name, event in EVENTS.items():
        settings.pop(name, None)
        brought = [hook for plugin in enabled for hook in _brought(plugin, name, problems)]
        first, last = own.first.get(name, []), own.last.get(name, [])
        written = [Hook("options", chain.adapt(overrides[name], event))] if name in overrides else []
        steps = chain.ordered(event, first, brought, named.get(name, []), written, last)
        if steps:
            chains[name] = steps
    chain_options = chain.Options(
        fail_fast=tuple(options["GREENDOCK_HOOK_FAIL_FAST"]),
        slow=options["GREENDOCK_SLOW_HOOK_SECONDS"],
    )
    for name, steps in chains.items():
        chained = chain.chain(EVENTS[name], steps, chain_options)
        settings[name] = Setting(chained, ", ".join(step.name for step in steps))
    _wire_ssl_context(settings, problems)
    return chains


def _brought(plugin: Enabled, name: str, problems: list[Problem]) -> list[Hook]:
    call = plugin.hooks().get(name)
    if call is None:
        return []
    complaint = chain.arity_complaint(call, EVENTS[name])
    if complaint:
        problems.append(Problem("GREENDOCK_PLUGINS", plugin.name, f"plugin {plugin.name}", f"{name}: {complaint}"))
        return []
    return [Hook(f"plugin {plugin.name}", chain.adapt(call, EVENTS[name]))]


def _wire_ssl_context(settings: dict[str, Setting], problems: list[Problem]) -> None:
    given = settings.pop(SSL_CONTEXT.name, None)
    if given is not None:
        call = chain.ssl_context(given.value, "GUNICORN_SSL_CONTEXT", given.source, problems)
        if call is not None:
            settings[SSL_CONTEXT.name] = Setting(call, given.source)
