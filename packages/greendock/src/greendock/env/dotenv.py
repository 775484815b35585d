"""``.env``, read so that it means the same to Docker Compose and to us.

The two readers differ on some lines (``$NAME`` without braces, a name without ``=``, most backslash escapes). Such a
line is refused: a file that works here works the same under Compose. python-dotenv does the reading of lines and
quotes; expansion is done here because python-dotenv would expand inside single quotes, and from the current process
environment, which after a reload still holds the old file's values.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from io import StringIO
from pathlib import Path

from dotenv.parser import Binding, parse_stream

from greendock.env.problems import Problem
from greendock.env.value import Value

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_REFERENCE = re.compile(r"\$\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>[^${}'\"\\]*))?\}")
_LINE = re.compile(r"\s*(?:export\s+)?[A-Za-z_][A-Za-z0-9_]*[ \t]*=(?P<raw>.*)", re.DOTALL)


def read(path: Path, process: Mapping[str, str], problems: list[Problem]) -> dict[str, Value]:
    """Return the file's variables: see ``parse``."""
    try:
        content = path.read_bytes()
    except OSError as error:
        problems.append(Problem(path.name, "", str(path), f"cannot be read: {error.strerror}"))
        return {}
    return parse(content, path.name, process, problems)


def parse(content: bytes, name: str, process: Mapping[str, str], problems: list[Problem]) -> dict[str, Value]:
    """Return the variables in the ``content`` of a file called ``name``; empty ones are left out.

    Faults are appended to ``problems``. ``${NAME}`` and ``${NAME:-default}`` are expanded from ``process`` first, then
    from the lines above.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        problems.append(Problem(name, "", name, "cannot be read: it is not UTF-8 text"))
        return {}
    above: dict[str, str] = {}
    values: dict[str, Value] = {}
    for binding in parse_stream(StringIO(text.replace("\r\n", "\n"))):
        source = f"{name} line {binding.original.line + _leading_newlines(binding.original.string)}"
        complaint = _complaint(binding)
        if complaint is not None:
            problems.append(Problem(binding.key or name, None, source, complaint))
        elif binding.key is not None:
            expanded = _expand(binding, above, process)
            above[binding.key] = expanded
            values.pop(binding.key, None)
            if expanded.strip():
                values[binding.key] = Value(expanded, source)
    return values


def _leading_newlines(text: str) -> int:
    return len(text) - len(text.lstrip("\n"))


def _raw(binding: Binding) -> str:
    match = _LINE.fullmatch(binding.original.string)
    return match["raw"].strip() if match else ""


def _complaint(binding: Binding) -> str | None:
    """Say why Compose and python-dotenv would read this line differently, or ``None``."""
    if binding.error:
        return "accepted: NAME=value, one to a line"
    if binding.key is None:
        return None
    if _NAME.fullmatch(binding.key) is None:
        return "accepted: a name of letters, digits and underscores"
    if binding.value is None:
        return "accepted: NAME=value (a name alone means different things to Compose and to us)"
    raw = _raw(binding)
    quote = raw[:1] if raw[:1] in ("'", '"') else ""
    if quote == "'":
        if "\\" in raw:
            return "accepted: single quotes around text without backslash"
        return None
    if quote == '"':
        if re.search(r"\\[^nrt\"\\]", raw.replace("\\\\", "")):
            return 'accepted: double quotes around text whose only escapes are \\n \\r \\t \\" \\\\'
        if "\\\\" in raw:
            return "accepted: a value without backslashes in pairs"
    elif raw.startswith("#") or re.search(r"[\\'\"`]|[^\S ]", raw.split(" #", 1)[0].rstrip()):
        return 'accepted: a value without quotes, backslashes and tabs, or one in "double quotes"'
    if "$" in _REFERENCE.sub("", binding.value):
        return "accepted: ${NAME} and ${NAME:-default}; a plain $ in 'single quotes'"
    return None


def _expand(binding: Binding, above: Mapping[str, str], process: Mapping[str, str]) -> str:
    if _raw(binding).startswith("'"):
        return binding.value or ""

    def replace(match: re.Match[str]) -> str:
        name, default = match["name"], match["default"] or ""
        return process.get(name) or ("" if name in process else above.get(name, "")) or default

    return _REFERENCE.sub(replace, binding.value or "")
