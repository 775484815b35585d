"""Which hooks run at which event: Greendock's own, enabled plugins', the environment's."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gunicorn.arbiter import Arbiter

from greendock.env.problems import Problem, report
from greendock.hooks import chain
from greendock.hooks.chain import Hook
from greendock.hooks.events import EVENTS, SSL_CONTEXT, Event
from greendock.hooks.plugins import Enabled
from greendock.host import scheduling
from greendock.proxy.types import ANY, LOCAL
from greendock.runtime import reloading
from greendock.runtime.lifecycle import Lifecycle
from greendock.runtime.loading import Loading
from greendock.runtime.readiness import Readiness
from greendock.server import checks, client, protocol
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


def own_hooks(
    options: Mapping[str, Any], together: Together, workers: Setting, readiness: Readiness, notices: Sequence[str]
) -> OwnHooks:
    """Return what Greendock itself does at each event."""
    loading = Loading(readiness.path.with_name(f"{readiness.path.name}.failure"))
    lifecycle = Lifecycle(readiness, loading, options["GREENDOCK_DRAIN_SECONDS"], options["GREENDOCK_BOOT_TIMEOUT"])

    def check_command_line(server: Any) -> None:
        problems = checks.of_config(server.cfg, together)
        if problems:
            print(report(problems), file=sys.stderr, flush=True)
            sys.exit(2)

    def explain_workers(server: Any) -> None:
        reason = workers.source if server.cfg.workers == workers.value else "Gunicorn's command line"
        server.log.info("Workers: %s (%s)", server.cfg.workers, reason)

    def give_notice(server: Any) -> None:
        for notice in notices:
            server.log.warning("%s", notice)

    def name_health_path(server: Any) -> None:
        server.log.health_path = options["GREENDOCK_HEALTH_PATH"] or ""  # a logger may leave health checks out

    def check_application(worker: Any) -> None:
        try:
            application = worker.app.wsgi()
        except SyntaxError:  # with `reload`, the worker shows the error until it is corrected
            return
        complaint = protocol.complaint(application, type(worker))
        if complaint:
            module = getattr(worker.app, "app_uri", None)
            worker.log.error("%s %s", f"APP_MODULE={module}" if module else "The application", complaint)
            sys.exit(Arbiter.WORKER_BOOT_ERROR)

    def name_the_client(worker: Any) -> None:
        if protocol.served_by(type(worker)) == protocol.WSGI:
            worker.wsgi = client.told_by_proxies(worker.wsgi, worker.cfg)

    def schedule(_server: Any, _worker: Any) -> None:
        scheduling.choose(options["GREENDOCK_SCHEDULER"])

    return OwnHooks(
        first={
            "on_starting": _own(
                check_command_line, explain_workers, give_notice, name_health_path, readiness.claim, loading.forget
            ),
            "when_ready": _own(lifecycle.install),
            "on_reload": _own(lifecycle.install, loading.forget, readiness.refresh, explain_workers, name_health_path),
            "nworkers_changed": _own(readiness.resize),
            "post_fork": _own(lifecycle.start_boot_deadline, loading.watch, reloading.watch, schedule),
            "post_worker_init": _own(check_application, name_the_client),
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


@dataclass(frozen=True)
class Wired:
    """Gunicorn's settings with one callable for each hooked event, each chain's members, and what was wrong."""

    settings: Mapping[str, Setting]
    hooks: Mapping[str, list[Hook]]
    problems: tuple[Problem, ...]


def wire(
    own: OwnHooks,
    enabled: list[Enabled],
    settings: Mapping[str, Setting],
    overrides: Mapping[str, Setting],
    options: Mapping[str, Any],
) -> Wired:
    """Replace the hook names in ``settings`` by one callable for each hooked event.

    Hooks among ``overrides`` (a program's own code) run after the environment's.
    """
    problems: list[Problem] = []
    named = chain.from_environment(settings, problems)
    chain_options = chain.Options(
        fail_fast=tuple(options["GREENDOCK_HOOK_FAIL_FAST"]),
        slow=options["GREENDOCK_SLOW_HOOK_SECONDS"],
    )
    wired = {name: setting for name, setting in settings.items() if name not in EVENTS and name != SSL_CONTEXT.name}
    hooks: dict[str, list[Hook]] = {}
    for name, event in EVENTS.items():
        brought = [hook for plugin in enabled for hook in _brought(plugin, name, problems)]
        written = [_written(overrides[name], event)] if name in overrides else []
        first, last = own.first.get(name, []), own.last.get(name, [])
        steps = chain.ordered(event, first, brought, named.get(name, []), written, last)
        if steps:
            hooks[name] = steps
            wired[name] = Setting(chain.chain(event, steps, chain_options), ", ".join(step.name for step in steps))
    if SSL_CONTEXT.name in settings:
        wired |= _ssl_context(settings[SSL_CONTEXT.name], problems)
    return Wired(wired, hooks, tuple(problems))


def _written(setting: Setting, event: Event) -> Hook:
    return Hook(setting.source, chain.adapt(setting.value, event))


def _brought(plugin: Enabled, name: str, problems: list[Problem]) -> list[Hook]:
    call = plugin.hooks().get(name)
    if call is None:
        return []
    complaint = chain.arity_complaint(call, EVENTS[name])
    if complaint:
        problems.append(Problem("GREENDOCK_PLUGINS", plugin.name, f"plugin {plugin.name}", f"{name}: {complaint}"))
        return []
    return [Hook(f"plugin {plugin.name}", chain.adapt(call, EVENTS[name]))]


def _ssl_context(setting: Setting, problems: list[Problem]) -> dict[str, Setting]:
    if callable(setting.value):
        return {SSL_CONTEXT.name: setting}  # a program's own
    call = chain.ssl_context(setting.value, "GUNICORN_SSL_CONTEXT", setting.source, problems)
    return {} if call is None else {SSL_CONTEXT.name: Setting(call, setting.source)}
