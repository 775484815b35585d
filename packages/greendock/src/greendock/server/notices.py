"""What is not wrong and probably not meant: said at the start and by ``greendock check``, and never refused."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from greendock.env import peers
from greendock.env.problems import Problem
from greendock.env.value import Value
from greendock.env.variable import PREFIXES
from greendock.server.variables import CONVENTIONS

_ALIKE = 0.9  # APP_MODUL is APP_MODULE; APP_MODE is an application's own
_ALIKE_PREFIX = 0.8
_MEANT = "read by nothing here; did you mean {}? (Nothing is wrong where it is your application's own.)"
# What other images run before they start the server.
_SCRIPTS = ("prestart.sh", "app/prestart.sh")


def notices(values: Mapping[str, Value], known: Collection[str], folder: Path) -> list[str]:
    """Return a sentence for each name that somebody who set it probably thinks is read, and for each such file."""
    return [
        *(str(problem) for problem in _names(values, known)),
        *(
            f"{script} is not run; name a function in GUNICORN_ON_STARTING, or give it a service of its own"
            for script in _SCRIPTS
            if (folder / script).is_file()
        ),
    ]


def _names(values: Mapping[str, Value], known: Collection[str]) -> Iterator[Problem]:
    for name, value in sorted(values.items()):
        if name in known or name.startswith(PREFIXES):
            continue
        meant = peers.ours(name) or _near_miss(name, known)
        if meant is not None and meant not in values:
            yield Problem(name, None if value.secret else value.text, value.source, _MEANT.format(meant))


def _near_miss(name: str, known: Collection[str]) -> str | None:
    conventional = difflib.get_close_matches(name, [variable.name for variable in CONVENTIONS], 1, _ALIKE)
    if conventional:
        return conventional[0]
    prefix, underscore, rest = name.partition("_")
    right = difflib.get_close_matches(prefix, [each.rstrip("_") for each in PREFIXES], 1, _ALIKE_PREFIX)
    if not right or not underscore:
        return None
    close = difflib.get_close_matches(f"{right[0]}_{rest}", known, 1, _ALIKE)
    return close[0] if close else None
