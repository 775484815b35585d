"""What is wrong with a configuration, gathered so that one report says it all."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

HIDDEN = "(hidden)"

_SECRET_NAME = re.compile(r"SECRET|PASSW|TOKEN|CREDENTIAL|PRIVATE|API_?KEY|DSN|RAW_ENV", re.IGNORECASE)


def looks_secret(name: str) -> bool:
    """Say whether a variable's name suggests that its value must not be shown."""
    return _SECRET_NAME.search(name) is not None


def printable(text: str, limit: int = 200) -> str:
    """Quote ``text`` for one line of a report: control characters escaped, at most ``limit`` characters."""
    quoted = repr(text)
    return quoted if len(quoted) <= limit else f"{quoted[:limit]}…'"


@dataclass(frozen=True)
class Problem:
    """One fault: the variable, its value (``None`` when it must not be shown), where it came from, what is accepted."""

    variable: str
    value: str | None
    source: str
    accepted: str

    def __str__(self) -> str:
        shown = HIDDEN if self.value is None or looks_secret(self.variable) else printable(self.value)
        name = self.variable if self.variable.isprintable() else repr(self.variable)
        return f"{name}={shown} (from {self.source}): {self.accepted}"


class ConfigurationError(Exception):
    """Raised once, with every problem found."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(dict.fromkeys(problems))
        super().__init__(report(self.problems))


def report(problems: Iterable[Problem]) -> str:
    """Return the text shown to the operator: a count, then one line for each problem."""
    lines = [str(problem) for problem in problems]
    noun = "problem" if len(lines) == 1 else "problems"
    return "\n".join(
        [f"greendock: {len(lines)} configuration {noun}, nothing was started:", *(f"  {x}" for x in lines)]
    )
