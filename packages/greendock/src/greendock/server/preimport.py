"""The variables Gunicorn reads by itself, made fit for it before it is imported.

Gunicorn takes defaults from ``WEB_CONCURRENCY``, ``PORT``, ``FORWARDED_ALLOW_IPS`` and ``SENDFILE`` at import; a value
it cannot take ends in a traceback before ``gunicorn.conf.py`` is read.
"""

from __future__ import annotations

import ipaddress
from collections.abc import MutableMapping
from contextlib import suppress

from greendock.host import networks

NAMES = ("WEB_CONCURRENCY", "PORT", "FORWARDED_ALLOW_IPS", "SENDFILE")


def hide(environ: MutableMapping[str, str]) -> dict[str, str]:
    """Return a copy of ``environ``, and take out of it what Gunicorn would read while it is imported."""
    whole = dict(environ)
    for name in NAMES:
        environ.pop(name, None)
    return whole


def prepare(environ: MutableMapping[str, str]) -> bool:
    """Remove what is set but empty, and expand ``network`` in ``FORWARDED_ALLOW_IPS``.

    Return whether Gunicorn can be imported with the rest.
    """
    for name in (*NAMES, "GUNICORN_CMD_ARGS"):
        if name in environ and not environ[name].strip():
            del environ[name]
    if "FORWARDED_ALLOW_IPS" in environ:
        with suppress(ValueError):  # reported by the check that follows
            environ["FORWARDED_ALLOW_IPS"] = networks.expand(environ["FORWARDED_ALLOW_IPS"])
    return environ.get("WEB_CONCURRENCY", "1").isdecimal() and _are_networks(environ.get("FORWARDED_ALLOW_IPS", "*"))


def _are_networks(text: str) -> bool:
    try:
        for item in text.split(","):
            if item.strip() != "*":
                ipaddress.ip_network(item.strip())
    except ValueError:
        return False
    return True
