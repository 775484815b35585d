"""From the environment to Gunicorn's settings, in the order it happens. One builder for every way to start."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gunicorn import config as gunicorn_config

from greendock.env import sources, variable
from greendock.env.problems import ConfigurationError, Problem
from greendock.env.value import PROCESS, Value
from greendock.env.variable import Variable
from greendock.hooks import plugins
from greendock.hooks.chain import Hook
from greendock.hooks.events import EVENTS
from greendock.hooks.plugins import Enabled
from greendock.host.cgroups import Limits, read_limits
from greendock.server import checks, own_hooks, settings, variables
from greendock.server.settings import Setting
from greendock.server.workers import count_workers


@dataclass(frozen=True)
class Built:
    """A whole configuration: ``settings`` by Gunicorn's names with their sources, ``options`` of Greendock's own by
    variable name, the merged ``values`` they were read from, ``hooks`` by event in the order they run."""

    settings: Mapping[str, Setting]
    options: Mapping[str, Any]
    values: Mapping[str, Value]
    hooks: Mapping[str, list[Hook]]
    plugins: list[Enabled]

    def gunicorn(self) -> dict[str, Any]:
        """Return plain values by setting name, as ``gunicorn.conf.py`` or ``Config.set`` takes them."""
        return {name: setting.value for name, setting in self.settings.items()}


def build(
    process: Mapping[str, str] | None = None,
    dotenv: Path | None = None,
    limits: Limits | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> Built:
    """Read every source, check everything, and return the whole configuration.

    ``process`` is the process environment (default: this process's), ``dotenv`` the ``.env`` file, ``limits`` what
    binds this process (default: asked of the kernel), ``overrides`` Gunicorn settings from a program's own code, above
    the environment's; a hook among them joins its event's chain. Raises ``ConfigurationError`` with every problem.
    """
    process = os.environ if process is None else process
    problems: list[Problem] = []

    # 1. Where values come from: .env < process environment; NAME_FILE stands for NAME.
    known = variables.ALL | settings.known()
    values = sources.load(process, dotenv, known.keys(), problems)
    sources.export(values, variable.PREFIXES)

    # 2. Server plugins bring variables and defaults of their own, so they come before names are judged.
    names = variables.APP["GREENDOCK_PLUGINS"].read(values, problems) or []
    enabled = plugins.enable(names, _source(values, "GREENDOCK_PLUGINS"), problems)
    known |= {variable.name: variable for variable in plugins.plugin_variables(enabled)}
    problems += _unknown_names(values, known)
    problems += _command_arguments(values)
    options = {name: variable.read(values, problems) for name, variable in variables.APP.items()}
    plugins.configure(enabled, values, problems)

    # 3. Gunicorn's settings: template < plugin < environment.
    result = settings.read(values, problems)
    for plugin in enabled:
        for name, value in getattr(plugin.plugin, "settings", {}).items():
            if name not in result or result[name].source == settings.TEMPLATE:
                result[name] = Setting(value, f"plugin {plugin.name}")
    for name in settings.CLASS_SETTINGS:
        if name in result and isinstance(result[name].value, str):
            text, source = result[name].value, result[name].source
            found = plugins.resolve_class(name, text, f"GUNICORN_{name.upper()}", source, problems)
            result[name] = Setting(found, source)
    given = _check_overrides(overrides or {}, problems)
    result |= {name: Setting(value, "options") for name, value in given.items() if name not in EVENTS}
    checks.drop_idle_defaults(result)

    # 4. How many workers.
    if "workers" not in result:
        count = count_workers(
            limits or read_limits(),
            per_core=options["WORKERS_PER_CORE"],
            most=options["MAX_WORKERS"],
            memory_per_worker=options["GREENDOCK_WORKER_MEMORY"],
        )
        result["workers"] = Setting(count.number, count.reason)

    # 5. Hooks: Greendock's own, plugins', the environment's.
    # The proxy's own container reports a wrong text of its variable; here only the number matters.
    proxy_keepalive = variables.ALL["NGINX_UPSTREAM_KEEPALIVE_TIMEOUT"].read(values, [])
    together = checks.together(options, proxy_keepalive)
    server_names = variables.ALL["NGINX_SERVER_NAMES"].read(values, [])
    readiness = own_hooks.readiness_of(options, server_names)
    own = own_hooks.own_hooks(options, together, result["workers"], readiness)
    wired = own_hooks.wire(own, enabled, result, given, options, problems)

    # 6. What is fine one by one and wrong together.
    defaults = {name: setting.default for name, setting in gunicorn_config.make_settings().items()}
    wrong = {problem.variable for problem in problems}
    for contradiction in checks.contradictions(result, together, defaults):
        if not any(name in str(contradiction) for name in wrong):  # else it may be about a default in its place
            problems.append(contradiction)
    if problems:
        raise ConfigurationError(problems)
    return Built(result, options, values, wired, enabled)


def build_or_exit(dotenv: Path | None = None, process: Mapping[str, str] | None = None) -> Built:
    """Do what ``build`` does; when there are problems, print the one report and exit with status 2."""
    try:
        return build(process, dotenv)
    except ConfigurationError as error:
        print(error, file=sys.stderr, flush=True)
        sys.exit(2)


def _check_overrides(overrides: Mapping[str, Any], problems: list[Problem]) -> dict[str, Any]:
    """Return the overrides that Gunicorn accepts."""
    accepted = {}
    for name, value in overrides.items():
        try:
            settings.validate(name, value)
            accepted[name] = value
        except KeyError:
            near = variable.nearest(name, sorted(gunicorn_config.make_settings()))
            problems.append(Problem(name, str(value), "options", near))
        except Exception as error:  # each of Gunicorn's validators raises its own
            problems.append(Problem(name, str(value), "options", str(error)))
    return accepted


def _unknown_names(values: Mapping[str, Value], known: dict[str, Variable]) -> list[Problem]:
    """Judge names; a plugin that is installed and not in use is only loaded to see whether a name is its own."""
    unknown = variable.unknown_names(values, known, variable.PREFIXES)
    return unknown and variable.unknown_names(values, known | plugins.installed_variables(), variable.PREFIXES)


def _source(values: Mapping[str, Value], name: str) -> str:
    return values[name].source if name in values else settings.TEMPLATE


def _command_arguments(values: Mapping[str, Value]) -> list[Problem]:
    """Check GUNICORN_CMD_ARGS, which Gunicorn reads by itself, from the process environment only."""
    value = values.get("GUNICORN_CMD_ARGS")
    if value is None:
        return []
    shown = None if value.secret else value.text
    if value.source != PROCESS:
        accepted = "accepted: only in the process environment; elsewhere write each setting as GUNICORN_<SETTING>"
        return [Problem("GUNICORN_CMD_ARGS", shown, value.source, accepted)]
    try:
        shlex.split(value.text)
    except ValueError as error:
        accepted = f"accepted: Gunicorn's command line arguments ({error})"
        return [Problem("GUNICORN_CMD_ARGS", shown, value.source, accepted)]
    return []
