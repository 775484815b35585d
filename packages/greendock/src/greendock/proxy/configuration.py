"""From the environment to typed values of the proxy, with every problem in one report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from greendock.env.problems import ConfigurationError, Problem
from greendock.env.sources import load
from greendock.env.value import Value
from greendock.env.variable import unknown_names
from greendock.proxy.variables import NAMES, PREFIX, VARIABLES


def read(process: Mapping[str, str]) -> dict[str, Any]:
    """Return every ``NGINX_*`` variable's value by its full name; ``None``: unset and without default.

    Raises ``ConfigurationError`` with all problems.
    """
    problems: list[Problem] = []
    relevant = {name: text for name, text in process.items() if name.startswith(PREFIX)}
    given = load(relevant, None, NAMES, problems)
    problems += unknown_names(given, NAMES, (PREFIX,))
    values = {variable.name: variable.read(given, problems) for variable in VARIABLES}
    problems += _contradictions(values, given)
    if problems:
        raise ConfigurationError(problems)
    return values


def _contradictions(values: Mapping[str, Any], given: Mapping[str, Value]) -> Iterator[Problem]:
    """Yield what no single variable can show: values that are right alone and wrong together."""

    def problem(name: str, accepted: str) -> Problem:
        value = given.get(name)
        source = value.source if value else "default"
        return Problem(name, str(values[name]), source, f"accepted: {accepted}")

    ports = ("NGINX_HTTP_PORT", "NGINX_HTTPS_PORT", "NGINX_STATUS_PORT")
    for position, name in enumerate(ports):
        for other in ports[:position]:
            if values[name] == values[other]:
                yield problem(name, f"a port other than {other}'s")
    if values["NGINX_KEEPALIVE_MIN_TIMEOUT"] > values["NGINX_KEEPALIVE_TIMEOUT"]:
        yield problem("NGINX_KEEPALIVE_MIN_TIMEOUT", "no more than NGINX_KEEPALIVE_TIMEOUT")
    if values["NGINX_HTTP3"] and values["NGINX_TLS"] == "off":
        yield problem("NGINX_HTTP3", "on only together with NGINX_TLS")
    if values["NGINX_HSTS_PRELOAD"] and not (
        values["NGINX_HSTS_INCLUDE_SUBDOMAINS"] and values["NGINX_HSTS_MAX_AGE"] >= 31536000
    ):
        # https://hstspreload.org/#submission-requirements
        yield problem(
            "NGINX_HSTS_PRELOAD", "on only with NGINX_HSTS_INCLUDE_SUBDOMAINS and a year of NGINX_HSTS_MAX_AGE"
        )
