"""Granian, WSGI, behind no proxy.

Source: its command line's defaults (https://github.com/emmett-framework/granian), but one worker for each CPU: the
default of one would leave the other CPUs idle.
"""

from bench.peers.model import BARE, CPUS, WSGI, Peer, Place, Program, installed


def _programs(place: Place) -> list[Program]:
    port = str(place.port())
    return [Program((installed("granian"), "--interface", "wsgi", "--workers", str(CPUS), "--port", port, WSGI))]


PEER = Peer(
    "granian",
    "Granian (WSGI)",
    BARE,
    "emmett-framework/granian, command line defaults",
    f"{CPUS} workers, no access log",
    _programs,
)
