"""Where Gunicorn listens: whether an address is well-formed, and whether the proxy would reach it.

Gunicorn itself finds out when it binds: a wrong port is a traceback, and a third part is cut off unseen.
https://docs.gunicorn.org/en/stable/settings.html#bind
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from pathlib import Path

ACCEPTED = "accepted: HOST:PORT, [IPV6]:PORT, unix:/path/of/a/socket or fd://NUMBER; ports from 0 to 65535"
_HOST_AND_PORT = re.compile(r"(?:tcp://)?(\[[0-9A-Fa-f:.]+\]|[^:\[\]/\s]*)(?::([0-9]{1,5}))?")
_DEFAULT_PORT = "8000"  # Gunicorn's


def complaint(address: str, folder: Path) -> str | None:
    """Say why Gunicorn cannot listen on ``address``, or ``None``; ``folder`` is what a relative path starts from."""
    if address.startswith("unix:"):
        home = (folder / _socket(address)).parent
        return None if home.is_dir() else f"accepted: a socket in an existing folder ({home} is none)"
    if re.fullmatch(r"fd://[0-9]+", address):
        return None
    match = _HOST_AND_PORT.fullmatch(address)
    if match is None or not address or int(match[2] or _DEFAULT_PORT) > 65535:
        return ACCEPTED
    return None


def unreachable(binds: Iterable[str], upstreams: Iterable[str]) -> bool:
    """Say whether a proxy that asks ``upstreams`` would reach none of ``binds``, as far as both tell.

    A name tells nothing about the host it stands for, but its port must be one that is listened on. Sockets and file
    descriptors may have another name on the other side.
    """
    offered = list(binds)
    asked = list(upstreams)
    if not asked or any(each.startswith(("unix:", "fd://")) for each in (*offered, *asked)):
        return False
    return not any(_reaches(upstream, bind) for upstream in asked for bind in offered)


def _reaches(upstream: str, bind: str) -> bool:
    (asked_host, asked_port), (host, port) = _parts(upstream), _parts(bind)
    return asked_port == port and (not _is_loopback(host) or _is_loopback(asked_host))


def _parts(address: str) -> tuple[str, str]:
    match = _HOST_AND_PORT.fullmatch(address)
    return (match[1].strip("[]"), match[2] or _DEFAULT_PORT) if match else ("", "")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _socket(address: str) -> Path:
    return Path(re.sub(r"^unix:(//)?", "", address))
