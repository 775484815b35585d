"""nickjj/docker-flask-example: Gunicorn behind no proxy of its own.

Source: config/gunicorn.py in nickjj/docker-flask-example (commit b042767): 2 × CPUs workers of one thread, and an
access log. https://github.com/nickjj/docker-flask-example
"""

from bench.peers.model import BARE, CPUS, WSGI, Peer, Place, Program, installed

_CONFIGURATION = """
bind = "127.0.0.1:@HTTP@"
accesslog = "-"
access_log_format = "%(h)s %(l)s %(u)s %(t)s '%(r)s' %(s)s %(b)s '%(f)s' '%(a)s' in %(D)sµs"
workers = @WORKERS@
threads = 1
reload = False
"""


def _programs(place: Place) -> list[Program]:
    path = place.write("gunicorn_config.py", _CONFIGURATION, WORKERS=2 * CPUS)
    return [Program((installed("gunicorn"), "-c", str(path), WSGI))]


PEER = Peer(
    "docker-flask-example",
    "docker-flask-example",
    BARE,
    "nickjj/docker-flask-example config/gunicorn.py",
    f"sync, {2 * CPUS} workers, access log",
    _programs,
)
