"""Typed values to nginx.conf: the few lines that depend on the machine or on several values, then the templates."""

from __future__ import annotations

import grp
import math
import os
import pwd
import re
import resource
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from greendock.host.cgroups import read_limits
from greendock.proxy import acme, requests, static, template
from greendock.proxy.maintenance import Maintenance
from greendock.proxy.types import ANY, AUTO, LOCAL, is_address

# Names that cannot be a stranger's way in: no public DNS name or public address is among them.
# RFC 6761 (localhost, test), RFC 6762 (local), ICANN's reservation of `internal`, RFC 1918, RFC 4193.
_LOCAL_NAMES = (
    "localhost",
    "*.localhost",
    "*.local",
    "*.internal",
    "*.test",
    '"~^[a-z0-9_-]+$"',
    '"~^(127|10|192\\.168|172\\.(1[6-9]|2[0-9]|3[01]))\\.[0-9.]+$"',
    '"~^\\[(::1|f[cd][0-9a-f:]+)\\]$"',
)
_NO_MAINTENANCE = Maintenance()
SHIPPED = Path(__file__).resolve().parent
# Above this a worker gains nothing from more descriptors.
_DESCRIPTORS = 1048576


def render(
    values: Mapping[str, Any], upstream: Iterable[str] | None = None, maintenance: Maintenance = _NO_MAINTENANCE
) -> str:
    """Return the whole configuration as one text.

    ``values`` come from ``configuration.read``; ``upstream`` replaces ``NGINX_UPSTREAM`` (what a rollout points at);
    ``maintenance`` is what visitors are told while the site is closed.
    Raises ``greendock.proxy.template.TemplateError``.
    """
    addresses = list(upstream or values["NGINX_UPSTREAM"])
    texts = {name: text(value) for name, value in values.items()} | _derived(values, addresses)
    texts |= {
        "MAINTENANCE_MESSAGE": maintenance.text,
        "MAINTENANCE_RETRY_AFTER": maintenance.retry_after(str(int(values["NGINX_MAINTENANCE_RETRY_AFTER"]))),
        "MAINTENANCE_GUESTS": _lines("{} 1;", maintenance.allow),
    }
    conditions = _conditions(values) | {
        "maintenance_guests": bool(maintenance.allow),
        "one_name": values["NGINX_PORT_DIR"] is not None
        and len(addresses) == 1
        and _by_name(addresses[0])
        and bool(_nameservers(values)),
    }
    rendered = template.render(SHIPPED / "templates", "nginx.conf", texts, conditions)
    # What had no value has left a blank line.
    return re.sub(r"\n(?:[ \t]*\n){2,}", "\n\n", re.sub(r"[ \t]+\n", "\n", rendered))


def text(value: Any) -> str:
    """Return a typed value as nginx.conf holds it."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "on" if value else "off"
    return " ".join(value) if isinstance(value, list) else str(value)


def _conditions(values: Mapping[str, Any]) -> dict[str, bool]:
    tls = values["NGINX_TLS"] != "off"
    names = values["NGINX_SERVER_NAMES"]
    return {
        "any_host": names == [ANY],
        # A balancer's health check names no server in its handshake either.
        "by_address": tls
        and (names == [LOCAL] or any(map(is_address, names)) or values["NGINX_HEALTH_PATH"] is not None),
        "acme": _webroot(values) is not None,
        "allow": values["NGINX_ALLOW"] is not None,
        "basic_auth": values["NGINX_BASIC_AUTH_FILE"] is not None,
        "brotli": values["NGINX_COMPRESSION"] and (Path(values["NGINX_STATIC_ROOT"]) / static.BROTLI).is_dir(),
        "cache": values["NGINX_CACHE_TIME"] is not None,
        "canonical_host": values["NGINX_CANONICAL_HOST"] is not None,
        "client_ca": values["NGINX_TLS_CLIENT_CA"] is not None,
        "connection_limit": values["NGINX_CONNECTION_LIMIT"] is not None,
        "health": values["NGINX_HEALTH_PATH"] is not None,
        "health_upstream": values["NGINX_HEALTH_UPSTREAM"],
        "https": tls or values["NGINX_TRUSTED_PROXIES"] is not None,
        "http3": values["NGINX_HTTP3"],
        "json_log": values["NGINX_LOG_FORMAT"] == "json",
        "text_log": values["NGINX_LOG_FORMAT"] == "text",
        "anonymize": values["NGINX_LOG_ANONYMIZE"],
        "log_referrer_origin": "referrer_origin" in values["NGINX_LOG_FIELDS"],
        "log_user": "user" in values["NGINX_LOG_FIELDS"],
        "log_forwarded_for": "forwarded_for" in values["NGINX_LOG_FIELDS"],
        "csp": values["NGINX_CONTENT_SECURITY_POLICY"] is not None,
        "csp_report_only": values["NGINX_CONTENT_SECURITY_POLICY_REPORT_ONLY"] is not None,
        "permissions_policy": values["NGINX_PERMISSIONS_POLICY"] is not None,
        "coop": values["NGINX_CROSS_ORIGIN_OPENER_POLICY"] is not None,
        "coep": values["NGINX_CROSS_ORIGIN_EMBEDDER_POLICY"] is not None,
        "corp": values["NGINX_CROSS_ORIGIN_RESOURCE_POLICY"] is not None,
        "static_cors": values["NGINX_STATIC_CORS"] is not None,
        "static_index": values["NGINX_STATIC_INDEX"],
        # Only there does one Nginx take over from another.
        "handover": values["NGINX_PORT_DIR"] is not None,
        "limited": values["NGINX_RATE_LIMIT"] is not None or values["NGINX_CONNECTION_LIMIT"] is not None,
        "metrics": values["NGINX_METRICS"],
        "media": values["NGINX_MEDIA_ROOT"] is not None,
        "media_url": values["NGINX_MEDIA_URL"] is not None,
        "modern": values["NGINX_TLS_PROFILE"] == "modern",
        "rate_limit": values["NGINX_RATE_LIMIT"] is not None,
        "redirect": tls and values["NGINX_TLS_REDIRECT"],
        "sticky": values["NGINX_STICKY"] == "cookie",
        "tls": tls,
        "trusted": values["NGINX_TRUSTED_PROXIES"] is not None,
        "unknown_hosts_tls": tls and names != [ANY],
    }


def _derived(values: Mapping[str, Any], addresses: list[str]) -> dict[str, str]:
    conditions = _conditions(values)
    v6 = _v6(values)
    names = values["NGINX_SERVER_NAMES"]
    nameservers = _nameservers(values)
    certificate, key = certificate_paths(values)
    proxied = " proxy_protocol" if values["NGINX_PROXY_PROTOCOL"] else ""
    http = _listen(values["NGINX_HTTP_PORT"], v6, proxied)
    https = _listen(values["NGINX_HTTPS_PORT"], v6, " ssl" + proxied)
    quic = _listen(values["NGINX_HTTPS_PORT"], v6, " quic")
    public_port = values["NGINX_TLS_PUBLIC_PORT"]
    return {
        "ERROR_HTML": str(_error_page(values, "error.html")),
        "ERROR_JSON": str(_error_page(values, "error.json")),
        "OK_PAGE": str(SHIPPED / "errors" / "ok.txt"),
        "ACME_WEBROOT": str(_webroot(values)),
        "METRICS_PAGE": str(
            Path(values["NGINX_RUN_DIR"]) / requests.PAGE if values["NGINX_METRICS"] else SHIPPED / requests.STUB
        ),
        "WORKER_PROCESSES": str(worker_processes(values)),
        "WORKER_NOFILE": str(_descriptors(values["NGINX_WORKER_CONNECTIONS"])),
        "WORKER_USER": _worker_user(values["NGINX_WORKER_USER"]),
        "LISTEN_HTTP": _default_server(http, conditions["any_host"]),
        "LISTEN_HTTP_DEFAULT": _default_server(http, True),
        "LISTEN_HTTPS": _default_server(https, conditions["any_host"]),
        "LISTEN_HTTPS_DEFAULT": _default_server(https, True),
        # `reuseport` belongs to one `listen` of each address: https://nginx.org/r/listen
        "LISTEN_QUIC": _default_server(quic, conditions["any_host"]).replace("default", "reuseport default"),
        "LISTEN_QUIC_DEFAULT": quic.replace(";", " reuseport default_server;"),
        "LISTEN_STATUS": _listen(values["NGINX_STATUS_PORT"], v6),
        "SERVER_NAMES": {ANY: "_", LOCAL: " ".join(_LOCAL_NAMES)}.get(names[0], text(names)),
        "REAL_IP_FROM": _lines("set_real_ip_from {};", values["NGINX_TRUSTED_PROXIES"] or []),
        "TRUSTED_PROXIES": _lines("{} 1;", values["NGINX_TRUSTED_PROXIES"] or []),
        "REAL_IP_HEADER": "proxy_protocol" if values["NGINX_PROXY_PROTOCOL"] else values["NGINX_REAL_IP_HEADER"],
        "ALLOWED": _lines("{} 0;", values["NGINX_ALLOW"] or []),
        "REDIRECT_HOST": values["NGINX_CANONICAL_HOST"] or "$host",
        "STICKY_SECURE": " secure" if conditions["redirect"] else "",
        "STATUS_ALLOW": _lines("allow {};", values["NGINX_STATUS_ALLOW"]),
        "RESOLVER": f"resolver {text(nameservers)} valid={values['NGINX_RESOLVER_VALID']};" if nameservers else "",
        "UPSTREAM_SERVERS": "\n".join(_upstream_servers(addresses, bool(nameservers))),
        "UPSTREAM_NAME": addresses[0],
        "PROXY_BUSY_BUFFERS_SIZE": str(type(values["NGINX_PROXY_BUFFER_SIZE"])(2 * values["NGINX_PROXY_BUFFER_SIZE"])),
        "TLS_CERTIFICATE": str(certificate),
        "TLS_CERTIFICATE_KEY": str(key),
        "TLS_PUBLIC_PORT_SUFFIX": "" if public_port == 443 else f":{public_port}",
        "HSTS": _hsts(values),
        "LOG_EXCLUDE": _lines('"{}" 0;', [path for path in values["NGINX_LOG_EXCLUDE"] if path != "none"]),
        "ACCESS_LOG": _access_log(values["NGINX_ACCESS_LOG"], values["NGINX_LOG_FORMAT"], values["NGINX_METRICS"]),
        "REQUESTS_FORMAT": requests.LOG_FORMAT,
        **_logged(values),
        "FRAME_OPTIONS": text(values["NGINX_FRAME_OPTIONS"]).upper().replace("OFF", ""),
        "REFERRER_POLICY": text(values["NGINX_REFERRER_POLICY"]).removesuffix("off"),
        "STATIC_MAX_AGES": _lines(
            '"~*\\.{0[0]}$" "public, max-age={0[2]}";',
            (age.partition("=") for age in values["NGINX_STATIC_MAX_AGES"] or []),
        ),
        "STATIC_ORIGINS": _static_origins(values["NGINX_STATIC_CORS"] or []),
        # A URL prefix holds nothing that a regular expression knows but the dot.
        "STATIC_URL_PATTERN": values["NGINX_STATIC_URL"].replace(".", "\\."),
        "STATIC_MAX_AGE": str(int(values["NGINX_STATIC_MAX_AGE"])),
        **_static_fingerprints(Path(values["NGINX_STATIC_ROOT"]), values["NGINX_STATIC_URL"]),
    }


def _error_page(values: Mapping[str, Any], name: str) -> Path:
    """Return the operator's own page of this name, or the shipped one."""
    own = Path(values["NGINX_CONFIG_DIR"]) / "errors" / name
    return own if own.is_file() else SHIPPED / "errors" / name


def worker_processes(values: Mapping[str, Any]) -> int:
    """Return how many workers run: one for each CPU the container may use, a part of a CPU counting as one."""
    wanted = values["NGINX_WORKER_PROCESSES"]
    return max(1, math.ceil(read_limits().cpus)) if wanted == AUTO else int(wanted)


def certificate_paths(values: Mapping[str, Any]) -> tuple[Path, Path]:
    """Return where the certificate and its key are now: the self-signed one's are in the run directory."""
    if is_self_signed(values):
        folder = Path(values["NGINX_RUN_DIR"]) / "tls"
        return folder / "self-signed.crt", folder / "self-signed.key"
    return lasting_certificate_paths(values)


def lasting_certificate_paths(values: Mapping[str, Any]) -> tuple[Path, Path]:
    """Return where the operator's certificate and key are, or those of the service acme."""
    if values["NGINX_TLS"] == "acme":
        return acme.certificate(values), acme.certificate(values)
    return Path(values["NGINX_TLS_CERTIFICATE"]), Path(values["NGINX_TLS_CERTIFICATE_KEY"])


def _webroot(values: Mapping[str, Any]) -> Path | None:
    if values["NGINX_TLS"] == "acme":
        return acme.webroot(values)
    return None if values["NGINX_ACME_WEBROOT"] is None else Path(values["NGINX_ACME_WEBROOT"])


def is_renewed(values: Mapping[str, Any]) -> bool:
    """Say whether an ACME client brings the certificate, ours or the operator's own."""
    return values["NGINX_TLS"] in ("on", "acme") and _webroot(values) is not None


def is_self_signed(values: Mapping[str, Any]) -> bool:
    """Say whether a self-signed certificate is used: asked for, or until an ACME client has got the first one."""
    if is_renewed(values):
        return not all(file.is_file() for file in lasting_certificate_paths(values))
    return bool(values["NGINX_TLS"] == "self-signed")


def _lines(form: str, items: Iterable[Any]) -> str:
    return "\n".join(form.format(item) for item in items)


def published_addresses(values: Mapping[str, Any]) -> list[str]:
    """Return the addresses that clients come to, as ``0.0.0.0:8080`` and ``[::]:8080``."""
    ports = [values["NGINX_HTTP_PORT"], *([] if values["NGINX_TLS"] == "off" else [values["NGINX_HTTPS_PORT"]])]
    return [f"{host}:{port}" for port in ports for host in (["0.0.0.0", "[::]"] if _v6(values) else ["0.0.0.0"])]  # noqa: S104


def _v6(values: Mapping[str, Any]) -> bool:
    return _has_ipv6() if values["NGINX_IPV6"] == AUTO else bool(values["NGINX_IPV6"] == "on")


def _listen(port: int, v6: bool, parameters: str = "") -> str:
    addresses = [str(port), f"[::]:{port}"] if v6 else [str(port)]
    return "\n".join(f"listen {address}{parameters};" for address in addresses)


def _default_server(lines: str, default: bool) -> str:
    return lines.replace(";", " default_server;") if default else lines


def _upstream_servers(addresses: list[str], resolvable: bool) -> Iterable[str]:
    """Yield the ``server`` lines; weights only where some addresses have a share, which is that of all of them."""
    shares = dict(each.partition("=")[::2] for each in addresses)
    canaries = sum(map(bool, shares.values()))
    for address, share in shares.items():
        percent = int(share or 100 - int(max(shares.values()) or 0))
        weight = f" weight={percent * (len(shares) - canaries if share else canaries)}" if canaries else ""
        yield f"server {address}{' resolve' if _by_name(address) and resolvable else ''} max_fails=0{weight};"


def _by_name(address: str) -> bool:
    """Say whether an upstream address is a name that DNS knows."""
    host = address.rpartition(":")[0]
    return not address.startswith("unix:") and not is_address(host) and host != "localhost"


def _nameservers(values: Mapping[str, Any]) -> list[str]:
    wanted: list[str] = values["NGINX_RESOLVER"]
    if wanted != [AUTO]:
        return wanted
    try:
        lines = Path("/etc/resolv.conf").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    fields = (line.split() for line in lines)
    addresses = [field[1].partition("%")[0] for field in fields if len(field) > 1 and field[0] == "nameserver"]
    return [each for each in (f"[{name}]" if ":" in name else name for name in addresses) if is_address(each)]


def _hsts(values: Mapping[str, Any]) -> str:
    # A browser that has once seen it on localhost would refuse plain HTTP there for two years.
    if is_self_signed(values) or values["NGINX_HSTS_MAX_AGE"] == 0:
        return ""
    parts = [f"max-age={values['NGINX_HSTS_MAX_AGE']}"]
    parts += ["includeSubDomains"] if values["NGINX_HSTS_INCLUDE_SUBDOMAINS"] else []
    parts += ["preload"] if values["NGINX_HSTS_PRELOAD"] else []
    return "; ".join(parts)


def _access_log(path: str, form: str, counted: bool) -> str:
    if path == "off" and counted:
        return ""  # `off` would turn the counting off as well
    name = "access" if form in ("json", "text") else form
    # 4k is PIPE_BUF: a longer write to a pipe that is nearly full would be cut in the middle of a line.
    return "access_log off;" if path == "off" else f"access_log {path} {name} buffer=4k flush=1s if=$loggable;"


# Names of the Elastic Common Schema where it has one. Its `network.forwarded_ip` is one address; the header has many.
_LOG_FIELDS = {
    "user_agent": ("user_agent.original", "$log_user_agent"),
    "referrer": ("http.request.referrer", "$log_referer"),
    "referrer_origin": ("http.request.referrer", "$log_referer_origin"),
    "user": ("user.name", "$log_user"),
    "forwarded_for": ("nginx.forwarded_for", "$log_forwarded_for"),
    "port": ("url.port", "$client_port"),
}


def _logged(values: Mapping[str, Any]) -> dict[str, str]:
    """Return the pieces of the log's formats that depend on what shall be logged."""
    fields = [field for field in values["NGINX_LOG_FIELDS"] if field != "none"]
    masked = values["NGINX_LOG_ANONYMIZE"]
    return {
        "LOG_FIELDS": "".join('"{}":"{}",'.format(*_LOG_FIELDS[field]) for field in fields),
        "LOG_CLIENT": "$masked_client" if masked else "$remote_addr",
        "LOG_SOURCE": "$masked_source" if masked else "$realip_remote_addr",
        "LOG_USER": "$remote_user" if "user" in fields else "-",
        "LOG_REFERER": "$http_referer" if "referrer" in fields else "-",
        "LOG_ALSO_CHECKED": "".join(
            f" {value}"
            for field, value in (("user", "$remote_user"), ("forwarded_for", "$http_x_forwarded_for"))
            if field in fields
        ),
    }


def _static_origins(origins: list[str]) -> str:
    if origins == [ANY]:
        return '"~." "*";'
    return _lines('"{0}" "{0}";', origins)


def _static_fingerprints(root: Path, url: str) -> dict[str, str]:
    fingerprints = list(static.fingerprints(root)) if root.is_dir() else []
    longest = max((len(url) + len(name) for name, _ in fingerprints), default=0)
    return {
        "STATIC_FINGERPRINTS": _lines('"{}" immutable;', (f"{url}{name}?{digest}" for name, digest in fingerprints)),
        "MAP_HASH_MAX_SIZE": str(max(2048, 2 ** math.ceil(math.log2(2 * len(fingerprints) + 1)))),
        "MAP_HASH_BUCKET_SIZE": str(64 * math.ceil((longest + static.FINGERPRINT_LENGTH + 64) / 64)),
    }


def _descriptors(connections: int) -> int:
    """Return the limit for a worker: a client, an upstream connection and a file each, within the hard limit."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return min(3 * connections + 64, _DESCRIPTORS if hard == resource.RLIM_INFINITY else hard)


def _has_ipv6() -> bool:
    try:
        return bool(Path("/proc/net/if_inet6").read_text().strip())
    except OSError:
        return False


def _worker_user(wanted: str | None) -> str:
    """Return the ``user`` directive. Only root can change accounts, so it is empty for anyone else."""
    if os.geteuid() != 0:
        return ""
    accounts = {account.pw_name: account for account in pwd.getpwall()}
    name = wanted or next((each for each in ("nginx", "www-data", "nobody") if each in accounts), "root")
    group = grp.getgrgid(accounts[name].pw_gid).gr_name if name in accounts else name
    return f"user {name} {group};"
