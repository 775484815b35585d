"""Every ``NGINX_*`` variable: the one schema of the proxy. Defaults live here and nowhere else."""

from __future__ import annotations

from greendock.env.types import BOOLEAN, PORT, Type, choice, integer
from greendock.env.variable import Variable
from greendock.host import scheduling
from greendock.proxy import types
from greendock.proxy.types import duration, seconds, size

PREFIX = "NGINX_"
REFERRER_POLICIES = (
    "no-referrer",
    "no-referrer-when-downgrade",
    "origin",
    "origin-when-cross-origin",
    "same-origin",
    "strict-origin",
    "strict-origin-when-cross-origin",
    "unsafe-url",
)
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
            types.NETWORKS,
            "127.0.0.0/8,::1/128",
            "Networks that may read /stub_status and /metrics on the internal port; give Prometheus's network here.",
        ),
        (
            "METRICS",
            BOOLEAN,
            "off",
            "Also count requests by status, time, cache, limits and TLS version for /metrics (docs/metrics.md).",
        ),
        ("METRICS_PORT", PORT, "8082", "UDP port of the loopback address by which Nginx has them counted."),
        ("IPV6", choice("auto", "on", "off"), "auto", "Listen on IPv6 as well. `auto`: when the container has IPv6."),
        (
            "TRUSTED_PROXIES",
            types.NETWORKS,
            "",
            "Networks of your own outer proxies. Only these may say who the client is, and by which scheme, host and "
            "port it came.",
        ),
        ("REAL_IP_HEADER", types.HEADER, "X-Forwarded-For", "The header in which a trusted proxy names the client."),
        (
            "PROXY_PROTOCOL",
            BOOLEAN,
            "off",
            "Read the client's address from the PROXY protocol, which every connection must then begin with.",
        ),
        (
            "CANONICAL_HOST",
            types.HOST,
            "",
            "The one of NGINX_SERVER_NAMES to which every other is redirected; unset: none.",
        ),
        (
            "HEALTH_PATH",
            types.URL_PATH,
            "",
            "Path that answers a load balancer 200 for any Host, in maintenance too; unset: none.",
        ),
        (
            "HEALTH_UPSTREAM",
            BOOLEAN,
            "off",
            "Ask the application at that path: 503 when no replica answers below 500.",
        ),
        ("ALLOW", types.NETWORKS, "", "Networks that may see the site; any other is answered 403; unset: all."),
        ("BASIC_AUTH_FILE", types.FILE, "", "File of `name:hash` lines, as `htpasswd` makes it; unset: no password."),
    ),
    *_section(
        "Nginx: upstream",
        ("UPSTREAM", types.UPSTREAM, "app:8000", "Where Gunicorn listens. Names are resolved again while running."),
        ("RESOLVER", types.RESOLVERS, types.AUTO, "DNS servers for NGINX_UPSTREAM's names."),
        ("RESOLVER_VALID", duration(1, 3600), "1s", "How long an answer of DNS is used, whatever its own TTL says."),
        ("UPSTREAM_KEEPALIVE", integer(1, 10000), "128", "Idle connections to Gunicorn kept by each Nginx worker."),
        ("STICKY", choice("off", "cookie"), "off", "`cookie`: a client stays with its replica. Better not to need it."),
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
        (
            "CLIENT_MAX_BODY_SIZE",
            size(1, 1024 * _GIB, unlimited=True),
            "10m",
            "Largest request body; more is answered 413.",
        ),
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
            duration(0, 3600),
            "75s",
            "How long an idle client connection is kept; 0: not at all. Must be longer than an outer balancer's own "
            "idle time.",
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
            choice("off", "on", "acme", "self-signed"),
            "off",
            "`on`: with your certificate; `acme`: with one that the service `acme` gets and renews; `self-signed`: for "
            "development.",
        ),
        ("TLS_CERTIFICATE", types.FILE, "/run/tls/tls.crt", "Certificate with its chain, PEM."),
        ("TLS_CERTIFICATE_KEY", types.FILE, "/run/tls/tls.key", "Private key of the certificate, PEM."),
        (
            "TLS_PROFILE",
            choice("intermediate", "modern"),
            "intermediate",
            "Mozilla's profile; `modern` refuses clients without TLS 1.3.",
        ),
        (
            "TLS_CLIENT_CA",
            types.FILE,
            "",
            "CA certificates, PEM, one of which must have signed the client's; unset: no client certificate.",
        ),
        ("HTTP2", BOOLEAN, "on", "HTTP/2 on the HTTPS port."),
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
        ("ACME_EMAIL", types.EMAIL, "", "Address to which the CA may write; unset: none."),
        (
            "ACME_DIRECTORY",
            types.HTTPS,
            "https://acme-v02.api.letsencrypt.org/directory",
            "The CA's ACME directory. With NGINX_TLS=acme you agree to the CA's terms of service.",
        ),
        (
            "ACME_CA",
            types.FILE,
            "",
            "CA certificates, PEM, by which that directory's own certificate is checked; unset: the public CAs'.",
        ),
        ("ACME_DIR", types.FILE, "/run/acme", "Folder of the challenges and the certificate, which Nginx reads."),
        ("ACME_STATE_DIR", types.FILE, "/var/lib/acme", "Folder of the account and all keys, only for `acme`."),
        (
            "ACME_WEBROOT",
            types.FILE,
            "",
            "With NGINX_TLS=on: folder an ACME client of your own writes challenges to; served over plain HTTP.",
        ),
    ),
    *_section(
        "Nginx: security headers (docs/security-headers.md)",
        (
            "FRAME_OPTIONS",
            choice("sameorigin", "deny", "off"),
            "sameorigin",
            "Which sites may show a page in a frame (X-Frame-Options).",
        ),
        (
            "REFERRER_POLICY",
            choice(*REFERRER_POLICIES, "off"),
            "strict-origin-when-cross-origin",
            "What other sites learn of the page a visitor comes from.",
        ),
        ("CONTENT_SECURITY_POLICY", types.HEADER_VALUE, "", "What a page may load and run; unset: not sent."),
        (
            "CONTENT_SECURITY_POLICY_REPORT_ONLY",
            types.HEADER_VALUE,
            "",
            "The same, only reported: to try a policy first.",
        ),
        (
            "PERMISSIONS_POLICY",
            types.HEADER_VALUE,
            "",
            "Which of the browser's features a page may use; unset: not sent.",
        ),
        (
            "CROSS_ORIGIN_OPENER_POLICY",
            choice("same-origin", "same-origin-allow-popups", "noopener-allow-popups", "unsafe-none"),
            "",
            "Whether a page shares its window with those it opens; unset: not sent.",
        ),
        (
            "CROSS_ORIGIN_EMBEDDER_POLICY",
            choice("require-corp", "credentialless", "unsafe-none"),
            "",
            "Whether a page loads only what other sites release for it; unset: not sent.",
        ),
        (
            "CROSS_ORIGIN_RESOURCE_POLICY",
            choice("same-origin", "same-site", "cross-origin"),
            "",
            "Which sites may load what this one answers; unset: not sent.",
        ),
    ),
    *_section(
        "Nginx: static files, compression, cache",
        ("STATIC_URL", types.URL_PREFIX, "/static/", "URL prefix of static files."),
        ("STATIC_ROOT", types.FILE, "/srv/static", "Folder the static files are served from."),
        ("STATIC_MAX_AGE", seconds(0, 31536000), "5m", "How long browsers keep a static file without a fingerprint."),
        ("MEDIA_ROOT", types.FILE, "", "Folder of uploads, a volume the application writes; unset: none are served."),
        (
            "MEDIA_URL",
            types.URL_PREFIX,
            "",
            "URL prefix of uploads, but for those in `private/`; unset: X-Accel-Redirect only.",
        ),
        (
            "STATIC_MAX_AGES",
            types.AGES,
            "",
            "The same by the ending of the file's name, such as woff2=365d,html=0s; unset: one time for all.",
        ),
        (
            "STATIC_CORS",
            types.ORIGINS,
            "",
            "Other sites whose pages may use static files, fonts for example; unset: none.",
        ),
        (
            "STATIC_INDEX",
            BOOLEAN,
            "off",
            "Show the static folder's index.html for pages the application does not know (single-page applications).",
        ),
        ("COMPRESSION", BOOLEAN, "on", "Compress what clients accept compressed."),
        ("GZIP_LEVEL", integer(1, 9), "4", "Compression of dynamic responses: 1 is fast, 9 is small."),
        ("CACHE_TIME", duration(1, 86400), "", "Cache anonymous GET responses for this long; unset: no cache."),
        ("CACHE_SIZE", size(1 * _MIB, 1024 * _GIB), "256m", "Most disk the cache may use."),
    ),
    *_section(
        "Nginx: logs",
        ("ACCESS_LOG", types.LOG, "/dev/stdout", "Where the access log goes."),
        (
            "LOG_FORMAT",
            types.LOG_FORMAT,
            "json",
            "`json`: one ECS object a line; `text`: the combined format; or a log_format of your own.",
        ),
        (
            "LOG_FIELDS",
            types.LOG_FIELDS_LIST,
            "user_agent,referrer",
            "What else an entry holds; `referrer_origin` cuts the referrer after its host.",
        ),
        ("LOG_ANONYMIZE", BOOLEAN, "off", "Log addresses without their last part (IPv4: 24 bits stay, IPv6: 32)."),
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
        (
            "SHUTDOWN_TIMEOUT",
            duration(1, 3600),
            "30s",
            "The longest wait of a rollout for requests under way, before the replica they use is stopped.",
        ),
        (
            "RELOAD_TIMEOUT",
            duration(1),
            "1h",
            "The longest life of a connection after a reload. Nginx workers stay for it: about 5 MiB each.",
        ),
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
            "PORT_DIR",
            types.FILE,
            "",
            "Folder of the socket at which the container `port` lends the published ports; unset: Nginx opens its own.",
        ),
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
