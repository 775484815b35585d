"""The rendered configuration, read back by crossplane: an independent parser of Nginx's language."""

from __future__ import annotations

import re
import string
import subprocess
import sys
from pathlib import Path
from typing import Any

import crossplane
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from greendock.env.problems import ConfigurationError
from greendock.proxy.configuration import read
from greendock.proxy.maintenance import Maintenance
from greendock.proxy.render import SHIPPED, render
from greendock.proxy.render import text as as_text
from greendock.proxy.types import Quoted, is_address
from greendock.proxy.variables import VARIABLES

Tree = list[tuple[str, Any]]


def parsed(text: str, folder: Path) -> list[dict[str, Any]]:
    file = folder / "nginx.conf"
    file.write_text(text)
    payload = crossplane.parse(str(file), single=True, strict=False, check_ctx=False)
    assert payload["status"] == "ok", payload["errors"]
    blocks: list[dict[str, Any]] = payload["config"][0]["parsed"]
    return blocks


def structure(blocks: list[dict[str, Any]]) -> Tree:
    """Directives and their nesting, in order, whatever their arguments."""
    return [(block["directive"], structure(block.get("block", []))) for block in blocks]


def directives(blocks: list[dict[str, Any]], name: str) -> list[list[str]]:
    found = [block["args"] for block in blocks if block["directive"] == name]
    return found + [args for block in blocks for args in directives(block.get("block", []), name)]


def configuration(folder: Path, **environment: str) -> list[dict[str, Any]]:
    return parsed(render(read(environment)), folder)


# What an attacker would try, mixed with what a person might mistype.
HOSTILE = st.one_of(
    st.text(max_size=40),
    st.text(alphabet=string.printable, max_size=60),
    st.lists(
        st.sampled_from(
            [
                ";",
                "}",
                "{",
                '"',
                "'",
                "\\",
                "\n",
                "\r",
                "\x00",
                " ",
                "\t",
                "$",
                "${",
                "#",
                "server{",
                "include /x;",
                "a.b",
                "example.com",
                "10.0.0.0/8",
                "8080",
                "30s",
                "10m",
                "on",
                "/srv/static",
                "/static/",
                "${NGINX_TLS}",
                "~",
                "*",
                "app:8000",
                "10r/s",
                ",",
                "\xa0",
                "\u2028",
                "\u0660",
                "%",
                "unix:/a",
                "[::1]:1",
                "return 200",
                "//",
            ]
        ),
        max_size=8,
    ).map("".join),
)
# These choose which files are rendered or how many lines a list becomes; their effect is tested by name below.
SHAPING = {
    "NGINX_TLS",
    "NGINX_TLS_REDIRECT",
    "NGINX_HTTP3",
    "NGINX_IPV6",
    "NGINX_CACHE_TIME",
    "NGINX_RATE_LIMIT",
    "NGINX_CONNECTION_LIMIT",
    "NGINX_ACME_WEBROOT",
    "NGINX_LOG_FORMAT",
    "NGINX_ALLOW",
    "NGINX_BASIC_AUTH_FILE",
    "NGINX_CANONICAL_HOST",
    "NGINX_HEALTH_PATH",
    "NGINX_HEALTH_UPSTREAM",
    "NGINX_MEDIA_ROOT",
    "NGINX_MEDIA_URL",
    "NGINX_STICKY",
    "NGINX_TLS_CLIENT_CA",
    "NGINX_TLS_PROFILE",
    "NGINX_TRUSTED_PROXIES",
    "NGINX_CROSS_ORIGIN_EMBEDDER_POLICY",
    "NGINX_CROSS_ORIGIN_OPENER_POLICY",
    "NGINX_CROSS_ORIGIN_RESOURCE_POLICY",
    "NGINX_LOG_ANONYMIZE",
    "NGINX_LOG_FIELDS",
    "NGINX_STATIC_CORS",
    "NGINX_STATIC_INDEX",
    "NGINX_STATIC_MAX_AGES",
}
# Every optional piece at once, so that every template takes part.
EVERYTHING = {
    "NGINX_TLS": "on",
    "NGINX_HTTP3": "on",
    "NGINX_PORT_DIR": "/run/port",
    "NGINX_CACHE_TIME": "1s",
    "NGINX_RATE_LIMIT": "10r/s",
    "NGINX_CONNECTION_LIMIT": "9",
    "NGINX_ACME_WEBROOT": "/srv/acme",
    "NGINX_SERVER_NAMES": "example.com",
    "NGINX_TRUSTED_PROXIES": "10.0.0.0/8",
    "NGINX_RESOLVER": "10.0.0.1",
    "NGINX_IPV6": "on",
    "NGINX_ALLOW": "10.1.0.0/16",
    "NGINX_BASIC_AUTH_FILE": "/run/htpasswd",
    "NGINX_CANONICAL_HOST": "example.com",
    "NGINX_HEALTH_PATH": "/lb",
    "NGINX_HEALTH_UPSTREAM": "on",
    "NGINX_MEDIA_ROOT": "/srv/media",
    "NGINX_MEDIA_URL": "/media/",
    "NGINX_STICKY": "cookie",
    "NGINX_TLS_CLIENT_CA": "/run/tls/clients.crt",
    "NGINX_CONTENT_SECURITY_POLICY": "default-src 'self'; img-src *",
    "NGINX_CONTENT_SECURITY_POLICY_REPORT_ONLY": "default-src 'none'",
    "NGINX_CROSS_ORIGIN_EMBEDDER_POLICY": "require-corp",
    "NGINX_CROSS_ORIGIN_OPENER_POLICY": "same-origin",
    "NGINX_CROSS_ORIGIN_RESOURCE_POLICY": "same-site",
    "NGINX_LOG_ANONYMIZE": "on",
    "NGINX_LOG_FIELDS": "user,forwarded_for,port,referrer_origin",
    "NGINX_PERMISSIONS_POLICY": "camera=()",
    "NGINX_STATIC_CORS": "https://a.example",
    "NGINX_STATIC_INDEX": "on",
    "NGINX_STATIC_MAX_AGES": "html=0s",
}
# What may come and go with the length of a list.
REPEATED = {"set_real_ip_from", "server", "allow", "resolver", "user"}
FOLDERS = {"NGINX_CONFIG_DIR", "NGINX_STATIC_ROOT"}


def shape(tree: Tree) -> Tree:
    """The structure without the lines that a list in a variable makes: each is checked to be a plain directive."""
    kept: Tree = []
    for name, block in tree:
        if not block and (name in REPEATED or re.fullmatch(r"[0-9a-f.:]+/\d+|/[^;{}\"$]*", name)):
            continue
        kept.append((name, shape(block)))
    return kept


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


@pytest.fixture(scope="module")
def expected(folder: Path) -> Tree:
    return shape(structure(parsed(render(read(EVERYTHING)), folder)))


def hostile(name: str) -> st.SearchStrategy[str]:
    """Anything at all, and the variable's own default with something inserted."""
    good = EVERYTHING.get(name) or next(v.default for v in VARIABLES if v.name == name) or "x"
    inserted = st.builds(lambda at, text: good[:at] + text + good[at:], st.integers(0, len(good)), HOSTILE)
    return st.one_of(HOSTILE, inserted, st.builds(lambda text: good + text, HOSTILE))


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_no_value_changes_the_structure_of_the_configuration(data: st.DataObject, folder: Path, expected: Tree) -> None:
    names = st.sampled_from(sorted({v.name for v in VARIABLES} - SHAPING - FOLDERS))
    accepted: dict[str, str] = {}
    for name in data.draw(st.lists(names, min_size=3, max_size=8, unique=True)):
        text = data.draw(hostile(name))
        if text.strip() and can_be_read(accepted | {name: text}):
            accepted[name] = text
    event(f"{len(accepted)} accepted")
    if not accepted:
        return
    values = read(EVERYTHING | accepted)
    # Any host at all needs no server for unknown hosts, an address needs one for names, and a log can be off: choices,
    # not injections.
    names = values["NGINX_SERVER_NAMES"]
    if names in (["any"], ["local"]) or any(map(is_address, names)) or values["NGINX_LOG_EXCLUDE"] == ["none"]:
        return
    assert shape(structure(parsed(render(values), folder))) == expected


def can_be_read(environment: dict[str, str]) -> bool:
    try:
        read(EVERYTHING | environment)
    except ConfigurationError:
        return False
    return True


# Each of these would end, open, quote, continue or comment out something, or expand a variable.
SYNTAX = [
    ";",
    "{",
    "}",
    '"',
    "'",
    "\\",
    "#",
    "$",
    "\n",
    "\r",
    "\0",
    "; x",
    "\t;",
    "${NGINX_TLS}",
    "$host",
    " }\nserver {",
]


def dangerous(name: str, text: str) -> bool:
    """Say whether ``text`` is accepted and reaches the configuration with anything but plain words."""
    try:
        value = read({name: text})[name]
    except ConfigurationError:
        return False
    words = value if isinstance(value, list) else [value]
    # What stands between double quotes may hold all but what ends them or expands in them.
    return any(
        set(as_text(word)) & set('\t\r\n\0"\\$' if isinstance(word, Quoted) else " \t\r\n\0;{}\"'\\$#")
        for word in words
    )


@pytest.mark.parametrize("name", [variable.name for variable in VARIABLES])
def test_no_syntax_gets_through_a_variable(name: str) -> None:
    good = EVERYTHING.get(name) or next(v.default for v in VARIABLES if v.name == name) or "/x"
    tries = [good[:at] + syntax + good[at:] for syntax in SYNTAX for at in range(len(good) + 1)]
    assert [text for text in tries + SYNTAX if dangerous(name, text)] == []


@settings(max_examples=1000, deadline=None)
@given(data=st.data(), name=st.sampled_from([variable.name for variable in VARIABLES]))
def test_no_text_at_all_gets_syntax_through_a_variable(data: st.DataObject, name: str) -> None:
    assert not dangerous(name, data.draw(hostile(name)))


def test_a_list_of_addresses_becomes_a_list_of_directives(tmp_path: Path) -> None:
    blocks = configuration(
        tmp_path,
        NGINX_UPSTREAM="a:1 b:2 10.0.0.3:3 localhost:4",
        NGINX_RESOLVER="10.0.0.1",
        NGINX_TRUSTED_PROXIES="10.1.0.0/16,fd00::/8",
    )
    servers = [args for args in directives(blocks, "server") if args]
    assert servers == [
        ["a:1", "resolve", "max_fails=0"],
        ["b:2", "resolve", "max_fails=0"],
        ["10.0.0.3:3", "max_fails=0"],
        ["localhost:4", "max_fails=0"],
    ]
    assert directives(blocks, "set_real_ip_from") == [["10.1.0.0/16"], ["fd00::/8"]]
    assert directives(blocks, "resolver") == [["10.0.0.1", "valid=1s"]]


def test_a_rollout_takes_the_place_of_the_upstream(tmp_path: Path) -> None:
    blocks = parsed(render(read({"NGINX_RESOLVER": "10.0.0.1"}), ["10.9.9.9:8000"]), tmp_path)
    assert [args for args in directives(blocks, "server") if args] == [["10.9.9.9:8000", "max_fails=0"]]


def test_nothing_optional_is_rendered_by_default(tmp_path: Path) -> None:
    blocks = configuration(tmp_path)
    for name in ("ssl_certificate", "proxy_cache", "limit_req", "limit_conn", "http2", "http3", "set_real_ip_from"):
        assert directives(blocks, name) == []


@pytest.mark.parametrize(
    ("environment", "directive", "arguments"),
    [
        ({"NGINX_RATE_LIMIT": "7r/s"}, "limit_req", ["zone=requests", "burst=40", "nodelay"]),
        ({"NGINX_CONNECTION_LIMIT": "9"}, "limit_conn", ["connections", "9"]),
        ({"NGINX_CACHE_TIME": "1s"}, "proxy_cache_valid", ["200", "301", "308", "404", "1s"]),
        ({"NGINX_TLS": "on"}, "http2", ["on"]),
        ({"NGINX_TLS": "on"}, "ssl_reject_handshake", ["on"]),
        ({"NGINX_TLS": "on", "NGINX_HTTP3": "on"}, "http3", ["on"]),
        ({"NGINX_WORKER_PROCESSES": "3"}, "worker_processes", ["3"]),
    ],
)
def test_a_feature_is_one_variable_away(
    tmp_path: Path, environment: dict[str, str], directive: str, arguments: list[str]
) -> None:
    assert arguments in directives(configuration(tmp_path, **environment), directive)


@pytest.mark.parametrize("tls", ["off", "on", "self-signed"])
@pytest.mark.parametrize("names", ["local", "any", "example.com"])
@pytest.mark.parametrize("redirect", ["on", "off"])
def test_each_port_has_exactly_one_default_server(tmp_path: Path, tls: str, names: str, redirect: str) -> None:
    blocks = configuration(
        tmp_path, NGINX_TLS=tls, NGINX_SERVER_NAMES=names, NGINX_TLS_REDIRECT=redirect, NGINX_IPV6="off"
    )
    defaults = [args[0] for args in directives(blocks, "listen") if "default_server" in args]
    assert sorted(defaults) == (["8080"] if tls == "off" else ["8080", "8443"])


def test_hsts_is_never_promised_with_a_self_signed_certificate() -> None:
    assert "max-age=63072000" in render(read({"NGINX_TLS": "on"}))
    assert "max-age=63072000" not in render(read({"NGINX_TLS": "self-signed"}))


def test_gixy_finds_nothing_in_all_features_together(tmp_path: Path) -> None:
    (tmp_path / "static" / ".br").mkdir(parents=True)
    closed = Maintenance("Back soon", 1893456000.0, ["10.0.0.0/8"])
    file = tmp_path / "nginx.conf"
    file.write_text(render(read(EVERYTHING | {"NGINX_STATIC_ROOT": str(tmp_path / "static")}), None, closed))
    gixy = Path(sys.executable).with_name("gixy")
    done = subprocess.run([gixy, file], check=False, capture_output=True, text=True, timeout=60)
    assert "No issues found" in done.stdout, done.stdout


@pytest.mark.parametrize("share", [1, 10, 50, 90])
def test_a_canary_has_its_share_whatever_the_numbers_of_replicas(share: int) -> None:
    text = render(read({}), ["10.0.0.1:8000", "10.0.0.2:8000", "10.0.0.3:8000", f"10.0.0.4:8000={share}"])
    weights = [int(weight) for weight in re.findall(r"server 10\.0\.0\.\d:8000 max_fails=0 weight=(\d+);", text)]
    assert weights[3] / sum(weights) == share / 100
    assert len(set(weights[:3])) == 1


def test_without_a_canary_there_are_no_weights() -> None:
    assert "weight=" not in render(read({}), ["10.0.0.1:8000", "10.0.0.2:8000"])


def test_the_default_configuration_stays_as_short_as_it_was() -> None:
    """What nobody has asked for takes no line: features are added, and a reader of the default one does not pay."""
    assert len(render(read({"NGINX_STATIC_ROOT": "/nowhere"})).splitlines()) <= 620


def test_every_template_explains_itself() -> None:
    for file in (SHIPPED / "templates").rglob("*.conf"):
        text = file.read_text()
        if ";" in re.sub(r"\$\{\w+\}|include .*;", "", text):
            assert re.search(r"^\s*# \S", text, re.MULTILINE), file
