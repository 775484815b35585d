"""The peers, each in a file of its own: what users would pick instead, in the configuration its own project ships."""

from __future__ import annotations

from bench.peers import (
    caddy,
    flask_example,
    granian,
    gunicorn_image,
    limits,
    nginx_asgi,
    ours,
    tutorial,
    uvicorn,
    uvicorn_gunicorn,
    uwsgi_nginx,
)
from bench.peers.model import LIMIT, Peer


def every() -> list[Peer]:
    """Return all peers: ours, the others behind a proxy, those without one, the limits."""
    own = ours.peers()
    others = (tutorial, uwsgi_nginx, caddy, gunicorn_image, flask_example, granian, uvicorn_gunicorn, uvicorn)
    together = [*own, *(module.PEER for module in others), *nginx_asgi.PEERS, *limits.PEERS]
    return sorted(together, key=lambda peer: peer.kind == LIMIT)
