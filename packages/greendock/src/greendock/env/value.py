"""A variable's text and where it came from."""

from __future__ import annotations

from dataclasses import dataclass

PROCESS = "process environment"


@dataclass(frozen=True)
class Value:
    """The text of a variable, where it came from (for people), and whether it must never be shown."""

    text: str
    source: str
    secret: bool = False
