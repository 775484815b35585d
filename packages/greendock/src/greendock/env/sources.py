"""Where a value comes from: the process environment, ``.env``, and ``*_FILE`` secrets, as one mapping.

Precedence, lowest first: ``.env``, process environment. An empty value counts as unset.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, MutableMapping
from dataclasses import dataclass
from pathlib import Path

from greendock.env import secrets
from greendock.env.problems import Problem
from greendock.env.value import PROCESS, Value

# Names this module has put into the process environment. They are not "process environment" for the next load,
# so a line removed from .env is really gone after a reload.
_exported: set[str] = set()


def load(
    process: Mapping[str, str],
    dotenv: Path | None,
    known: Collection[str],
    problems: list[Problem],
) -> dict[str, Value]:
    """Merge all sources into one mapping of names to values.

    ``dotenv`` is the path of the ``.env`` file; a missing one is no fault. ``known`` are the names that have a
    ``NAME_FILE`` form wherever the file lies; any other ``NAME_FILE`` is read as a secret only when it points
    into ``/run/secrets/``, because many programs use names such as ``SSL_CERT_FILE`` for something else.
    Faults are appended to ``problems``.
    """
    values: dict[str, Value] = {}
    if dotenv is not None and dotenv.is_file():
        # The proxy image has no python-dotenv, and no .env either.
        from greendock.env.dotenv import read as read_dotenv  # noqa: PLC0415

        values = read_dotenv(dotenv, process, problems)
    values |= {name: Value(text, PROCESS) for name, text in process.items() if text.strip() and name not in _exported}
    for name, value in list(values.items()):
        _resolve_secret(name, value, values, known, problems)
    return values


def _resolve_secret(
    name: str, value: Value, values: dict[str, Value], known: Collection[str], problems: list[Problem]
) -> None:
    """Replace ``NAME_FILE=path`` with ``NAME`` and the file's text, as the official images do."""
    target = name.removesuffix("_FILE")
    if target == name or not target or name in known:
        return
    if target not in known and secrets.target(name, value.text) is None:
        return
    try:
        text = secrets.read(value.text)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        problems.append(Problem(name, value.text, value.source, f"accepted: a readable file of text ({reason})"))
        return
    if target in values and values[target].text != text:  # the same: another process has read it for this one
        sources = f"{value.source}; {target} from {values[target].source}"
        problems.append(Problem(name, value.text, sources, f"set {target} or {name}, not both"))
        return
    del values[name]
    if text:
        values[target] = Value(text, f"file {value.text} ({name})", secret=True)


def export(
    values: Mapping[str, Value], prefixes: tuple[str, ...], environ: MutableMapping[str, str] = os.environ
) -> None:
    """Give the application what it would not see otherwise: names from ``.env`` and secret files.

    Names under ``prefixes`` are ours and stay out. Names exported earlier and no longer wanted are removed.
    """
    wanted = {
        name: value.text
        for name, value in values.items()
        if value.source != PROCESS and not name.startswith(prefixes) and "\0" not in value.text
    }
    for name in _exported - wanted.keys():
        environ.pop(name, None)
    environ.update(wanted)
    _exported.clear()
    _exported.update(wanted)


@dataclass(frozen=True)
class Snapshot:
    """The process environment at one moment, and which of its names were exported."""

    environ: Mapping[str, str]
    exported: frozenset[str]


def snapshot() -> Snapshot:
    """Remember the process environment, to be able to go back to it."""
    return Snapshot(dict(os.environ), frozenset(_exported))


def restore(before: Snapshot) -> None:
    """Go back to a remembered process environment."""
    for name in os.environ.keys() - before.environ.keys():
        del os.environ[name]
    os.environ.update(before.environ)
    _exported.clear()
    _exported.update(before.exported)
