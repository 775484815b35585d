"""tiangolo/uwsgi-nginx-flask: uWSGI behind Nginx, over the uwsgi protocol and a unix socket.

Source: docker-images/entrypoint.sh, python3.12.dockerfile and uwsgi.ini in tiangolo/uwsgi-nginx-docker, and
entrypoint.sh in tiangolo/uwsgi-nginx-flask-docker: 2 processes and up to 16 on demand (cheaper), one Nginx worker,
no limit on bodies, one log line for each request from each of the two. The parameters are Nginx's `uwsgi_params`.
https://github.com/tiangolo/uwsgi-nginx-flask-docker
"""

from bench.peers.model import PROXIED, ROOT, Peer, Place, Program, installed

_UWSGI = """
[uwsgi]
socket = @FOLDER@/uwsgi.sock
chmod-socket = 664
hook-master-start = unix_signal:15 gracefully_kill_them_all
need-app = true
die-on-term = true
module = bench.app
callable = wsgi
pythonpath = @ROOT@
"""

_NGINX = r"""
@USER@
worker_processes 1;
error_log @FOLDER@/nginx-error.log warn;
pid @FOLDER@/nginx.pid;
events { worker_connections 1024; }
http {
    default_type application/octet-stream;
    log_format main '$remote_addr - $remote_user [$time_local] "$request" '
                    '$status $body_bytes_sent "$http_referer" "$http_user_agent" "$http_x_forwarded_for"';
    access_log @ACCESS_LOG@ main;
    sendfile on;
    keepalive_timeout 65;
    client_max_body_size 0;
    @TEMP@
    server {
        listen 127.0.0.1:@HTTP@;
        location / { try_files $uri @app; }
        location @app {
            uwsgi_param QUERY_STRING $query_string;
            uwsgi_param REQUEST_METHOD $request_method;
            uwsgi_param CONTENT_TYPE $content_type;
            uwsgi_param CONTENT_LENGTH $content_length;
            uwsgi_param REQUEST_URI $request_uri;
            uwsgi_param PATH_INFO $document_uri;
            uwsgi_param DOCUMENT_ROOT $document_root;
            uwsgi_param SERVER_PROTOCOL $server_protocol;
            uwsgi_param REQUEST_SCHEME $scheme;
            uwsgi_param HTTPS $https if_not_empty;
            uwsgi_param REMOTE_ADDR $remote_addr;
            uwsgi_param REMOTE_PORT $remote_port;
            uwsgi_param SERVER_PORT $server_port;
            uwsgi_param SERVER_NAME $server_name;
            uwsgi_pass unix://@FOLDER@/uwsgi.sock;
        }
        location /static { alias @STATIC@; }
    }
}
"""


def _programs(place: Place) -> list[Program]:
    path = place.write("uwsgi.ini", _UWSGI, ROOT=ROOT)
    uwsgi = Program((installed("uwsgi"), "--ini", str(path)), {"UWSGI_CHEAPER": "2", "UWSGI_PROCESSES": "16"})
    return [uwsgi, place.run_nginx(_NGINX)]


PEER = Peer(
    "uwsgi-nginx-flask",
    "uwsgi-nginx-flask",
    PROXIED,
    "tiangolo/uwsgi-nginx-docker and uwsgi-nginx-flask-docker",
    "Nginx (1 worker) → unix socket, uwsgi protocol → uWSGI, 2 to 16 processes",
    _programs,
)
