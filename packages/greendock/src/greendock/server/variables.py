"""Every variable of Greendock's own, and the field's conventions, declared once.

Gunicorn's ``GUNICORN_<SETTING>`` variables are not listed: ``greendock.settings`` asks Gunicorn for them. The
proxy's are in ``greendock.proxy.variables``. The reference and ``.env.example`` are generated from all three.
"""

from __future__ import annotations

from greendock.env import types
from greendock.env.variable import Variable
from greendock.hooks.events import FAIL_FAST_CHOICES
from greendock.host import scheduling
from greendock.proxy.variables import VARIABLES as PROXY

APPLICATION = "Application"
WORKERS = "Workers"
READINESS = "Readiness and shutdown"
RELEASE = "Release command"
ROLLOUT = "Rollout"
HOOKS = "Hooks and plugins"
COMPOSE = "Compose"

CONVENTIONS = (
    Variable("APP_MODULE", types.TEXT, "app.main:app", "The WSGI or ASGI application, `module:callable`.", APPLICATION),
    Variable(
        "PORT", types.PORT, "", "The port Gunicorn listens on, on every address. The image sets 8000.", APPLICATION
    ),
    Variable(
        "LOG_LEVEL",
        types.choice("debug", "info", "warning", "error", "critical"),
        "info",
        "How much Gunicorn logs.",
        APPLICATION,
        development="debug",
    ),
    Variable(
        "FORWARDED_ALLOW_IPS",
        types.Type(types.LIST.accepted, lambda text: ",".join(types.items(text))),
        "127.0.0.1,::1",
        "The proxies whose `X-Forwarded-*` headers are believed: addresses, CIDR networks, or `network` for the "
        "networks this container is attached to (what `docker-compose.yml` sets). Never `*` on a reachable port.",
        APPLICATION,
    ),
    Variable(
        "WEB_CONCURRENCY",
        types.integer(1, 10_000),
        "",
        "The number of workers, bounded by nothing else. Unset: computed from CPUs and memory.",
        WORKERS,
        development="1",
    ),
    Variable(
        "WORKERS_PER_CORE",
        types.number(0, 1000),
        "",
        "Workers for each CPU when computed: floor(WORKERS_PER_CORE × CPUs) + 1. Unset: 2, and 1 for the worker class "
        "`asgi`, whose workers do not wait.",
        WORKERS,
    ),
    Variable("MAX_WORKERS", types.integer(1, 10_000), "", "No more workers than this when computed.", WORKERS),
)

GREENDOCK = (
    Variable(
        "GREENDOCK_CONFIG_FILE",
        types.PATH,
        "",
        "A Gunicorn configuration file of your own. Its settings go before the environment's, and its hooks run after "
        "the others. `gunicorn -c FILE` as the container's command does the same.",
        APPLICATION,
    ),
    Variable(
        "GREENDOCK_WORKER_MEMORY",
        types.SIZE,
        "128m",
        "What one worker needs. Under a memory limit no more workers are computed than fit.",
        WORKERS,
    ),
    Variable(
        "GREENDOCK_SCHEDULER",
        types.choice(*scheduling.POLICIES),
        "batch",
        "The kernel's policy for workers: with `batch` (SCHED_BATCH) Nginx does not interrupt one for each answer.",
        WORKERS,
    ),
    Variable(
        "GREENDOCK_READINESS_FILE",
        types.PATH,
        "/run/greendock/ready",
        "The readiness file that `when_ready` writes and the healthcheck reads. Its folder must be writable; tmpfs is "
        "best. One file for each server.",
        READINESS,
    ),
    Variable(
        "GREENDOCK_MIN_READY_WORKERS",
        types.integer(1, 10_000),
        "1",
        "Ready means that at least this many workers have booted.",
        READINESS,
    ),
    Variable(
        "GREENDOCK_BOOT_TIMEOUT",
        types.number(0, 86_400),
        "60",
        "Seconds a worker may take to load the application. Then it is ended, and the log shows where it hung. 0: no "
        "end.",
        READINESS,
    ),
    Variable(
        "GREENDOCK_DRAIN_SECONDS",
        types.number(0, 3_600),
        "3",
        "After SIGTERM: seconds to go on serving while the readiness already says draining.",
        READINESS,
        development="0",
    ),
    Variable(
        "GREENDOCK_STOP_GRACE_SECONDS",
        types.integer(1, 86_400),
        "75",
        "Seconds until the container is killed; Compose's `stop_grace_period`. Must exceed the drain plus twice "
        "Gunicorn's `graceful_timeout`, so that a stop during a reload fits as well.",
        READINESS,
    ),
    Variable(
        "GREENDOCK_HEALTH_PATH",
        types.Type("a path that starts with /, such as /livez", types.matching(r"/[!-~]*")),
        "",
        "Also ask Gunicorn for this path in each healthcheck. Unset: the healthcheck uses no worker.",
        READINESS,
    ),
    Variable(
        "GREENDOCK_HEALTH_HOST",
        types.Type("a host name, such as example.com, with or without a port", types.matching(r"[A-Za-z0-9._:\[\]-]+")),
        "",
        "The Host header of that request. Unset: the first plain name of `NGINX_SERVER_NAMES`, else localhost.",
        READINESS,
    ),
    Variable(
        "GREENDOCK_HEALTH_COMMAND",
        types.TEXT,
        "",
        "For a container of this image that runs something else than a server: a shell command whose exit status 0 "
        "means healthy. Unset: healthy while it lives.",
        READINESS,
    ),
    Variable(
        "GREENDOCK_RESTART_AFTER",
        types.integer(0, 86_400),
        "120",
        "Seconds a started server may stay not ready before the healthcheck ends it, so that the restart policy "
        "starts it again. 0: never.",
        READINESS,
    ),
    Variable(
        "GREENDOCK_RELEASE_COMMAND",
        types.TEXT,
        "",
        "A shell command that runs once for each new version before that serves, such as "
        "`python app/manage.py migrate`. When it fails, the old version goes on.",
        RELEASE,
    ),
    Variable(
        "GREENDOCK_RELEASE_TIMEOUT",
        types.number(0, 86_400),
        "3600",
        "Seconds the release command may take, waiting for another included; then it is ended and has failed. 0: no "
        "end.",
        RELEASE,
    ),
    Variable(
        "GREENDOCK_ROLLOUT_CHECK",
        types.TEXT,
        "/",
        "What a rollout asks each new replica for before it gets requests: a path that has to be answered below 500. "
        "`off`: nothing is asked.",
        ROLLOUT,
    ),
    Variable(
        "GREENDOCK_ROLLOUT_WATCH",
        types.number(0, 86_400),
        "10",
        "Seconds after the switch in which a rollout compares the share of 5xx with the minute before, and goes back "
        "when it is worse. 0: it does not look.",
        ROLLOUT,
    ),
    Variable(
        "GREENDOCK_PLUGINS",
        types.NAMES,
        "",
        "Server plugins to enable, by name, in order. `greendock plugins` lists what is installed.",
        HOOKS,
    ),
    Variable(
        "GREENDOCK_HOOK_FAIL_FAST",
        types.Type("a list out of " + ", ".join(FAIL_FAST_CHOICES), types.names_out_of(FAIL_FAST_CHOICES)),
        "on_starting,post_worker_init",
        "The events whose failing hook stops the start. `none`: log and go on everywhere.",
        HOOKS,
    ),
    Variable(
        "GREENDOCK_SLOW_HOOK_SECONDS",
        types.number(0, 3_600),
        "1",
        "A hook that takes longer is logged with its duration. 0: never.",
        HOOKS,
    ),
)

COMPOSE_VARIABLES = (
    Variable(
        "NGINX_PUBLISHED_PORT", types.TEXT, "8080", "The host port (or address:port) for HTTP.", COMPOSE, "compose"
    ),
    Variable(
        "NGINX_PUBLISHED_TLS_PORT",
        types.TEXT,
        "",
        "The host port (or address:port) for HTTPS, such as 443, with `NGINX_TLS`. Unset: some free port of loopback.",
        COMPOSE,
        "compose",
    ),
    Variable(
        "GREENDOCK_IMAGE", types.TEXT, "greendock-app", "The name of the application's image.", COMPOSE, "compose"
    ),
    Variable("GREENDOCK_TAG", types.TEXT, "latest", "The tag of both images.", COMPOSE, "compose"),
    Variable(
        "GREENDOCK_NGINX_IMAGE", types.TEXT, "greendock-nginx", "The name of the proxy's image.", COMPOSE, "compose"
    ),
    Variable(
        "GREENDOCK_NGINX_TAG",
        types.TEXT,
        "latest",
        "Swarm only: its tag; there each is updated by itself.",
        COMPOSE,
        "compose",
    ),
    Variable(
        "PYTHON_IMAGE", types.TEXT, "python:3.14-slim", "The base of the application's image.", COMPOSE, "compose"
    ),
    Variable("NGINX_IMAGE", types.TEXT, "nginx:1.30", "The base of the proxy's image.", COMPOSE, "compose"),
    Variable(
        "BUILD_PACKAGES",
        types.TEXT,
        "",
        "Debian packages that only the build needs, such as `gcc libpq-dev`.",
        COMPOSE,
        "compose",
    ),
    Variable(
        "RUNTIME_PACKAGES",
        types.TEXT,
        "",
        "Debian packages in the application's image, such as `libpq5`.",
        COMPOSE,
        "compose",
    ),
    Variable(
        "BUILD_COMMAND",
        types.TEXT,
        "",
        "A shell command at the end of the build, in `/srv/app`, such as `python app/manage.py collectstatic "
        "--noinput`. Both images take what it writes to `app/static/`.",
        COMPOSE,
        "compose",
    ),
    Variable(
        "BUILD_NETRC",
        types.TEXT,
        "",
        "A netrc file with the password of a private package index. No image and no container gets it.",
        COMPOSE,
        "compose",
    ),
    Variable(
        "ASSETS",
        types.choice("none", "npm"),
        "none",
        "`npm`: build `assets/` with Node; what lands in `assets/dist/` becomes part of `app/static/`.",
        COMPOSE,
        "compose",
    ),
    Variable("NODE_IMAGE", types.TEXT, "node:24-slim", "What `ASSETS=npm` is built in.", COMPOSE, "compose"),
    Variable(
        "WRITABLE_DIRS",
        types.TEXT,
        "",
        "Folders, such as `/srv/uploads`, that belong to the application's account where a volume is mounted on them.",
        COMPOSE,
        "compose",
    ),
    Variable(
        "COMPOSE_PROFILES",
        types.TEXT,
        "",
        "`worker`, `scheduler` or `worker,scheduler`: start these as well, from the application's image.",
        COMPOSE,
        "compose",
    ),
    Variable(
        "WORKER_COMMAND", types.TEXT, "", "What `worker` runs, such as `celery -A app.jobs worker`.", COMPOSE, "compose"
    ),
    Variable(
        "WORKER_STOP_GRACE_SECONDS",
        types.integer(1, 86_400),
        "60",
        "Seconds a worker may take to end its job after SIGTERM.",
        COMPOSE,
        "compose",
    ),
    Variable(
        "SCHEDULER_COMMAND",
        types.TEXT,
        "",
        "What `scheduler` runs, such as `celery -A app.jobs beat -s /tmp/beat`.",
        COMPOSE,
        "compose",
    ),
)

APP: dict[str, Variable] = {variable.name: variable for variable in CONVENTIONS + GREENDOCK}
ALL: dict[str, Variable] = APP | {variable.name: variable for variable in (*PROXY, *COMPOSE_VARIABLES)}
