"""Caddy in front of Gunicorn with Gunicorn's own defaults.

Source: Caddy's documentation, reverse proxy quick-start and common patterns (`reverse_proxy`, `file_server`):
https://caddyserver.com/docs/quick-starts/reverse-proxy. Gunicorn as in its image: sync, 2 × CPUs + 1 workers.
"""

from bench.peers.model import CPUS, PROXIED, WSGI, Peer, Place, Program, installed

_CADDYFILE = """
{
    admin off
    auto_https off
}
http://127.0.0.1:@HTTP@ {
    bind 127.0.0.1
    handle_path /static/* {
        root * @STATIC@
        file_server
    }
    handle {
        reverse_proxy 127.0.0.1:@APP@
    }
}
"""


def _programs(place: Place) -> list[Program]:
    bind = f"127.0.0.1:{place.port('app')}"
    path = place.write("Caddyfile", _CADDYFILE, APP=place.port("app"))
    home = {"HOME": str(place.folder), "XDG_DATA_HOME": str(place.folder), "XDG_CONFIG_HOME": str(place.folder)}
    return [
        Program((installed("gunicorn"), "--workers", str(2 * CPUS + 1), "--bind", bind, WSGI)),
        Program(("caddy", "run", "--config", str(path), "--adapter", "caddyfile"), home),
    ]


PEER = Peer(
    "caddy",
    "Caddy → Gunicorn",
    PROXIED,
    "Caddy's documentation, reverse proxy quick-start",
    f"Caddy → TCP → sync, {2 * CPUS + 1} workers",
    _programs,
    needs=("caddy",),
)
