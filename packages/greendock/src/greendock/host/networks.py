"""The networks this host or container is attached to."""

from __future__ import annotations

import ipaddress
from pathlib import Path

from greendock.env.types import items

# The routing table's columns: interface, destination, gateway, flags, …, mask (hexadecimal, little-endian).
# https://man7.org/linux/man-pages/man5/proc_pid_net.5.html
_DESTINATION, _GATEWAY, _MASK = 1, 2, 7


def attached(route: Path = Path("/proc/net/route")) -> list[str]:
    """Return the IPv4 networks reached without a gateway, in CIDR notation, with the loopback network's address."""
    networks = {"127.0.0.1"}
    for line in route.read_text().splitlines()[1:]:
        fields = line.split()
        if len(fields) > _MASK and int(fields[_GATEWAY], 16) == 0 and int(fields[_MASK], 16) != 0:
            address, mask = (
                ipaddress.IPv4Address(int.from_bytes(bytes.fromhex(fields[column]), "little"))
                for column in (_DESTINATION, _MASK)
            )
            networks.add(str(ipaddress.ip_network(f"{address}/{mask}")))
    return sorted(networks)


def expand(text: str) -> str:
    """Replace the item ``network`` in a list by the networks this host is attached to; return it with commas.

    Raises ``ValueError`` for what is no list.
    """
    networks = items(text)
    if "network" in networks:
        networks = [item for item in networks if item != "network"] + attached()
    return ",".join(dict.fromkeys(networks))
