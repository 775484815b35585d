"""Settings that are fine one by one and wrong together."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from greendock.env.problems import Problem
from greendock.server import addresses
from greendock.server.settings import DEFAULTS, TEMPLATE, Setting

# Worker classes that run requests on ``threads``; the others have one thread, an event loop or greenlets.
_ONE_THREAD = frozenset({"sync", "gevent", "gevent_wsgi", "gevent_pywsgi", "eventlet", "tornado", "asgi"})
_ONE_THREAD_CLASSES = frozenset(
    {"SyncWorker", "ASGIWorker", "AsgiWorker", "UvicornWorker", "GeventWorker", "TornadoWorker"}
)


# What this tier must know of the proxy.
OF_PROXY = ("NGINX_UPSTREAM", "NGINX_UPSTREAM_KEEPALIVE_TIMEOUT", "NGINX_SERVER_NAMES")
# Gunicorn finds out that a file is missing when it listens, or when it logs for the first time.
_FILES = ("certfile", "keyfile", "ca_certs", "logconfig", "logconfig_json")
_FILES_TO_WRITE = ("pidfile", "accesslog", "errorlog")


@dataclass(frozen=True)
class Together:
    """What Gunicorn's settings must agree with: seconds, the number of workers that makes ready, and of the proxy:
    where it asks (empty where nobody said so) and the names it answers."""

    drain: float
    stop_grace: float
    proxy_keepalive: float
    minimum_ready: int
    upstreams: list[str]
    server_names: list[str]


def together(options: Mapping[str, Any], proxy: Mapping[str, Any]) -> Together:
    """Gather what must agree, from Greendock's options and the proxy's variables by name."""
    return Together(
        drain=options["GREENDOCK_DRAIN_SECONDS"],
        stop_grace=options["GREENDOCK_STOP_GRACE_SECONDS"],
        proxy_keepalive=proxy["NGINX_UPSTREAM_KEEPALIVE_TIMEOUT"],
        minimum_ready=options["GREENDOCK_MIN_READY_WORKERS"],
        upstreams=proxy["NGINX_UPSTREAM"],
        server_names=proxy["NGINX_SERVER_NAMES"],
    )


def without_idle_defaults(settings: Mapping[str, Setting]) -> dict[str, Setting]:
    """Leave out the template's ``threads`` where the chosen worker class has no use for them."""
    threads = settings.get("threads")
    idle = threads is not None and threads.source == TEMPLATE and _ignores_threads(settings)
    return {name: setting for name, setting in settings.items() if not (idle and name == "threads")}


def _ignores_threads(settings: Mapping[str, Setting]) -> bool:
    if "worker_class" not in settings:
        return True
    chosen = settings["worker_class"].value
    # A plugin's class: by name, because importing Gunicorn's ASGI or gevent worker to compare has effects of its own.
    bases = {base.__name__ for base in chosen.__mro__} if isinstance(chosen, type) else set()
    return str(chosen) in _ONE_THREAD or not bases.isdisjoint(_ONE_THREAD_CLASSES)


def contradictions(
    settings: Mapping[str, Setting], together: Together, defaults: Mapping[str, Any]
) -> Iterator[Problem]:
    """Yield a problem for each contradiction. ``defaults`` are Gunicorn's, for settings nobody set."""

    def value(name: str) -> Any:
        return settings[name].value if name in settings else defaults[name]

    def problem(name: str, accepted: str) -> Problem:
        source = settings[name].source if name in settings else "Gunicorn's default"
        return Problem(f"GUNICORN_{name.upper()}", str(value(name)), source, accepted)

    if value("workers") == 0:
        yield problem("workers", "accepted: at least 1 (Gunicorn would listen and never answer)")
    elif together.minimum_ready > value("workers"):
        yield problem("workers", f"fewer than GREENDOCK_MIN_READY_WORKERS={together.minimum_ready}: never ready")
    if value("keepalive") <= together.proxy_keepalive and str(value("worker_class")) != "sync":
        reason = f"accepted: more than NGINX_UPSTREAM_KEEPALIVE_TIMEOUT={together.proxy_keepalive:g}"
        yield problem("keepalive", f"{reason}, or Nginx reuses connections that Gunicorn is closing")
    # Twice: a stop that arrives during a reload waits for the old workers, then for the new ones.
    if together.drain + 2 * value("graceful_timeout") >= together.stop_grace:
        reason = f"GREENDOCK_DRAIN_SECONDS={together.drain:g} + 2 × graceful_timeout must be less than"
        yield problem("graceful_timeout", f"{reason} GREENDOCK_STOP_GRACE_SECONDS={together.stop_grace:g}")
    if value("threads") > 1 and _ignores_threads(settings):
        name = getattr(value("worker_class"), "__name__", value("worker_class"))
        yield problem("threads", f"has no meaning for worker_class={name}; accepted: 1, or gthread")
    refusals = getattr(value("worker_class"), "refusals", None)  # settings a worker class cannot honour
    for name, accepted in refusals(value) if refusals else ():
        yield problem(name, accepted)
    if value("reload") and value("preload_app"):
        yield problem("preload_app", "cannot be combined with reload: a preloaded application is never reloaded")
    yield from _addresses(value, problem, together)
    yield from _paths(value, problem)


def _addresses(
    value: Callable[[str], Any], problem: Callable[[str, str], Problem], together: Together
) -> Iterator[Problem]:
    binds = [value("bind")] if isinstance(value("bind"), str) else list(value("bind"))
    complaints = [complaint for bind in binds if (complaint := addresses.complaint(bind, Path(value("chdir"))))]
    if complaints:
        yield problem("bind", complaints[0])
    elif addresses.unreachable(binds, together.upstreams):
        asked = ",".join(together.upstreams)
        yield problem("bind", f"Nginx asks NGINX_UPSTREAM={asked} and would reach none of these; set PORT for both")


def _paths(value: Callable[[str], Any], problem: Callable[[str, str], Problem]) -> Iterator[Problem]:
    folder = Path(value("chdir"))
    for name in _FILES:
        if value(name) and not os.access(folder / value(name), os.R_OK):
            yield problem(name, "accepted: a file that exists and can be read")
    for name in _FILES_TO_WRITE:
        if value(name) and value(name) != "-" and not (folder / value(name)).parent.is_dir():
            yield problem(name, "accepted: a file in an existing folder")
    if value("worker_tmp_dir") and not (folder / value("worker_tmp_dir")).is_dir():
        yield problem("worker_tmp_dir", "accepted: an existing folder")


def of_config(config: Any, together: Together) -> list[Problem]:
    """Return the contradictions of a complete Gunicorn ``Config``: what the command line has changed counts too."""
    source = "the settings as Gunicorn has them, command line included"
    settings = {name: Setting(setting.get(), source) for name, setting in config.settings.items()}
    if settings["threads"].value == DEFAULTS["threads"]:
        settings["threads"] = Setting(DEFAULTS["threads"], TEMPLATE)
        settings = without_idle_defaults(settings)
    return list(contradictions(settings, together, {"threads": 1}))
