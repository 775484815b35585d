"""Kinds of value an environment variable can hold: how each is read, and how it is described when it is wrong."""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

_TRUE = frozenset({"1", "true", "yes", "on", "y", "t"})
_FALSE = frozenset({"0", "false", "no", "off", "n", "f"})


@dataclass(frozen=True)
class Type:
    """A way to read text: ``parse`` raises ``ValueError`` for anything that is not ``accepted``."""

    accepted: str
    parse: Callable[[str], Any]


def _boolean(text: str) -> bool:
    lowered = text.strip().lower()
    if lowered in _TRUE:
        return True
    if lowered in _FALSE:
        return False
    raise ValueError(text)


_BRACKETED_ADDRESS = re.compile(r"\s*\[[0-9A-Fa-f.]*:[0-9A-Fa-f:.]*\]")


def items(text: str) -> list[str]:
    """Read a list: items between commas or white space, or a JSON array of strings, for items that hold either."""
    if text.lstrip().startswith("[") and _BRACKETED_ADDRESS.match(text) is None:
        loaded = json.loads(text)
        if not all(isinstance(item, str) for item in loaded):
            raise ValueError(text)
        return list(loaded)
    return [item for item in re.split(r"[,\s]+", text) if item]


def _mapping(text: str) -> dict[str, Any]:
    loaded = json.loads(text)
    if not isinstance(loaded, dict):
        raise ValueError(text)
    return loaded


def matching(pattern: str) -> Callable[[str], str]:
    """Read text that matches ``pattern`` as a whole."""
    compiled = re.compile(pattern)

    def parse(text: str) -> str:
        if compiled.fullmatch(text) is None:
            raise ValueError(text)
        return text

    return parse


def names_out_of(words: Sequence[str]) -> Callable[[str], list[str]]:
    """Read a list whose items are all among ``words``; ``none`` is the empty list."""

    def parse(text: str) -> list[str]:
        names = [] if text.strip().lower() == "none" else items(text)
        if not set(names) <= set(words):
            raise ValueError(text)
        return names

    return parse


def integer(low: int, high: int | None = None) -> Type:
    """A decimal whole number from ``low`` to ``high``, both included."""
    accepted = f"a whole number of at least {low}" if high is None else f"a whole number from {low} to {high}"

    def parse(text: str) -> int:
        if re.fullmatch(r"\s*[+-]?[0-9]{1,18}\s*", text) is None:
            raise ValueError(text)
        number = int(text)
        if number < low or (high is not None and number > high):
            raise ValueError(text)
        return number

    return Type(accepted, parse)


def number(low: float, high: float) -> Type:
    """A decimal number from ``low`` to ``high``, both included."""

    def parse(text: str) -> float:
        if re.fullmatch(r"\s*[0-9]{1,12}(\.[0-9]{1,9})?\s*", text) is None:
            raise ValueError(text)
        value = float(text)
        if not low <= value <= high:
            raise ValueError(text)
        return value

    return Type(f"a number from {low:g} to {high:g}", parse)


def choice(*words: str) -> Type:
    """One of ``words``, in any letter case."""

    def parse(text: str) -> str:
        lowered = text.strip().lower()
        if lowered not in words:
            raise ValueError(text)
        return lowered

    return Type("one of " + ", ".join(words), parse)


_UNITS = {"": 1, "k": 1024, "m": 1024**2, "g": 1024**3}


def _size(text: str) -> int:
    match = re.fullmatch(r"\s*([0-9]{1,15})\s*([kmg]?)(?:i?b)?\s*", text, re.IGNORECASE)
    if match is None or int(match[1]) == 0:
        raise ValueError(text)
    return int(match[1]) * _UNITS[match[2].lower()]


def _networks(text: str) -> list[str]:
    return [str(ipaddress.ip_network(item)) for item in items(text)]


BOOLEAN = Type("true or false (also 1/0, yes/no, on/off)", _boolean)
TEXT = Type("text without line breaks", matching(r"[^\r\n\0]+"))
LIST = Type("a list, separated by commas or white space, or a JSON array of strings", items)
MAPPING = Type('a JSON object, such as {"name": "value"}', _mapping)
PATH = Type("an absolute path", matching(r"/[^\0\r\n]*"))
PORT = integer(1, 65535)
SIZE = Type("a size in bytes, or with k, m or g (1024-based), such as 256m", _size)
NETWORKS = Type("a list of addresses or CIDR networks", _networks)
NAMES = Type("a list of names", items)
