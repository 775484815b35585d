"""Gunicorn's own image, behind no proxy.

Source: docker/Dockerfile and docker/docker-entrypoint.sh in benoitc/gunicorn (commit 076bef6): every setting as
Gunicorn has it, and 2 × CPUs + 1 workers. https://github.com/benoitc/gunicorn/tree/master/docker
"""

from bench.peers.model import BARE, CPUS, WSGI, Peer, Place, Program, installed


def _programs(place: Place) -> list[Program]:
    bind = f"127.0.0.1:{place.port()}"
    return [Program((installed("gunicorn"), "--workers", str(2 * CPUS + 1), "--bind", bind, WSGI))]


PEER = Peer(
    "gunicorn-image",
    "Gunicorn's image",
    BARE,
    "benoitc/gunicorn docker/docker-entrypoint.sh",
    f"sync, {2 * CPUS + 1} workers, no keepalive, no access log",
    _programs,
)
