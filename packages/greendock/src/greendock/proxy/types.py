"""Kinds of value only Nginx needs. Each parsed value's ``str()`` is what nginx.conf may hold, and can hold no more.

A value reaches the configuration only through these kinds, so none of them accepts white space, quotes, ``;``,
``{``, ``}``, ``$`` or ``\\`` in anything that is written out.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable

from greendock.env.types import Type, items
from greendock.proxy.networks import NAMED

LOCAL = "local"
ANY = "any"
AUTO = "auto"
OFF = "off"
# Fields of the access log that can be left out or added.
LOG_FIELDS = ("user_agent", "referrer", "referrer_origin", "user", "forwarded_for", "port")

_SECONDS = {"ms": 0.001, "s": 1.0, "": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_BYTES = {"": 1, "k": 1024, "m": 1024**2, "g": 1024**3}
_LABEL = r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME = re.compile(rf"{_LABEL}(\.{_LABEL})*", re.IGNORECASE | re.ASCII)
_UNIX = re.compile(r"unix:/[A-Za-z0-9._/-]{1,100}", re.ASCII)


class Seconds(float):
    """A time in seconds, to the millisecond. https://nginx.org/en/docs/syntax.html"""

    def __str__(self) -> str:
        milliseconds = round(self * 1000)
        return f"{milliseconds}ms" if milliseconds % 1000 else f"{milliseconds // 1000}s"


class Bytes(int):
    """A size in bytes. https://nginx.org/en/docs/syntax.html"""

    def __str__(self) -> str:
        for unit in ("m", "k"):
            if self % _BYTES[unit] == 0:
                return f"{int(self) // _BYTES[unit]}{unit}"
        return str(int(self))


def duration(low: float, high: float = 86400.0) -> Type:
    """A time from ``low`` to ``high`` seconds, such as ``500ms``, ``30s`` or ``5m``; a bare number is seconds."""

    def parse(text: str) -> Seconds:
        match = re.fullmatch(r"\s*([0-9]{1,9})(ms|s|m|h|d|)\s*", text, re.ASCII)
        if match is None or not low <= int(match[1]) * _SECONDS[match[2]] <= high:
            raise ValueError(text)
        return Seconds(int(match[1]) * _SECONDS[match[2]])

    return Type(f"a time from {Seconds(low)} to {Seconds(high)}, such as 500ms, 30s or 5m", parse)


def seconds(low: int, high: int = 86400) -> Type:
    """A time in whole seconds, for what HTTP counts in no smaller unit."""
    timed = duration(low, high)

    def parse(text: str) -> Seconds:
        parsed: Seconds = timed.parse(text)
        if parsed % 1:
            raise ValueError(text)
        return parsed

    return Type(f"a time in whole seconds from {Seconds(low)} to {Seconds(high)}, such as 30s or 5m", parse)


def size(low: int, high: int, *, unlimited: bool = False) -> Type:
    """A size from ``low`` to ``high`` bytes, both included, with k, m or g as units of 1024; or 0 for no limit."""

    def parse(text: str) -> Bytes:
        match = re.fullmatch(r"\s*([0-9]{1,15})\s*([kmg]?)(?:i?b)?\s*", text, re.IGNORECASE | re.ASCII)
        if match is None:
            raise ValueError(text)
        if not (unlimited and int(match[1]) == 0) and not low <= int(match[1]) * _BYTES[match[2].lower()] <= high:
            raise ValueError(text)
        return Bytes(int(match[1]) * _BYTES[match[2].lower()])

    none = ", or 0 for no limit" if unlimited else ""
    return Type(f"a size from {Bytes(low)} to {Bytes(high)}, such as 16k or 10m{none}", parse)


def words_of(item: Callable[[str], str], accepted: str, *keywords: str) -> Type:
    """A list of what ``item`` accepts; or one of ``keywords`` alone."""

    def parse(text: str) -> list[str]:
        words = items(text)
        if not words:
            raise ValueError(text)
        if len(words) == 1 and words[0].lower() in keywords:
            return [words[0].lower()]
        return [item(word) for word in words]

    return Type(accepted, parse)


def _port(text: str) -> int:
    if re.fullmatch(r"[0-9]{1,5}", text, re.ASCII) is None or not 1 <= int(text) <= 65535:
        raise ValueError(text)
    return int(text)


def is_address(host: str) -> bool:
    """Say whether ``host`` is an IPv4 address or a bracketed IPv6 address, so that no DNS is needed."""
    try:
        _address(host)
    except ValueError:
        return False
    return True


def _address(text: str) -> str:
    if text.startswith("[") and text.endswith("]"):
        return f"[{ipaddress.IPv6Address(text[1:-1].partition('%')[0])}]"
    return str(ipaddress.IPv4Address(text))


def _host(text: str) -> str:
    if is_address(text):
        return _address(text)
    if len(text) > 253 or _NAME.fullmatch(text) is None or text.rsplit(".", 1)[-1].isdigit():
        raise ValueError(text)
    return text.lower()


def backend(text: str) -> str:
    """Return one upstream address: ``name:port``, ``address:port``, ``[address]:port`` or ``unix:/path``."""
    if _UNIX.fullmatch(text):
        return text
    host, colon, port = text.rpartition(":")
    if not colon:
        raise ValueError(text)
    return f"{_host(host)}:{_port(port)}"


def _shared_backend(text: str) -> str:
    """Accept an upstream address, and one with a share in percent, such as ``10.0.0.4:8000=10``."""
    address, _, share = text.partition("=")
    if share and not (share.isascii() and share.isdigit() and 1 <= int(share) <= 99):
        raise ValueError(text)
    return backend(address) + (f"={int(share)}" if share else "")


def _server_name(text: str) -> str:
    for wildcard in ("*.", "."):
        if text.startswith(wildcard):
            rest = _host(text[len(wildcard) :])
            if is_address(rest):
                raise ValueError(text)
            return wildcard + rest
    return _host(text)


def _resolver(text: str) -> str:
    host, colon, port = text.rpartition(":")
    if colon and is_address(host):
        return f"{_address(host)}:{_port(port)}"
    return _address(text)


def _url_path(text: str) -> str:
    if re.fullmatch(r"/[A-Za-z0-9._~/-]{0,200}", text, re.ASCII) is None or "//" in text or "/." in text:
        raise ValueError(text)
    return text


def _prefix(text: str) -> str:
    if len(text) < 3 or not text.endswith("/"):
        raise ValueError(text)
    return _url_path(text)


def _matching(pattern: str) -> Callable[[str], str]:
    compiled = re.compile(pattern, re.ASCII)

    def parse(text: str) -> str:
        if compiled.fullmatch(text) is None:
            raise ValueError(text)
        return text

    return parse


def _local_path(text: str) -> str:
    if re.fullmatch(r"/[A-Za-z0-9._/@+-]{1,200}", text, re.ASCII) is None or ".." in text.split("/"):
        raise ValueError(text)
    return text.rstrip("/")


def _workers(text: str) -> str | int:
    if text.strip().lower() == AUTO:
        return AUTO
    if re.fullmatch(r"[0-9]{1,3}", text.strip(), re.ASCII) is None or not 1 <= int(text) <= 512:
        raise ValueError(text)
    return int(text)


def _log(text: str) -> str:
    return OFF if text.strip().lower() == OFF else _local_path(text)


def _network(text: str) -> str:
    return str(ipaddress.ip_network(text))


def _networks(text: str) -> list[str]:
    words = [word.lower() for word in items(text)]
    if not words:
        raise ValueError(text)
    return [each for word in words for each in (NAMED[word].networks if word in NAMED else (_network(word),))]


def _canonical_host(text: str) -> str:
    if is_address(text):
        raise ValueError(text)
    return _host(text)


class Quoted(str):
    """A text that nginx.conf holds between double quotes: it may have white space, ``;`` and braces."""

    __slots__ = ()


def _header_value(text: str) -> Quoted:
    if re.fullmatch(r"[ !#%-\[\]-~]{1,4000}", text, re.ASCII) is None:
        raise ValueError(text)
    return Quoted(text.strip())


def _age(text: str) -> str:
    ending, _, age = text.partition("=")
    if re.fullmatch(r"[a-z0-9]{1,10}", ending, re.ASCII) is None:
        raise ValueError(text)
    return f"{ending}={int(_AGE.parse(age))}"


def _origin(text: str) -> str:
    scheme, _, rest = text.partition("://")
    host, colon, port = rest.rpartition(":") if re.search(r":[0-9]+$", rest) else (rest, "", "")
    if scheme not in ("http", "https"):
        raise ValueError(text)
    return f"{scheme}://{_host(host)}" + (f":{_port(port)}" if colon else "")


def _log_field(text: str) -> str:
    if text.lower() not in LOG_FIELDS:
        raise ValueError(text)
    return text.lower()


UPSTREAM = words_of(backend, "a list of host:port (or unix:/path), such as app:8000")
SHARED_UPSTREAM = words_of(
    _shared_backend, "a list of host:port, some with the percentage of requests they get together (host:port=10)"
)
SERVER_NAMES = words_of(
    _server_name,
    "a list of host names, such as example.com, *.example.com (wildcards lead only); or `any`; or `local`",
    ANY,
    LOCAL,
)
RESOLVERS = words_of(_resolver, "a list of DNS server addresses; or `auto` (those of /etc/resolv.conf)", AUTO)
_AGE = seconds(0, 31536000)
AGES = words_of(_age, "a list of ending=time in whole seconds, such as woff2=365d,html=0s")
ORIGINS = words_of(_origin, "a list of origins, such as https://shop.example.com; or `any`", ANY)
HEADER_VALUE = Type("a header's value in plain ASCII, without \", $ and \\", _header_value)
LOG_FORMAT = Type("`json`, `text` or the name of a log_format in your http.d", _matching(r"[a-z][a-z0-9_]{0,31}"))
LOG_FIELDS_LIST = words_of(_log_field, f"a list of {', '.join(LOG_FIELDS)}; or `none`", "none")
NETWORKS = Type(f"a list of addresses, CIDR networks and the names {', '.join(NAMED)}", _networks)
HOST = Type("a host name, such as www.example.com", _canonical_host)
URL_PATH = Type("a URL path, such as /healthz", _url_path)
URL_PATHS = words_of(_url_path, "a list of URL paths, such as /healthz; or `none`", "none")
URL_PREFIX = Type("a URL path that begins and ends with a slash, such as /static/", _prefix)
FILE = Type("an absolute path of letters, digits and . _ / @ + -", _local_path)
LOG = Type("an absolute path, such as /dev/stdout; or `off`", _log)
RATE = Type("a rate, such as 10r/s or 600r/m", _matching(r"[1-9][0-9]{0,6}r/[sm]"))
EMAIL = Type("an e-mail address", _matching(r"[A-Za-z0-9._+-]{1,64}@[A-Za-z0-9.-]{1,253}"))
HTTPS = Type(
    "an address that begins with https://",
    _matching(r"https://[A-Za-z0-9.-]{1,253}(:[0-9]{1,5})?/[A-Za-z0-9._~/-]{0,200}"),
)
HEADER = Type("a header's name, such as X-Forwarded-For", _matching(r"[A-Za-z][A-Za-z0-9-]{0,63}"))
ACCOUNT = Type("the name of an account", _matching(r"[a-z_][a-z0-9_-]{0,31}"))
WORKERS = Type("`auto` (one for each CPU the container may use) or a whole number from 1 to 512", _workers)
PROGRAM = Type(
    "the name or absolute path of the nginx program", _matching(r"[A-Za-z0-9._+-]{1,64}|/[A-Za-z0-9._/@+-]{1,200}")
)
