"""What ``greendock config`` and ``greendock plugins`` print."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from greendock.env import sources
from greendock.env.problems import HIDDEN, Problem, looks_secret
from greendock.env.value import Value
from greendock.hooks import plugins
from greendock.hooks.events import EVENTS
from greendock.server import variables
from greendock.server.build import Built
from greendock.server.effective import effective
from greendock.server.settings import DEFAULTS, PREFIX, TEMPLATE, Setting, known


def settings(built: Built, arguments: list[str], form: str) -> str:
    """Return every setting as Gunicorn would have it with these command line ``arguments``, and Greendock's own."""
    rows = [
        (name, _text(built, name, setting), setting.source)
        for name, setting in sorted(effective(built, arguments).settings.items())
    ]
    for name, value in sorted(built.options.items()):
        if name.startswith("GREENDOCK_"):
            source = built.values[name].source if name in built.values else TEMPLATE
            rows.append((name, "" if value is None else _plain(value), source))
    if form == "json":
        return json.dumps({name: {"value": value, "source": source} for name, value, source in rows}, indent=2)
    return table(("setting", "value", "from"), rows)


def _text(built: Built, name: str, setting: Setting) -> str:
    variable = f"{PREFIX}{name.upper()}"
    text = built.values.get(variable)
    if (looks_secret(variable) and setting.value) or (text is not None and text.secret):
        return HIDDEN
    if name in built.hooks:
        return ", ".join(hook.name for hook in built.hooks[name])
    if name in EVENTS or (setting.source == "Gunicorn's default" and callable(setting.value)):
        return ""
    return _plain(setting.value)


def _plain(value: Any) -> str:
    if isinstance(value, type):
        return f"{value.__module__}.{value.__qualname__}"
    if callable(value):
        return str(getattr(value, "__qualname__", value))
    if isinstance(value, dict):
        return json.dumps(value, default=str)
    if isinstance(value, list | tuple):
        return ",".join(str(item) for item in value)
    return "" if value is None else str(value)


def table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """Return rows as text in columns; control characters in values are escaped."""
    clean = [tuple(cell if cell.isprintable() else repr(cell) for cell in row) for row in [head, *rows]]
    widths = [min(48, max(len(row[column]) for row in clean)) for column in range(len(head))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in clean
    )


def plugin_list(process: Mapping[str, str], dotenv: Path, form: str) -> str:
    """Return what is installed, from which package and version, whether it is in use, and what it hooks."""
    problems: list[Problem] = []
    values = sources.load(process, dotenv, (variables.ALL | known()).keys(), problems)
    chosen = _chosen(values, problems)
    rows = []
    for group, kind in plugins.GROUPS.items():
        for name, plugin in plugins.installed(group).items():
            enabled = name in chosen[group]
            package = f"{plugin.package} {plugin.version}"
            rows.append((name, kind, package, "enabled" if enabled else "", _what(plugin)))
    if form == "json":
        head = ("name", "kind", "package", "enabled", "what")
        return json.dumps([dict(zip(head, row, strict=True)) for row in rows], indent=2)
    return table(("plugin", "kind", "package", "", "hooks or class"), rows)


def _chosen(values: Mapping[str, Value], problems: list[Problem]) -> dict[str, list[str]]:
    names = variables.APP["GREENDOCK_PLUGINS"].read(values, problems) or []
    classes = {}
    for group, setting in ((plugins.WORKERS, "worker_class"), (plugins.LOGGERS, "logger_class")):
        value = values.get(f"{PREFIX}{setting.upper()}")
        classes[group] = [value.text if value else DEFAULTS.get(setting, "")]
    return {plugins.HOOKS: names} | classes


def _what(plugin: plugins.Installed) -> str:
    try:
        loaded = plugin.entry_point.load()
    except Exception as error:  # a plugin is other people's code; most often an extra is not installed
        return f"cannot be loaded: {error}"
    if plugin.group != plugins.HOOKS:
        return f"{loaded.__module__}.{loaded.__qualname__}"
    return ", ".join(event for event in EVENTS if callable(getattr(loaded, event, None)))
