"""What no stack here can pass: Nginx that answers by itself, and Nginx in front of that one.

As lean as Nginx gets: no log, no headers, connections kept on both sides.
"""

from bench.peers.model import LIMIT, Peer, Place, Program

_HTTP = """
@USER@
worker_processes auto;
pid @FOLDER@/nginx.pid;
error_log @FOLDER@/nginx-error.log;
events { worker_connections 4096; }
http {
    default_type application/octet-stream;
    sendfile on;
    tcp_nopush on;
    access_log off;
    @TEMP@
"""

_ANSWER = """
    server {
        listen 127.0.0.1:@ANSWER@;
        location / { default_type text/plain; return 200 "Hello, world!\\n"; }
        location /static/ { alias @STATIC@/; }
    }
"""

_PROXY = """
    upstream answer { server 127.0.0.1:@ANSWER@; keepalive 64; }
    server {
        listen 127.0.0.1:@HTTP@;
        location / { proxy_http_version 1.1; proxy_set_header Connection ""; proxy_pass http://answer; }
    }
"""


def _alone(place: Place) -> list[Program]:
    return [place.run_nginx(_HTTP + _ANSWER + "}", ANSWER=place.port())]


def _twice(place: Place) -> list[Program]:
    return [place.run_nginx(_HTTP + _ANSWER + _PROXY + "}", ANSWER=place.port("answer"))]


_SOURCE = "Nginx"
PEERS = [
    Peer("nginx", "Nginx alone", LIMIT, _SOURCE, "`return 200`; a static file", _alone, frozenset({"hello", "static"})),
    Peer("nginx-nginx", "Nginx → Nginx", LIMIT, _SOURCE, "`return 200` behind a proxy", _twice, frozenset({"hello"})),
]
