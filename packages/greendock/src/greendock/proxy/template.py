"""Templates: nginx.conf in pieces, one concern per file, put together and filled in.

Three constructs, all of them visible in the files:

- ``#if name`` or ``#if !name``, then ``#end``, each on a line of its own: what is between counts only under that
  condition;
- ``include folder/*.conf;`` with a relative path: those templates, in order of name, in place of the line;
- ``${NGINX_NAME}``: a value. Nginx's own variables are lower-case, so the two never meet.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

_IF = re.compile(r"#if (!?)([a-z_0-9]+)")
_INCLUDE = re.compile(r"^([ \t]*)include ([a-z][A-Za-z0-9_./*-]*);[ \t]*$", re.MULTILINE)
_VALUE = re.compile(r"\$\{([A-Z][A-Z0-9_]*)\}")
_TOO_DEEP = 8


class TemplateError(Exception):
    """A template that cannot be rendered: an unknown value or condition, an include of nothing or of itself."""


def render(root: Path, name: str, values: Mapping[str, str], conditions: Mapping[str, bool], depth: int = 0) -> str:
    """Return the template ``root/name`` with everything it includes, filled in.

    Each value is put in once and never read again, so a value cannot bring in another. A value of several
    lines takes the indentation of the line it stands on. Raises ``TemplateError``.
    """
    if depth > _TOO_DEEP:
        raise TemplateError(f"{name}: includes are nested more than {_TOO_DEEP} deep")
    text = _chosen(name, (root / name).read_text(encoding="utf-8"), conditions)

    def value(match: re.Match[str]) -> str:
        if match[1] not in values:
            raise TemplateError(f"{name}: no such value: {match[0]}")
        line = match.string[match.string.rfind("\n", 0, match.start()) + 1 : match.start()]
        indent = line if line.isspace() else ""
        return values[match[1]].replace("\n", "\n" + indent)

    def piece(match: re.Match[str]) -> str:
        paths = sorted(path.relative_to(root).as_posix() for path in root.glob(match[2]))
        if not paths:
            raise TemplateError(f"{name}: nothing to include: {match[2]}")
        pieces = ((each, render(root, each, values, conditions, depth + 1)) for each in paths)
        titled = (f"# {each}\n{body.strip()}\n" for each, body in pieces if body.strip())
        return "\n".join(_indented(body, match[1]) for body in titled).rstrip("\n")

    # Values go into what lies between the includes, never into what an include has brought.
    out, position = [], 0
    for include in _INCLUDE.finditer(text):
        out += [_VALUE.sub(value, text[position : include.start()]), piece(include)]
        position = include.end()
    return "".join([*out, _VALUE.sub(value, text[position:])])


def _chosen(name: str, text: str, conditions: Mapping[str, bool]) -> str:
    """Return the lines whose conditions all hold, without the conditions themselves."""
    kept, holds = [], [True]
    for line in text.splitlines(keepends=True):
        condition = _IF.fullmatch(line.strip())
        if condition:
            if condition[2] not in conditions:
                raise TemplateError(f"{name}: no such condition: {condition[2]}")
            holds.append(holds[-1] and conditions[condition[2]] != bool(condition[1]))
        elif line.strip() == "#end":
            holds.pop()
            if not holds:
                raise TemplateError(f"{name}: #end without #if")
        elif holds[-1]:
            kept.append(line)
    if len(holds) > 1:
        raise TemplateError(f"{name}: #if without #end")
    return "".join(kept)


def _indented(text: str, indent: str) -> str:
    return "".join(indent + line if line.strip() else line for line in text.splitlines(keepends=True))
