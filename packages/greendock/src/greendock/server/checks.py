"""Settings that are fine one by one and wrong together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from greendock.env.problems import Problem
from greendock.server.settings import DEFAULTS, TEMPLATE, Setting

# Worker classes that run requests on ``threads``; the others have one thread, an event loop or greenlets.
_ONE_THREAD = frozenset({"sync", "gevent", "gevent_wsgi", "gevent_pywsgi", "eventlet", "tornado", "asgi"})
_ONE_THREAD_CLASSES = frozenset({"SyncWorker", "ASGIWorker", "GeventWorker", "TornadoWorker"})


@dataclass(frozen=True)
class Together:
    """What Gunicorn's settings must agree with: seconds, and the number of workers that makes ready."""

    drain: float
    stop_grace: float
    proxy_keepalive: float
    minimum_ready: int


def together(options: Mapping[str, Any], proxy_keepalive: float) -> Together:
    """Gather what must agree, from Greendock's options by variable name."""
    return Together(
        drain=options["GREENDOCK_DRAIN_SECONDS"],
        stop_grace=options["GREENDOCK_STOP_GRACE_SECONDS"],
        proxy_keepalive=proxy_keepalive,
        minimum_ready=options["GREENDOCK_MIN_READY_WORKERS"],
    )


def drop_idle_defaults(settings: dict[str, Setting]) -> None:
    """Forget the template's ``threads`` where the chosen worker class has no use for them."""
    threads = settings.get("threads")
    if threads is not None and threads.source == TEMPLATE and _ignores_threads(settings):
        del settings["threads"]


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
        worker_class = value("worker_class")
        yield problem("threads", f"has no meaning for worker_class={worker_class}; accepted: 1, or gthread")
    refusals = getattr(value("worker_class"), "refusals", None)  # settings a worker class cannot honour
    for name, accepted in refusals(value) if refusals else ():
        yield problem(name, accepted)
    if value("reload") and value("preload_app"):
        yield problem("preload_app", "cannot be combined with reload: a preloaded application is never reloaded")


def of_config(config: Any, together: Together) -> list[Problem]:
    """Return the contradictions of a complete Gunicorn ``Config``: what the command line has changed counts too."""
    source = "the settings as Gunicorn has them, command line included"
    settings = {name: Setting(setting.get(), source) for name, setting in config.settings.items()}
    if settings["threads"].value == DEFAULTS["threads"]:
        settings["threads"] = Setting(DEFAULTS["threads"], TEMPLATE)
        drop_idle_defaults(settings)
    return list(contradictions(settings, together, {"threads": 1}))
