"""Every ``NGINX_*`` variable: the one schema of the proxy. Defaults live here and nowhere else."""

from __future__ import annotations

from greendock.env.types import BOOLEAN, NETWORKS, PORT, Type, choice, integer
from greendock.env.variable import Variable
from greendock.host import scheduling
from greendock.proxy import types
from greendock.proxy.types import duration, seconds, size

PREFIX = "NGINX_"
_KIB, _MIB, _GIB = 1024, 1024**2, 1024**3


def _section(title: str, *rows: tuple[str, Type, str, str]) -> tuple[Variable, ...]:
    return tuple(
        Variable(PREFIX + name, kind, default, summary, title, "nginx") for name, kind, default, summary in rows
    )


VARIABLES: tuple[Variable, ...] = (
    *_section(
        "Nginx: who is answered",
        (
            "SERVER_NAMES",
            types.SERVER_NAMES,
            types.LOCAL,
            "Host names that are answered; any other is cut off (444). `local` means localhost, names without a dot, "
            "*.localhost, *.local, *.internal, *.test and loopback and private addresses. `any` answers every name.",
        ),
        ("HTTP_PORT", PORT, "8080", "Port for HTTP inside the container."),
        ("HTTPS_PORT", PORT, "8443", "Port for HTTPS inside the container, when NGINX_TLS is not off."),
        ("STATUS_PORT", PORT, "8081", "Internal port of /healthz, /stub_status and /metrics. Never publish it."),
        (
            "STATUS_ALLOW",
            NETWORKS,
            "127.0.0.0/8,::1/128",
            "Networks that may read /stub_status and /metrics on the internal port; give Prometheus's network here.",
        ),
        ("IPV6", choice("auto", "on", "off"), "auto", "Listen on IPv6 as well. `auto`: when the container has IPv6."),
        (
            "TRUSTED_PROXIES",
            NETWORKS,
            "",
            "Networks of your own outer proxies. Only these may say who the client is and whether it used HTTPS.",
        ),
        ("REAL_IP_HEADER", types.HEADER, "X-Forwarded-For", "The header in which a trusted proxy names the client."),
    ),
    *_section(
        "Nginx: upstream",
        ("UPSTREAM", types.UPSTREAM, "app:8000", "Where Gunicorn listens. Names are resolved again while running."),
        ("RESOLVER", types.RESOLVERS, types.AUTO, "DNS servers for NGINX_UPSTREAM's names."),
        ("RESOLVER_VALID", duration(1, 3600), "1s", "How long an answer of DNS is used, whatever its own TTL says."),
        ("UPSTREAM_KEEPALIVE", integer(1, 10000), "128", "Idle connections to Gunicorn kept by each Nginx worker."),
        (
            "UPSTREAM_KEEPALIVE_TIMEOUT",
            duration(1, 3600),
            "30s",
            "How long an idle connection to Gunicorn is kept. Must be shorter than GUNICORN_KEEPALIVE.",
        ),
        ("PROXY_CONNECT_TIMEOUT", duration(0.001, 75), "1s", "Time to connect to Gunicorn before the next is tried."),
        ("PROXY_READ_TIMEOUT", duration(1), "60s", "Longest silence of the application; also of a WebSocket."),
        ("PROXY_SEND_TIMEOUT", duration(1), "15s", "Longest pause of Gunicorn while it takes a request."),
        ("PROXY_RETRY_TIMEOUT", duration(1, 600), "10s", "Time within which a request may be tried on other replicas."),
        ("PROXY_BUFFER_SIZE", size(4 * _KIB, 1 * _MIB), "16k", "Buffer for the application's response headers."),
        ("PROXY_BUFFERS", integer(2, 1024), "16", "Buffers of that size for each response, before the disk is used."),
        (
            "PROXY_MAX_TEMP_FILE_SIZE",
            size(1 * _MIB, 1024 * _GIB),
            "1g",
            "Most of one response kept on disk for a slow client.",
        ),
        ("PROXY_REQUEST_BUFFERING", BOOLEAN, "on", "Read a request's whole body before Gunicorn sees it."),
    ),
    *_section(
        "Nginx: limits",
        ("CLIENT_MAX_BODY_SIZE", size(1, 1024 * _GIB), "10m", "Largest request body; more is answered 413."),
        (
            "CLIENT_BODY_BUFFER_SIZE",
            size(1 * _KIB, 64 * _MIB),
            "64k",
            "Part of a body kept in memory; the rest goes to disk.",
        ),
        ("CLIENT_HEADER_TIMEOUT", duration(1, 3600), "10s", "Time for the whole of a request's headers."),
        ("CLIENT_BODY_TIMEOUT", duration(1, 3600), "15s", "Longest pause of a client while it sends a body."),
        ("SEND_TIMEOUT", duration(1, 3600), "15s", "Longest pause of a client while it takes a response."),
        (
            "KEEPALIVE_TIMEOUT",
            duration(1, 3600),
            "75s",
            "How long an idle client connection is kept. Must be longer than an outer balancer's own idle time.",
        ),
        (
            "KEEPALIVE_MIN_TIMEOUT",
            duration(0, 60),
            "5s",
            "On reload and stop, idle client connections are kept this long for a request already under way.",
        ),
        ("MAX_HEADERS", integer(10, 10000), "100", "Most header lines in one request; more is answered 400."),
        ("RATE_LIMIT", types.RATE, "", "Requests allowed to each client address, such as 20r/s; unset: no limit."),
        ("RATE_LIMIT_BURST", integer(1, 1000000), "40", "Requests above the rate that are still served at once."),
        ("CONNECTION_LIMIT", integer(1, 65535), "", "Connections at a time of each client address; unset: no limit."),
    ),
    *_section(
        "Nginx: TLS",
        (
            "TLS",
            choice("off", "on", "self-signed"),
            "off",
            "`on`: with your certificate; `self-signed`: for development.",
        ),
        ("TLS_CERTIFICATE", types.FILE, "/run/tls/tls.crt", "Certificate with its chain, PEM."),
        ("TLS_CERTIFICATE_KEY", types.FILE, "/run/tls/tls.key", "Private key of the certificate, PEM."),
        ("TLS_REDIRECT", BOOLEAN, "on", "Answer plain HTTP with a redirect to HTTPS."),
        ("TLS_PUBLIC_PORT", PORT, "443", "The HTTPS port that clients see, for redirects."),
        (
            "HSTS_MAX_AGE",
            integer(0, 2**31 - 1),
            "63072000",
            "Seconds for which browsers insist on HTTPS (Strict-Transport-Security); 0: not sent. "
            "Never sent with a self-signed certificate.",
        ),
        ("HSTS_INCLUDE_SUBDOMAINS", BOOLEAN, "off", "Extend that to every subdomain."),
        ("HSTS_PRELOAD", BOOLEAN, "off", "Consent to browsers' built-in lists; hard to undo."),
        ("HTTP3", BOOLEAN, "off", "HTTP/3 on the HTTPS port, UDP, where this nginx has it."),
        ("ACME_WEBROOT", types.FILE, "", "Folder an ACME client writes challenges to; served over plain HTTP."),
    ),
    *_section(
        "Nginx: static files, compression, cache",
        ("STATIC_URL", types.URL_PREFIX, "/static/", "URL prefix of static files."),
        ("STATIC_ROOT", types.FILE, "/srv/static", "Folder the static files are served from."),
        ("STATIC_MAX_AGE", seconds(0, 31536000), "5m", "How long browsers keep a static file without a fingerprint."),
        ("GZIP_LEVEL", integer(1, 9), "4", "Compression of dynamic responses: 1 is fast, 9 is small."),
        ("CACHE_TIME", duration(1, 86400), "", "Cache anonymous GET responses for this long; unset: no cache."),
        ("CACHE_SIZE", size(1 * _MIB, 1024 * _GIB), "256m", "Most disk the cache may use."),
    ),
    *_section(
        "Nginx: logs",
        ("ACCESS_LOG", types.LOG, "/dev/stdout", "Where the access log goes."),
        ("LOG_FORMAT", choice("json", "text"), "json", "`json`: one ECS object a line; `text`: the combined format."),
        ("LOG_EXCLUDE", types.URL_PATHS, "/healthz,/livez,/readyz", "Paths left out of the access log."),
        (
            "ERROR_LOG_LEVEL",
            choice("debug", "info", "notice", "warn", "error", "crit"),
            "warn",
            "Level of the error log.",
        ),
    ),
    *_section(
        "Nginx: processes and paths",
        ("WORKER_PROCESSES", types.WORKERS, types.AUTO, "Nginx workers; `auto` counts the CPUs the container may use."),
        (
            "SCHEDULER",
            choice(*scheduling.POLICIES),
            "batch",
            "The kernel's policy for Nginx: with `batch` (SCHED_BATCH) it does not interrupt Gunicorn for each answer.",
        ),
        ("WORKER_CONNECTIONS", integer(64, 1000000), "4096", "Connections of each worker, to Gunicorn included."),
        ("SHUTDOWN_TIMEOUT", duration(1, 3600), "30s", "Time for open connections on stop and after a reload."),
        ("MAINTENANCE_RETRY_AFTER", seconds(1), "5m", "Retry-After of the maintenance answer."),
        (
            "WORKER_USER",
            types.ACCOUNT,
            "",
            "Account of the workers, when started by root; unset: nginx, www-data or nobody.",
        ),
        ("RUN_DIR", types.FILE, "/run/nginx", "Rendered configuration, pid and maintenance flag: a tmpfs."),
        ("TEMP_DIR", types.FILE, "/var/cache/nginx", "Large bodies, large responses, cache: a disk volume."),
        (
            "CONFIG_DIR",
            types.FILE,
            "/opt/greendock/nginx",
            "Folder of your own pieces: http.d, server.d, location.d, errors.",
        ),
        ("BINARY", types.PROGRAM, "nginx", "The nginx program."),
    ),
)

NAMES: frozenset[str] = frozenset(variable.name for variable in VARIABLES)
