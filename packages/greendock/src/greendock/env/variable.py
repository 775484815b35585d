"""The shape of one environment variable. Every variable Greendock reads is declared once, as one of these."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from greendock.env import contract, peers
from greendock.env.problems import Problem, looks_secret
from greendock.env.types import Type
from greendock.env.value import Value

PREFIXES = ("GUNICORN_", "GREENDOCK_", "NGINX_")

# Not settings, and under our prefixes: the template's number, Gunicorn's own, the official Nginx image's.
_FOREIGN = frozenset(
    set(contract.FILES)
    | {"GUNICORN_CMD_ARGS", "GUNICORN_PID", "GUNICORN_FD", "GUNICORN_DIRTY_SOCKET"}
    | {"NGINX_VERSION", "NGINX_GPGKEY", "NGINX_GPGKEYS", "NGINX_GPGKEY_PATH"}
    | {"NGINX_ENTRYPOINT_QUIET_LOGS", "NGINX_ENTRYPOINT_LOCAL_RESOLVERS", "NGINX_ENTRYPOINT_WORKER_PROCESSES_AUTOTUNE"}
)
# Kubernetes injects these for every Service: NAME_SERVICE_HOST, NAME_PORT_80_TCP_ADDR, NAME_PORT=tcp://…
# https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables
_KUBERNETES = re.compile(r"[A-Z0-9_]*_(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT_\d+_(TCP|UDP|SCTP)(_[A-Z]+)?)")
_KUBERNETES_PORT = re.compile(r"(tcp|udp|sctp)://.*")


@dataclass(frozen=True)
class Variable:
    """One environment variable.

    ``default`` is the text used when the variable is unset (``""``: no value); ``reader`` says who reads it:
    ``app`` (Gunicorn's container), ``nginx`` (the proxy's) or ``compose`` (``docker-compose.yml`` itself).
    ``development`` is the value ``.env.example`` suggests for a developer's machine.
    """

    name: str
    type: Type
    default: str
    summary: str
    section: str
    reader: str = "app"
    development: str = ""

    def read(self, values: Mapping[str, Value], problems: list[Problem]) -> Any:
        """Return the parsed value, or the parsed default; a fault is appended to ``problems``.

        ``None`` stands for "no value and no default".
        """
        value = values.get(self.name)
        if value is not None:
            try:
                return self.type.parse(value.text)
            except (ValueError, TypeError, RecursionError):
                shown = None if value.secret else value.text
                problems.append(Problem(self.name, shown, value.source, f"accepted: {self.type.accepted}"))
        return self.type.parse(self.default) if self.default else None


def is_foreign(name: str, text: str) -> bool:
    """Say whether a name under one of our prefixes belongs to Gunicorn, the Nginx image or Kubernetes."""
    if name in _FOREIGN or name.startswith("NGINX_ENVSUBST_"):
        return True
    if _KUBERNETES.fullmatch(name):
        return True
    return name.endswith("_PORT") and _KUBERNETES_PORT.fullmatch(text) is not None


def unknown_names(values: Mapping[str, Value], known: Iterable[str], prefixes: Iterable[str]) -> list[Problem]:
    """Return a problem for each name that starts with one of ``prefixes`` and is neither known nor foreign."""
    names = sorted(set(known))
    starts = tuple(prefixes)
    return [
        Problem(
            name, None if value.secret or looks_secret(name) else value.text, value.source, nearest(name.upper(), names)
        )
        for name, value in sorted(values.items())
        if name.startswith(starts) and name not in names and not is_foreign(name, value.text)
    ]


def nearest(name: str, names: list[str]) -> str:
    """Say that there is no such name, and which one was probably meant."""
    known = peers.ours(name)
    if known is not None:
        return f"no such name; did you mean {known}?"
    bare = name.split("_", 1)[-1]  # GUNICORN_PORT means PORT
    close = [bare] if bare in names else difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    return f"no such name; did you mean {close[0]}?" if close else "no such name; `greendock env` lists all"
