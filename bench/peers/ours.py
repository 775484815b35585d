"""This repository: the template's defaults as `greendock` reads them, and other workers in the same place.

Addresses and folders differ from the containers', as in `scripts/local`; `GUNICORN_WORKER_TMP_DIR` is the image's.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

from gunicorn.workers import SUPPORTED_WORKERS

from bench.peers.model import ASGI, LIMIT, OURS, ROOT, WSGI, Peer, Place, Program, installed, python
from greendock.hooks.plugins import WORKERS
from greendock.hooks.plugins import installed as plugins
from greendock.server.build import build

DEFAULT = "greendock"
_GUNICORN_ANSWERS = frozenset({"hello", "json", "wait", "large", "upload"})


def worker_class(text: str = "") -> str:
    """Return the class the template makes of ``GUNICORN_WORKER_CLASS``, as a name to compare."""
    process = {"GUNICORN_WORKER_CLASS": text} if text else {}
    value = build(process).settings["worker_class"].value
    return value.__name__ if isinstance(value, type) else str(SUPPORTED_WORKERS.get(value, value)).rpartition(".")[2]


def stack(environment: Mapping[str, str], replicas: int = 1) -> Callable[[Place], list[Program]]:
    """Return what starts this stack with these variables: Nginx before one Gunicorn or several."""

    def programs(place: Place) -> list[Program]:
        place.write("gunicorn.conf.py", (ROOT / "gunicorn.conf.py").read_text())
        for name in ("run", "temp"):
            (place.folder / name).mkdir(exist_ok=True)
        names = ["gunicorn", *(f"gunicorn-{number}" for number in range(1, replicas))]
        upstreams = {name: f"127.0.0.1:{place.port(name)}" for name in names}
        gunicorns = [
            {
                "APP_MODULE": WSGI,
                "GUNICORN_BIND": upstream,
                "GUNICORN_WORKER_TMP_DIR": "/dev/shm",  # noqa: S108
                "GREENDOCK_READINESS_FILE": str(place.folder / f"{name}-ready"),
            }
            for name, upstream in upstreams.items()
        ]
        proxy = {
            "NGINX_UPSTREAM": ",".join(upstreams.values()),
            "NGINX_HTTP_PORT": str(place.port()),
            "NGINX_HTTPS_PORT": str(place.port("https")),
            "NGINX_STATUS_PORT": str(place.port("status")),
            "NGINX_BINARY": place.nginx,
            "NGINX_RUN_DIR": str(place.folder / "run"),
            "NGINX_TEMP_DIR": str(place.folder / "temp"),
            "NGINX_STATIC_ROOT": str(place.static),
            "NGINX_CONFIG_DIR": str(ROOT / "nginx"),
        }
        if os.geteuid() == 0:
            proxy["NGINX_WORKER_USER"] = "root"
        return [
            *(Program((installed("greendock"), "run", "gunicorn"), each | dict(environment)) for each in gunicorns),
            Program(python("-m", "greendock.proxy", "run"), proxy),
        ]

    return programs


def _ours(name: str, title: str, configuration: str, workloads: frozenset[str], **environment: str) -> Peer:
    programs = stack(environment)
    return Peer(name, title, OURS, "this repository", configuration, programs, workloads, environment=environment)


def _direct(peer: Peer) -> Peer:
    """Return the same Gunicorn, asked directly: what its worker gives without the proxy."""
    return Peer(
        f"{peer.name}-direct",
        f"{peer.title}, no proxy",
        LIMIT,
        "this repository",
        "the same Gunicorn, asked on its own port; clients keep connections alive",
        lambda _: [],
        _GUNICORN_ANSWERS,
        port="gunicorn",
        place_of=peer.name,
    )


def peers() -> list[Peer]:
    """Return the template as it is, then with each other worker class worth a row, then those without the proxy."""
    default = worker_class()
    found = [_ours(DEFAULT, f"Greendock ({default})", "the template's defaults", frozenset())]
    for name in ("drain", "gthread"):
        available = name in SUPPORTED_WORKERS or name in plugins(WORKERS)
        if available and worker_class(name) != default:
            chosen = {"GUNICORN_WORKER_CLASS": name}
            title, configuration = f"Greendock ({worker_class(name)})", f"GUNICORN_WORKER_CLASS={name}"
            workloads = frozenset() if name == "drain" else frozenset({"hello", "json", "wait"})
            found.append(_ours(f"greendock-{name}", title, configuration, workloads, **chosen))
    direct = [_direct(peer) for peer in found if not peer.workloads]
    found.append(
        _ours(
            "greendock-asgi",
            "Greendock (ASGI)",
            "GUNICORN_WORKER_CLASS=asgi, an ASGI application",
            frozenset({"hello", "json", "wait", "large", "upload"}),
            GUNICORN_WORKER_CLASS="asgi",
            APP_MODULE=ASGI,
        )
    )
    return found + direct
