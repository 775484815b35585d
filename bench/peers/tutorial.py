"""The usual tutorial: Nginx, a unix socket, three sync workers.

Source: DigitalOcean, "How To Serve Flask Applications with Gunicorn and Nginx on Ubuntu": `gunicorn --workers 3
--bind unix:… -m 007`, `include proxy_params; proxy_pass http://unix:…`, and Debian's nginx.conf around it. Nginx as
Debian and Ubuntu ship it (before 1.29.7) speaks HTTP/1.0 to the upstream and keeps no connection to it; that is
written out here, since all peers run the same newer Nginx. Added, because the workloads need them: the static
location of the same site's Django tutorial, and a body size above 1 MiB.
"""

from bench.peers.model import PROXIED, WSGI, Peer, Place, Program, installed

_NGINX = """
@USER@
worker_processes auto;
worker_cpu_affinity auto;
pid @FOLDER@/nginx.pid;
error_log @FOLDER@/nginx-error.log;
events { worker_connections 768; }
http {
    sendfile on;
    tcp_nopush on;
    types_hash_max_size 2048;
    server_tokens off;
    default_type application/octet-stream;
    access_log @FOLDER@/access.log;
    gzip on;
    @TEMP@
    server {
        listen 127.0.0.1:@HTTP@;
        client_max_body_size 10m;
        location /static/ { alias @STATIC@/; }
        location / {
            proxy_http_version 1.0;
            proxy_set_header Connection close;
            proxy_set_header Host $http_host;
            proxy_set_header X-Real-IP $remote_addr;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
            proxy_set_header X-Forwarded-Proto $scheme;
            proxy_pass http://unix:@FOLDER@/app.sock;
        }
    }
}
"""


def _programs(place: Place) -> list[Program]:
    socket = f"unix:{place.folder / 'app.sock'}"
    gunicorn = (installed("gunicorn"), "--workers", "3", "--bind", socket, "-m", "007", WSGI)
    return [Program(gunicorn), place.run_nginx(_NGINX)]


PEER = Peer(
    "tutorial",
    "Nginx tutorial",
    PROXIED,
    "DigitalOcean, How To Serve Flask Applications with Gunicorn and Nginx on Ubuntu",
    "Nginx → unix socket, HTTP/1.0, no keepalive → 3 sync workers",
    _programs,
)
