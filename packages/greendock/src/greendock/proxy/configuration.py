"""From the environment to typed values of the proxy, with every problem in one report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from greendock.env import contract
from greendock.env.problems import ConfigurationError, Problem
from greendock.env.sources import load
from greendock.env.value import Value
from greendock.env.variable import unknown_names
from greendock.proxy.types import ANY, LOCAL, is_address
from greendock.proxy.variables import NAMES, PREFIX, VARIABLES


def read(process: Mapping[str, str]) -> dict[str, Any]:
    """Return every ``NGINX_*`` variable's value by its full name; ``None``: unset and without default.

    Raises ``ConfigurationError`` with all problems.
    """
    problems = contract.problems(process)
    relevant = {name: text for name, text in process.items() if name.startswith(PREFIX)}
    texts = load(relevant, None, NAMES, problems)
    problems += unknown_names(texts, NAMES, (PREFIX,))
    values = {variable.name: variable.read(texts, problems) for variable in VARIABLES}
    problems += _contradictions(values, texts)
    if problems:
        raise ConfigurationError(problems)
    return values


# The first is nothing without the second.
_NEEDS = (
    ("NGINX_HTTP3", "NGINX_TLS"),
    ("NGINX_TLS_CLIENT_CA", "NGINX_TLS"),
    ("NGINX_PROXY_PROTOCOL", "NGINX_TRUSTED_PROXIES"),
    ("NGINX_HEALTH_UPSTREAM", "NGINX_HEALTH_PATH"),
    ("NGINX_MEDIA_URL", "NGINX_MEDIA_ROOT"),
)


def _answers(name: str, host: str) -> bool:
    """Say whether a server name, which may be a wildcard, answers ``host``."""
    return host in (name, name.removeprefix(".")) or (name[0] in "*." and host.endswith(name.removeprefix("*")))


def _certifiable(name: str) -> bool:
    """Say whether a CA can look at the challenge under this server name."""
    return name not in (ANY, LOCAL) and name[0] not in "*." and not is_address(name)


def _contradictions(values: Mapping[str, Any], texts: Mapping[str, Value]) -> Iterator[Problem]:
    """Yield what no single variable can show: values that are right alone and wrong together."""

    def problem(name: str, accepted: str) -> Problem:
        value = texts.get(name)
        source = value.source if value else "default"
        return Problem(name, str(values[name]), source, f"accepted: {accepted}")

    ports = ("NGINX_HTTP_PORT", "NGINX_HTTPS_PORT", "NGINX_STATUS_PORT")
    for position, name in enumerate(ports):
        for other in ports[:position]:
            if values[name] == values[other]:
                yield problem(name, f"a port other than {other}'s")
    if 0 < values["NGINX_KEEPALIVE_TIMEOUT"] < values["NGINX_KEEPALIVE_MIN_TIMEOUT"]:
        yield problem("NGINX_KEEPALIVE_MIN_TIMEOUT", "no more than NGINX_KEEPALIVE_TIMEOUT")
    for name, needed in _NEEDS:
        if values[name] and values[needed] in (None, "off"):
            yield problem(name, f"only together with {needed}")
    if values["NGINX_TLS"] == "acme":
        if not all(map(_certifiable, values["NGINX_SERVER_NAMES"])):
            yield problem("NGINX_SERVER_NAMES", "with NGINX_TLS=acme, host names without wildcards and addresses")
        if values["NGINX_ACME_WEBROOT"] is not None:
            yield problem("NGINX_ACME_WEBROOT", "only with NGINX_TLS=on; the service acme has a folder of its own")
    canonical, names = values["NGINX_CANONICAL_HOST"], values["NGINX_SERVER_NAMES"]
    if canonical and names != [ANY] and not any(_answers(name, canonical) for name in names):
        yield problem("NGINX_CANONICAL_HOST", "a name that NGINX_SERVER_NAMES answers")
    if values["NGINX_MEDIA_URL"] == values["NGINX_STATIC_URL"]:
        yield problem("NGINX_MEDIA_URL", "another prefix than NGINX_STATIC_URL's")
    if values["NGINX_HSTS_PRELOAD"] and not (
        values["NGINX_HSTS_INCLUDE_SUBDOMAINS"] and values["NGINX_HSTS_MAX_AGE"] >= 31536000
    ):
        # https://hstspreload.org/#submission-requirements
        yield problem(
            "NGINX_HSTS_PRELOAD", "on only with NGINX_HSTS_INCLUDE_SUBDOMAINS and a year of NGINX_HSTS_MAX_AGE"
        )
