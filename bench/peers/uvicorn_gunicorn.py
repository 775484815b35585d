"""tiangolo/uvicorn-gunicorn: Gunicorn with uvicorn's worker, an ASGI application, no proxy.

Source: docker-images/gunicorn_conf.py in tiangolo/uvicorn-gunicorn-docker (commit 0166846): one worker for each CPU
and at least two, keepalive and timeouts 120, `worker_tmp_dir` in memory. uvicorn has since moved its worker into the
package uvicorn-worker. https://github.com/tiangolo/uvicorn-gunicorn-docker
"""

from bench.peers.model import ASGI, BARE, CPUS, Peer, Place, Program, installed

_CONFIGURATION = """
workers = @WORKERS@
bind = "127.0.0.1:@HTTP@"
loglevel = "info"
errorlog = "-"
worker_tmp_dir = "/dev/shm"
worker_class = "uvicorn_worker.UvicornWorker"
graceful_timeout = timeout = keepalive = 120
"""


def _programs(place: Place) -> list[Program]:
    path = place.write("gunicorn_conf.py", _CONFIGURATION, WORKERS=max(CPUS, 2))
    return [Program((installed("gunicorn"), "-c", str(path), ASGI))]


PEER = Peer(
    "uvicorn-gunicorn",
    "uvicorn-gunicorn (ASGI)",
    BARE,
    "tiangolo/uvicorn-gunicorn-docker docker-images/gunicorn_conf.py",
    f"uvicorn worker, {max(CPUS, 2)} workers, an ASGI application",
    _programs,
)
