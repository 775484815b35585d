"""uvicorn, an ASGI application, behind no proxy.

Source: its command line's defaults, with the `standard` extras (uvloop, httptools) and an access log, but one worker
for each CPU: the default of one would leave the other CPUs idle. https://www.uvicorn.org/deployment/
"""

from bench.peers.model import ASGI, BARE, CPUS, Peer, Place, Program, installed


def _programs(place: Place) -> list[Program]:
    return [Program((installed("uvicorn"), "--workers", str(CPUS), "--port", str(place.port()), ASGI))]


PEER = Peer(
    "uvicorn",
    "uvicorn (ASGI)",
    BARE,
    "encode/uvicorn, command line defaults",
    f"{CPUS} workers, access log, an ASGI application",
    _programs,
)
