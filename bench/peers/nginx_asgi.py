"""ASGI servers behind Nginx, as the documentation of uvicorn and FastAPI ship them.

Nginx: the configuration of "Running behind Nginx" in uvicorn's docs/deployment/index.md, over a unix socket, with the
workers and the log format of Debian's nginx.conf. uvicorn-worker: tiangolo/uvicorn-gunicorn's gunicorn_conf.py
(bench/peers/uvicorn_gunicorn.py). Granian, Hypercorn: their command lines' defaults, with a worker for each CPU.
https://www.uvicorn.org/deployment/#running-behind-nginx
"""

from collections.abc import Callable

from bench.peers.model import ASGI, CPUS, PROXIED, Peer, Place, Program, installed

_NGINX = r"""
@USER@
worker_processes auto;
error_log @FOLDER@/nginx-error.log;
pid @FOLDER@/nginx.pid;
events { worker_connections 4096; }
http {
    access_log @ACCESS_LOG@;
    sendfile on;
    tcp_nopush on;
    gzip on;
    @TEMP@
    server {
        listen 127.0.0.1:@HTTP@;
        client_max_body_size 4G;
        location / {
            proxy_set_header Host $http_host;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
            proxy_set_header X-Forwarded-Proto $scheme;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection $connection_upgrade;
            proxy_redirect off;
            proxy_buffering off;
            proxy_pass http://asgi;
        }
        location /static { alias @STATIC@; }
    }
    map $http_upgrade $connection_upgrade {
        default upgrade;
        '' close;
    }
    upstream asgi { server unix:@FOLDER@/asgi.sock; }
}
"""

_GUNICORN = """
workers = @WORKERS@
bind = "unix:@FOLDER@/asgi.sock"
loglevel = "info"
errorlog = "-"
worker_tmp_dir = "/dev/shm"
worker_class = "uvicorn_worker.UvicornWorker"
graceful_timeout = timeout = keepalive = 120
"""


def _uvicorn(place: Place) -> Program:
    path = place.write("gunicorn_conf.py", _GUNICORN, WORKERS=max(CPUS, 2))
    return Program((installed("gunicorn"), "-c", str(path), ASGI))


def _granian(place: Place) -> Program:
    socket = str(place.folder / "asgi.sock")
    return Program((installed("granian"), "--interface", "asgi", "--workers", str(CPUS), "--uds", socket, ASGI))


def _hypercorn(place: Place) -> Program:
    bind = f"unix:{place.folder / 'asgi.sock'}"
    return Program((installed("hypercorn"), "--workers", str(CPUS), "--worker-class", "uvloop", "--bind", bind, ASGI))


def _peer(name: str, title: str, server: Callable[[Place], Program]) -> Peer:
    return Peer(
        f"nginx-{name}",
        f"Nginx → {title} (ASGI)",
        PROXIED,
        "uvicorn docs/deployment/index.md",
        f"Nginx → unix socket → {title}, {max(CPUS, 2)} workers, an ASGI application",
        lambda place: [server(place), place.run_nginx(_NGINX)],
    )


PEERS = (
    _peer("uvicorn-worker", "uvicorn-worker", _uvicorn),
    _peer("granian", "Granian", _granian),
    _peer("hypercorn", "Hypercorn", _hypercorn),
)
