"""Who the client is, for WSGI: ``REMOTE_ADDR`` is the address that trusted proxies name, not the last proxy's own.

Gunicorn takes the scheme from a trusted proxy and leaves the address alone, so that an application which counts by
address counts everybody as one. Trust is Gunicorn's ``forwarded_allow_ips``; whatever another peer says counts nothing.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any

WSGIApplication = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]
_NO_PORT = "0"
_REMEMBERED = 4096  # pairs of a peer and what it says


def told_by_proxies(application: WSGIApplication, config: Any) -> WSGIApplication:
    """Return ``application`` with ``REMOTE_ADDR`` set to the client's address, under Gunicorn's ``config``."""
    everybody = "*" in config.forwarded_allow_ips
    networks = config.forwarded_allow_networks()

    def trusted(host: str) -> bool:
        if everybody:
            return True
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            return False
        return any(address in network for network in networks)

    @lru_cache(_REMEMBERED)
    def client(peer: str, forwarded: str) -> tuple[str, str] | None:
        """Return the address and the port (``"0"``: not told) that ``forwarded`` names.

        The last address that is no proxy's, or the first of all when all are; ``None`` when the peer counts nothing.
        """
        if peer and not trusted(peer):  # a Unix socket's peer has no address, and is trusted
            return None
        told = None
        for item in reversed(forwarded.split(",")):
            host, port = _split(item.strip())
            if not _is_address(host):
                break
            told = host, port
            if not trusted(host):
                break
        return told

    def told(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        forwarded = environ.get("HTTP_X_FORWARDED_FOR")
        if forwarded is not None:
            named = client(environ["REMOTE_ADDR"], forwarded)
            if named is not None:
                environ["REMOTE_ADDR"], environ["REMOTE_PORT"] = named
        return application(environ, start_response)

    return told


def _split(text: str) -> tuple[str, str]:
    """Split ``address``, ``address:port`` or ``[address]:port``."""
    if text.startswith("["):
        host, _, rest = text[1:].partition("]")
        return host, rest.removeprefix(":") or _NO_PORT
    if text.count(":") == 1:
        host, _, port = text.partition(":")
        return host, port
    return text, _NO_PORT


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
