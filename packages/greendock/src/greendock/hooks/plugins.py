"""Plugins: installed packages found through entry points.

Three kinds, three entry point groups:

- ``greendock.hooks``: server plugins. Any object (module, class, instance) with callables named after Gunicorn's
  hooks. Enabled by name in ``GREENDOCK_PLUGINS``. See ``ServerPlugin`` for what else it may bring.
- ``greendock.workers``: HTTP handler plugins, worker classes. Chosen by ``GUNICORN_WORKER_CLASS``.
- ``greendock.loggers``: log handler plugins, logger classes. Chosen by ``GUNICORN_LOGGER_CLASS``.

https://packaging.python.org/en/latest/specifications/entry-points/
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from gunicorn import util
from gunicorn.glogging import Logger
from gunicorn.workers import SUPPORTED_WORKERS
from gunicorn.workers.base import Worker

from greendock.env.problems import Problem
from greendock.env.value import Value
from greendock.env.variable import Variable
from greendock.hooks.events import EVENTS

HOOKS, WORKERS, LOGGERS = "greendock.hooks", "greendock.workers", "greendock.loggers"
GROUPS = {HOOKS: "server", WORKERS: "HTTP handler", LOGGERS: "log handler"}


class ServerPlugin:
    """What a server plugin may bring beside its hooks. Inheriting from this class is a convenience, not a duty."""

    variables: tuple[Variable, ...] = ()
    """The plugin's own environment variables (``GREENDOCK_…``), so that they are known, checked and listed."""

    settings: Mapping[str, Any] = {}
    """Defaults for Gunicorn settings: above the template's, below the environment's."""

    def configure(self, options: Mapping[str, Any]) -> Iterable[str]:  # noqa: ARG002
        """Take the parsed values of ``variables``, by name; return complaints, each a sentence for the operator.

        Called at every start and reload, before any hook.
        """
        return ()


@dataclass(frozen=True)
class Installed:
    """A plugin somebody installed: its entry point's group and name, and the package that brought it."""

    group: str
    name: str
    package: str
    version: str
    entry_point: EntryPoint


@dataclass(frozen=True)
class Enabled:
    """A server plugin in use."""

    name: str
    plugin: Any

    def hooks(self) -> dict[str, Any]:
        """Return the plugin's callables by event."""
        return {event: getattr(self.plugin, event) for event in EVENTS if callable(getattr(self.plugin, event, None))}


# One object for each plugin and process: what ``on_starting`` opened must still be there after a reload has run
# ``gunicorn.conf.py`` again.
_loaded: dict[str, Any] = {}


def installed(group: str) -> dict[str, Installed]:
    """Return the installed plugins of one group by name."""
    plugins = {}
    for entry_point in entry_points(group=group):
        package = entry_point.dist
        name, version = (package.name, package.version) if package else ("unknown", "unknown")
        plugins[entry_point.name] = Installed(group, entry_point.name, name, version, entry_point)
    return dict(sorted(plugins.items()))


def enable(names: Iterable[str], source: str, problems: list[Problem]) -> list[Enabled]:
    """Load the server plugins of these names, in order. Faults are appended to ``problems``."""
    available = installed(HOOKS)
    enabled = []
    for name in dict.fromkeys(names):
        plugin = _load(available, name, "GREENDOCK_PLUGINS", source, problems)
        if plugin is not None:
            if name not in _loaded:
                _loaded[name] = plugin() if inspect.isclass(plugin) else plugin
            enabled.append(Enabled(name, _loaded[name]))
    return enabled


def _load(available: Mapping[str, Installed], name: str, variable: str, source: str, problems: list[Problem]) -> Any:
    if name not in available:
        own = ", ".join(sorted(SUPPORTED_WORKERS)) if variable == "GUNICORN_WORKER_CLASS" else ""
        listed = ", ".join(available) or "none"
        also = f"; Gunicorn's own: {own}" if own else ""
        problems.append(Problem(variable, name, source, f"no such plugin; installed: {listed}{also}"))
        return None
    try:
        return available[name].entry_point.load()
    except Exception as error:  # a plugin is other people's code
        package = available[name].package
        reason = f"the plugin of package {package} cannot be loaded: {type(error).__name__}: {error}"
        problems.append(Problem(variable, name, source, reason))
        return None


def configure(enabled: Iterable[Enabled], values: Mapping[str, Value], problems: list[Problem]) -> None:
    """Hand every plugin the parsed values of its variables, and collect its complaints."""
    for item in enabled:
        count = len(problems)
        options = {variable.name: variable.read(values, problems) for variable in plugin_variables([item])}
        take = getattr(item.plugin, "configure", None)
        if take is None or len(problems) > count:
            continue
        for complaint in take(options) or ():
            problems.append(Problem("GREENDOCK_PLUGINS", item.name, f"plugin {item.name}", complaint))


def plugin_variables(enabled: Iterable[Enabled]) -> list[Variable]:
    """Return the variables that enabled plugins bring."""
    return [variable for item in enabled for variable in getattr(item.plugin, "variables", ())]


def installed_variables() -> dict[str, Variable]:
    """Return the variables of every installed server plugin, in use or not; one that cannot be loaded has none."""
    variables: dict[str, Variable] = {}
    for item in installed(HOOKS).values():
        with suppress(Exception):  # a plugin is other people's code
            variables |= {variable.name: variable for variable in getattr(item.entry_point.load(), "variables", ())}
    return variables


def resolve_class(setting: str, text: str, variable: str, source: str, problems: list[Problem]) -> type | str:
    """Turn the text of ``worker_class`` or ``logger_class`` into what Gunicorn takes: its own names stay text.

    Gunicorn looks only into its own package for short names, so a plugin's class is loaded here and handed over.
    """
    group, base, own = (
        (WORKERS, Worker, set(SUPPORTED_WORKERS)) if setting == "worker_class" else (LOGGERS, Logger, {"simple"})
    )
    available = installed(group)
    if text in own and text not in available:
        if setting == "worker_class":
            _import(text, group, variable, source, problems)  # gevent and tornado are extras: are they there?
        return text
    if "." in text or text.startswith("egg:"):
        loaded: Any = _import(text, group, variable, source, problems)
    else:
        loaded = _load(available, text, variable, source, problems)
    if loaded is None:
        return text
    if not (inspect.isclass(loaded) and issubclass(loaded, base)):
        problems.append(Problem(variable, text, source, f"accepted: a subclass of {base.__module__}.{base.__name__}"))
        return text
    return loaded


def _import(text: str, group: str, variable: str, source: str, problems: list[Problem]) -> Any:
    try:
        return util.load_class(text, section=group.replace("greendock", "gunicorn"))
    except Exception as error:
        reason = str(error).rstrip("]\n").splitlines()[-1]  # Gunicorn's errors end with a traceback in brackets
        problems.append(Problem(variable, text, source, f"cannot be loaded: {reason}"))
        return None
