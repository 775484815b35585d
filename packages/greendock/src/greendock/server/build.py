"""From the environment to Gunicorn's settings, in the order it happens. One builder for every way to start."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gunicorn import config as gunicorn_config

from greendock.env import contract, sources, variable
from greendock.env.problems import ConfigurationError, Problem
from greendock.env.value import PROCESS, Value
from greendock.env.variable import Variable
from greendock.hooks import plugins
from greendock.hooks.chain import Hook
from greendock.hooks.events import EVENTS
from greendock.hooks.plugins import Enabled
from greendock.host.cgroups import Limits, read_limits
from greendock.server import checks, notices, own_file, own_hooks, settings, variables
from greendock.server.checks import Together
from greendock.server.own_hooks import Wired
from greendock.server.settings import Setting
from greendock.server.workers import WORKERS_PER_CORE, count_workers


@dataclass(frozen=True)
class Built:
    """A whole configuration: ``settings`` by Gunicorn's names with their sources, ``options`` of Greendock's own by
    variable name, the merged ``values`` they were read from, ``hooks`` by event in the order they run, and
    ``notices``: sentences about what is not wrong and probably not meant."""

    settings: Mapping[str, Setting]
    options: Mapping[str, Any]
    values: Mapping[str, Value]
    hooks: Mapping[str, list[Hook]]
    plugins: list[Enabled]
    notices: tuple[str, ...]

    def gunicorn(self) -> dict[str, Any]:
        """Return plain values by setting name, as ``gunicorn.conf.py`` or ``Config.set`` takes them."""
        return {name: setting.value for name, setting in self.settings.items()}


def build(
    process: Mapping[str, str] | None = None,
    dotenv: Path | None = None,
    limits: Limits | None = None,
    overrides: Mapping[str, Any] | None = None,
    origin: str = "options",
) -> Built:
    """Read every source, check everything, and return the whole configuration.

    ``process`` is the process environment (default: this process's), ``dotenv`` the ``.env`` file, ``limits`` what
    binds this process (default: asked of the kernel), ``overrides`` Gunicorn settings from a program's own code, above
    the environment's, and ``origin`` where these come from; a hook among them joins its event's chain. Raises
    ``ConfigurationError`` with every problem.
    """
    inputs = _read(os.environ if process is None else process, dotenv)
    overridden = _override(_of_file(inputs), _Overrides(overrides or {}, origin))
    chosen = _choose(inputs, overridden, limits)
    together = checks.together(inputs.options, _of_proxy(inputs.values))
    wired = _wire(inputs, overridden, chosen, together)
    problems = [*inputs.problems, *overridden.problems, *chosen.problems, *wired.problems]
    problems += _contradictions(wired.settings, together, problems)
    if problems:
        raise ConfigurationError(problems)
    return Built(wired.settings, inputs.options, inputs.values, wired.hooks, inputs.plugins, inputs.notices)


@dataclass(frozen=True)
class _Inputs:
    """What the sources hold: every value, the plugins in use, Greendock's own options, and what is to be said."""

    values: Mapping[str, Value]
    plugins: list[Enabled]
    options: Mapping[str, Any]
    notices: tuple[str, ...]
    problems: tuple[Problem, ...]


@dataclass(frozen=True)
class _Settings:
    """Gunicorn's settings by name, and what was wrong with those that are not among them."""

    settings: Mapping[str, Setting]
    problems: tuple[Problem, ...]


@dataclass(frozen=True)
class _Overrides:
    """Gunicorn settings above the environment's, and who says so."""

    values: Mapping[str, Any]
    origin: str
    problems: tuple[Problem, ...] = ()


def _read(process: Mapping[str, str], dotenv: Path | None) -> _Inputs:
    """Read ``.env`` < process environment, with ``NAME_FILE`` for ``NAME``.

    Server plugins bring variables and defaults of their own, so they are loaded before names are judged.
    """
    problems = contract.problems(process)
    known = variables.ALL | settings.known()
    values = sources.load(process, dotenv, known.keys(), problems)
    sources.export(values, variable.PREFIXES)
    names = variables.APP["GREENDOCK_PLUGINS"].read(values, problems) or []
    enabled = plugins.enable(names, _source(values, "GREENDOCK_PLUGINS"), problems)
    known |= {variable.name: variable for variable in plugins.plugin_variables(enabled)}
    problems += _unknown_names(values, known)
    problems += _command_arguments(values)
    options = {name: variable.read(values, problems) for name, variable in variables.APP.items()}
    plugins.configure(enabled, values, problems)
    said = notices.notices(values, known.keys(), Path.cwd())
    return _Inputs(values, enabled, options, tuple(said), tuple(problems))


def _of_file(inputs: _Inputs) -> _Overrides:
    """Read the operator's own configuration file, when there is one."""
    file = inputs.options["GREENDOCK_CONFIG_FILE"]
    if file is None:
        return _Overrides({}, "")
    try:
        return _Overrides(own_file.read(Path(file), sorted(gunicorn_config.make_settings())), file)
    except Exception as error:  # it is the operator's code
        reason = f"cannot be read: {type(error).__name__}: {' '.join(str(error).split())}"
        source = _source(inputs.values, "GREENDOCK_CONFIG_FILE")
        return _Overrides({}, file, (Problem("GREENDOCK_CONFIG_FILE", file, source, reason),))


def _override(*layers: _Overrides) -> _Settings:
    """Take the overrides that Gunicorn accepts; a later layer goes before an earlier one."""
    accepted: dict[str, Setting] = {}
    problems = [problem for layer in layers for problem in layer.problems]
    for layer in layers:
        for name, value in layer.values.items():
            try:
                taken = settings.validate(name, value)
                accepted[name] = Setting(taken if name in EVENTS else value, layer.origin)
            except KeyError:
                near = variable.nearest(name, sorted(gunicorn_config.make_settings()))
                problems.append(Problem(name, str(value), layer.origin, near))
            except Exception as error:  # each of Gunicorn's validators raises its own
                problems.append(Problem(name, str(value), layer.origin, str(error)))
    return _Settings(accepted, tuple(problems))


def _choose(inputs: _Inputs, overridden: _Settings, limits: Limits | None) -> _Settings:
    """Choose each of Gunicorn's settings: template < plugin < environment < overrides; then how many workers."""
    problems: list[Problem] = []
    of_environment = settings.read(inputs.values, problems)
    brought = {
        name: Setting(value, f"plugin {plugin.name}")
        for plugin in reversed(inputs.plugins)  # the first plugin that says something about a setting counts
        for name, value in getattr(plugin.plugin, "settings", {}).items()
        if name not in of_environment or of_environment[name].source == settings.TEMPLATE
    }
    chosen = of_environment | brought
    chosen |= {name: setting for name, setting in overridden.settings.items() if name not in EVENTS}
    chosen |= {name: _class(name, chosen[name], problems) for name in settings.CLASS_SETTINGS if name in chosen}
    chosen = checks.without_idle_defaults(chosen)
    if "workers" not in chosen:
        chosen["workers"] = _workers(inputs.options, chosen.get("worker_class"), limits)
    return _Settings(chosen, tuple(problems))


def _class(name: str, setting: Setting, problems: list[Problem]) -> Setting:
    """Resolve the name of a plugin's class; Gunicorn's own names stay text."""
    if not isinstance(setting.value, str):
        return setting
    resolved = plugins.resolve_class(name, setting.value, f"GUNICORN_{name.upper()}", setting.source, problems)
    return Setting(resolved, setting.source)


def _workers(options: Mapping[str, Any], worker_class: Setting | None, limits: Limits | None) -> Setting:
    per_core = options["WORKERS_PER_CORE"]
    if per_core is None:
        per_core = getattr(worker_class and worker_class.value, "workers_per_core", WORKERS_PER_CORE)
    count = count_workers(
        limits or read_limits(),
        per_core=per_core,
        most=options["MAX_WORKERS"],
        memory_per_worker=options["GREENDOCK_WORKER_MEMORY"],
    )
    return Setting(count.number, count.reason)


def _of_proxy(values: Mapping[str, Value]) -> dict[str, Any]:
    """Read what this tier must know of the other. A wrong text is reported by the proxy's own container."""
    read = {name: variables.ALL[name].read(values, []) for name in checks.OF_PROXY}
    # Where the proxy asks is only known where somebody says so: Compose says it to both.
    return read if "NGINX_UPSTREAM" in values else read | {"NGINX_UPSTREAM": []}


def _wire(inputs: _Inputs, overridden: _Settings, chosen: _Settings, together: Together) -> Wired:
    """Hang in the hooks: Greendock's own, the plugins', the environment's, the overrides'."""
    readiness = own_hooks.readiness_of(inputs.options, together.server_names)
    own = own_hooks.own_hooks(inputs.options, together, chosen.settings["workers"], readiness, inputs.notices)
    return own_hooks.wire(own, inputs.plugins, chosen.settings, overridden.settings, inputs.options)


def _contradictions(chosen: Mapping[str, Setting], together: Together, problems: Iterable[Problem]) -> list[Problem]:
    """Return what is fine one by one and wrong together."""
    defaults = {name: setting.default for name, setting in gunicorn_config.make_settings().items()}
    wrong = {problem.variable for problem in problems}
    return [
        contradiction
        for contradiction in checks.contradictions(chosen, together, defaults)
        if not any(name in str(contradiction) for name in wrong)  # else it may be about a default in its place
    ]


def build_or_exit(dotenv: Path | None = None, process: Mapping[str, str] | None = None) -> Built:
    """Do what ``build`` does; when there are problems, print the one report and exit with status 2."""
    try:
        return build(process, dotenv)
    except ConfigurationError as error:
        print(error, file=sys.stderr, flush=True)
        sys.exit(2)


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
