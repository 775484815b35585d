"""Every Gunicorn setting through the environment."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping
from typing import Any

import pytest
from gunicorn.config import KNOWN_SETTINGS, Config, Setting, make_settings
from gunicorn.glogging import Logger
from gunicorn.workers.sync import SyncWorker

from greendock.env import peers
from greendock.env.problems import ConfigurationError, Problem
from greendock.env.value import Value
from greendock.hooks.events import EVENTS
from greendock.server import settings, variables
from greendock.server.build import Built, build
from tests.support import ROOT

# The text written into the environment, and what Gunicorn must end up with, by the setting's validator.
BY_VALIDATOR: dict[str, tuple[str, Any]] = {
    "validate_string": ("/tmp/x", "/tmp/x"),  # noqa: S108 - only text
    "validate_list_string": ('["a,b", "c"]', ["a,b", "c"]),
    "validate_list_of_files_or_patterns": ("/etc/hostname,/etc/hosts", ["/etc/hostname", "/etc/hosts"]),
    "validate_pos_int": ("7", 7),
    "validate_bool": ("yes", True),
    "validate_class": ("", None),
    "validate_reload_engine": ("poll", "poll"),
    "validate_chdir": ("/etc", "/etc"),
    "validate_user": ("root", 0),
    "validate_group": ("root", 0),
    "validate_dict": ('{"A": "b"}', {"A": "b"}),
    "validate_string_to_addr_list": ("10.0.0.0/8, 192.168.0.1", ["10.0.0.0/8", "192.168.0.1"]),
    "validate_string_to_list": ("A,B", ["A", "B"]),
    "validate_statsd_address": ("localhost:9125", ("localhost", 9125)),
    "validate_proxy_protocol": ("v2", "v2"),
    "validate_ssl_version": ("2", "2"),
    "validate_http_protocols": ("h1", ["h1"]),
    "validate_http2_cleartext": ("upgrade", "upgrade"),
    "validate_http2_stream_limit": ("9", 9),
    "validate_http2_window_size": ("70000", 70000),
    "validate_http2_frame_size": ("20000", 20000),
    "validate_header_map_behaviour": ("refuse", "refuse"),
    "validate_asgi_loop": ("asyncio", "asyncio"),
    "validate_asgi_lifespan": ("off", "off"),
    "validate_http_parser": ("python", "python"),
}
BY_NAME: dict[str, tuple[str, Any]] = {
    "umask": ("0027", 0o27),
    "control_socket_mode": ("0o640", 0o640),
    "loglevel": ("WARNING", "warning"),
    "worker_class": ("gunicorn.workers.sync.SyncWorker", SyncWorker),
    "logger_class": ("gunicorn.glogging.Logger", Logger),
    "preload_app": ("on", True),
    "syslog_facility": ("daemon", "daemon"),
    "workers": ("5", 5),
    "dirty_apps": ("a:b,c:d", ["a:b", "c:d"]),
    "keepalive": ("120", 120),
    "graceful_timeout": ("12", 12),
    "ssl_context": (f"{__name__}:three_ssl", None),
    "bind": ("127.0.0.1:80 [::1]:80,unix:/run/app.sock", ["127.0.0.1:80", "[::1]:80", "unix:/run/app.sock"]),
    "certfile": (__file__, __file__),
    "keyfile": (__file__, __file__),
    "ca_certs": (__file__, __file__),
    "logconfig": (__file__, __file__),
    "logconfig_json": (__file__, __file__),
    "worker_tmp_dir": ("/dev", "/dev"),
}
CALLS = {count: f"{__name__}:takes{count}" for count in (1, 2, 3, 4)}


def takes1(_a: object) -> None: ...
def takes2(_a: object, _b: object) -> None: ...
def takes3(_a: object, _b: object, _c: object) -> None: ...
def takes4(_a: object, _b: object, _c: object, _d: object) -> None: ...
def three_ssl(_config: object, _factory: object) -> None: ...


def configured(environment: Mapping[str, str]) -> tuple[Built, Config]:
    built = build(environment)
    config = Config()
    for name, value in built.gunicorn().items():
        config.set(name, value)
    return built, config


ORDINARY = sorted(set(make_settings()) - set(EVENTS) - {"config", "sendfile", "ssl_context", "print_config"})


@pytest.mark.parametrize("name", ORDINARY)
def test_gunicorn_ends_up_with_what_the_environment_says(name: str) -> None:
    setting = make_settings()[name]
    text, expected = BY_NAME.get(name) or BY_VALIDATOR[setting.validator.__name__]
    # lean, the default, refuses what is Nginx's job; gthread takes every setting.
    built, config = configured({"GUNICORN_WORKER_CLASS": "gthread", f"GUNICORN_{name.upper()}": text})
    assert config.settings[name].get() == expected
    assert built.settings[name].source == "process environment"


@pytest.mark.parametrize("name", sorted(EVENTS))
def test_a_hook_named_in_the_environment_is_in_its_chain(name: str) -> None:
    call = CALLS[len(EVENTS[name].arguments)]
    built, config = configured({f"GUNICORN_{name.upper()}": f"{call},{call}"})
    assert [hook.name for hook in built.hooks[name]].count(call) == 2
    assert callable(config.settings[name].get())


def test_ssl_context_is_one_callable() -> None:
    _, config = configured({"GUNICORN_SSL_CONTEXT": f"{__name__}:three_ssl"})
    assert config.ssl_context is three_ssl
    with pytest.raises(ConfigurationError, match="one callable"):
        build({"GUNICORN_SSL_CONTEXT": f"{__name__}:three_ssl,{__name__}:three_ssl"})


def test_every_setting_of_this_gunicorn_has_a_validator_we_have_thought_about() -> None:
    assert len(settings.known()) == len(make_settings())
    unknown = [name for name, setting in make_settings().items() if not settings.is_understood(setting)]
    assert not unknown, "a new Gunicorn brings new validators: say in settings.py how each is read"


def test_a_setting_of_a_newer_gunicorn_is_read_as_text_and_still_judged_by_gunicorn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def validate_novelty(value: object) -> object:
        if value not in (None, "red", "blue"):
            raise ValueError("a colour")
        return value

    class Novel(Setting):
        name, section, validator, default, desc = "novel", "Novelties", validate_novelty, None, "What is new."

    try:
        settings.known.cache_clear()
        assert not settings.is_understood(Novel())
        assert build({"GUNICORN_NOVEL": "red"}).settings["novel"].value == "red"
        with pytest.raises(ConfigurationError, match=r"GUNICORN_NOVEL='green'.*a colour"):
            build({"GUNICORN_NOVEL": "green"})
    finally:
        KNOWN_SETTINGS.remove(Novel)
        settings.known.cache_clear()


@pytest.mark.parametrize(("text", "effective"), [("true", True), ("false", False)])
def test_sendfile_means_what_it_says_although_gunicorn_turns_it_round(text: str, effective: bool) -> None:
    assert configured({"GUNICORN_SENDFILE": text})[1].sendfile is effective


def test_the_config_file_cannot_be_chosen_from_within() -> None:
    with pytest.raises(ConfigurationError, match="gunicorn --config FILE"):
        build({"GUNICORN_CONFIG": "other.py"})


@pytest.mark.parametrize(
    ("environment", "setting", "value"),
    [
        ({"APP_MODULE": "shop:app"}, "wsgi_app", "shop:app"),
        ({"PORT": "9000"}, "bind", ["0.0.0.0:9000"]),
        ({"PORT": "9000", "GUNICORN_BIND": "unix:/run/x"}, "bind", ["unix:/run/x"]),
        ({}, "bind", ["127.0.0.1:8000"]),
        ({"WEB_CONCURRENCY": "4"}, "workers", 4),
        ({"LOG_LEVEL": "Debug"}, "loglevel", "debug"),
        ({"FORWARDED_ALLOW_IPS": "10.1.0.0/16"}, "forwarded_allow_ips", "10.1.0.0/16"),
        ({"WEB_CONCURRENCY": "", "PORT": " ", "LOG_LEVEL": ""}, "loglevel", "info"),
        ({"GUNICORN_WORKERS": "3", "WEB_CONCURRENCY": "3"}, "workers", 3),
    ],
)
def test_conventional_names_keep_their_meaning(environment: dict[str, str], setting: str, value: object) -> None:
    assert build(environment).settings[setting].value == value


def test_a_convention_and_its_setting_that_disagree_are_a_problem() -> None:
    with pytest.raises(ConfigurationError, match="says another thing than GUNICORN_WORKERS"):
        build({"GUNICORN_WORKERS": "3", "WEB_CONCURRENCY": "4"})


@pytest.mark.parametrize(
    ("environment", "named"),
    [
        ({"GUNICORN_KEEPALIVE": "20"}, "NGINX_UPSTREAM_KEEPALIVE_TIMEOUT=30"),
        ({"NGINX_UPSTREAM_KEEPALIVE_TIMEOUT": "80"}, "NGINX_UPSTREAM_KEEPALIVE_TIMEOUT=80"),
        ({"GREENDOCK_DRAIN_SECONDS": "20"}, "GREENDOCK_STOP_GRACE_SECONDS=75"),
        ({"GUNICORN_GRACEFUL_TIMEOUT": "40"}, "2 × graceful_timeout"),
        ({"GUNICORN_THREADS": "4", "GUNICORN_WORKER_CLASS": "sync"}, "worker_class=sync"),
        ({"GUNICORN_THREADS": "4", "GUNICORN_WORKER_CLASS": "asgi"}, "worker_class=AsgiWorker"),
        ({"GUNICORN_RELOAD": "1", "GUNICORN_PRELOAD_APP": "1"}, "cannot be combined with reload"),
        ({"GUNICORN_WORKERS": "0"}, "at least 1"),
        ({"WEB_CONCURRENCY": "2", "GREENDOCK_MIN_READY_WORKERS": "3"}, "never ready"),
        ({"GUNICORN_CMD_ARGS": "--bind 'x"}, "No closing quotation"),
        ({"GUNICORN_BIND": "foo:bar:baz"}, "HOST:PORT"),
        ({"GUNICORN_BIND": "0.0.0.0:99999"}, "ports from 0 to 65535"),
        ({"GUNICORN_BIND": "unix:/no/such/folder/socket"}, "/no/such/folder is none"),
        ({"PORT": "9000", "NGINX_UPSTREAM": "app:8000"}, "NGINX_UPSTREAM=app:8000"),
        ({"GUNICORN_BIND": "127.0.0.1:8000", "NGINX_UPSTREAM": "app:8000"}, "NGINX_UPSTREAM=app:8000"),
        ({"GUNICORN_LOGCONFIG": "/no/such/file"}, "a file that exists"),
        ({"GUNICORN_PIDFILE": "/no/such/folder/pid"}, "an existing folder"),
        ({"GUNICORN_WORKER_TMP_DIR": "/no/such/folder"}, "an existing folder"),
    ],
)
def test_a_contradiction_is_a_problem(environment: dict[str, str], named: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        build(environment)
    assert len(caught.value.problems) == 1
    assert named in str(caught.value)


@pytest.mark.parametrize(
    ("variable", "text", "named"),
    [
        ("GUNICORN_CERTFILE", __file__, "TLS is Nginx's job"),
        ("GUNICORN_PROXY_PROTOCOL", "v1", "the PROXY protocol is Nginx's job"),
        ("GUNICORN_PROTOCOL", "uwsgi", "lean speaks HTTP only"),
    ],
)
def test_what_a_worker_class_refuses_is_a_problem_of_the_variable_that_asks_for_it(
    variable: str, text: str, named: str
) -> None:
    with pytest.raises(ConfigurationError, match=f"{variable}='{text}'.*{named}"):
        build({variable: text})
    assert build({variable: text, "GUNICORN_WORKER_CLASS": "gthread"})


def test_the_templates_threads_do_not_contradict_a_worker_class_without_threads() -> None:
    assert "threads" not in build({"GUNICORN_WORKER_CLASS": "asgi"}).settings


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"GUNICORN_TIMOUT": "3"}, "did you mean GUNICORN_TIMEOUT?"),
        ({"GUNICORN_PORT": "80"}, "did you mean PORT?"),
        ({"GREENDOCK_DRAIN_SECOND": "1"}, "did you mean GREENDOCK_DRAIN_SECONDS?"),
        ({"NGINX_UPSTREAMS": "x"}, "did you mean NGINX_UPSTREAM?"),
        ({"NGINX_MAX_UPLOAD": "10m"}, "did you mean NGINX_CLIENT_MAX_BODY_SIZE?"),
        ({"GUNICORN_PRELOAD": "true"}, "did you mean GUNICORN_PRELOAD_APP?"),
        ({"GUNICORN_CONF": "conf.py"}, "`gunicorn -c FILE`"),
        ({"GUNICORN_": "x"}, "no such name"),
        ({"GUNICORN_UMASK": "9z"}, "octal"),
        ({"GUNICORN_SECURE_SCHEME_HEADERS": "[1]"}, "JSON object"),
        ({"GUNICORN_CERTFILE": "/no/such/file", "GUNICORN_CHDIR": "/no/such/dir"}, "can't chdir"),
        ({"GUNICORN_USER": "nobody-there"}, "No such user"),
        ({"GUNICORN_WORKER_CLASS": "gthred"}, "Gunicorn's own: "),
        ({"GUNICORN_WORKER_CLASS": "no.such.Class"}, "cannot be loaded"),
        ({"GUNICORN_LOGGER_CLASS": "logging.Handler"}, "a subclass of gunicorn.glogging.Logger"),
        ({"GREENDOCK_PLUGINS": "none-such"}, "no such plugin; installed: "),
        ({"GUNICORN_POST_FORK": "nowhere:f"}, "cannot be loaded"),
        ({"GUNICORN_POST_FORK": f"{__name__}:takes1"}, "(server, worker)"),
        ({"GUNICORN_POST_FORK": f"{__name__}:CALLS"}, "not callable"),
        ({"GUNICORN_RAW_PASTE_GLOBAL_CONF": "[1, 2]"}, "JSON array of strings"),
        ({"GUNICORN_FORWARDED_ALLOW_IPS": '["a'}, "JSON array of strings"),
    ],
)
def test_a_wrong_value_says_what_would_be_right(environment: dict[str, str], said: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        build(environment)
    assert said in str(caught.value)


def test_names_that_others_set_are_not_unknown() -> None:
    build(
        {
            "NGINX_VERSION": "1.30.6",
            "NGINX_ENTRYPOINT_QUIET_LOGS": "1",
            "GUNICORN_PORT": "tcp://10.0.0.1:80",
            "GUNICORN_PORT_80_TCP_ADDR": "10.0.0.1",
            "NGINX_SERVICE_HOST": "10.0.0.1",
            "NGINX_SERVICE_PORT_HTTP": "80",
            "GREENDOCK_PORT_80_TCP": "tcp://10.0.0.1:80",
        }
    )


def test_a_secret_value_is_in_no_report() -> None:
    problems: list[Problem] = []
    values = {"GUNICORN_WORKERS": Value("hunter2", "file /run/secrets/x", secret=True)}
    settings.read(values, problems)
    with pytest.raises(ConfigurationError) as caught:
        build({"GUNICORN_RAW_ENV": "[hunter2", "GREENDOCK_API_TOKEN": "hunter2"})
    text = str(caught.value) + "".join(map(str, problems))
    assert len(problems) == 1
    assert text.count("(hidden)") == 3
    assert "hunter2" not in text


def test_many_mistakes_are_one_report_with_a_line_for_each() -> None:
    with pytest.raises(ConfigurationError) as caught:
        build(
            {
                "GUNICORN_TIMOUT": "3",
                "GUNICORN_RELOAD": "maybe",
                "MAX_WORKERS": "0",
                "GREENDOCK_DRAIN_SECONDS": "-1",
                "PORT": "http",
            }
        )
    lines = str(caught.value).splitlines()
    assert lines[0] == "greendock: 5 configuration problems, nothing was started:"
    assert len(lines) == 6
    assert "  PORT='http' (from process environment): accepted: a whole number from 1 to 65535" in lines


def test_the_defaults_are_accepted_as_they_are() -> None:
    built, config = configured({})
    assert config.worker_class_str == "LeanWorker"
    assert config.threads > 1
    assert logging.getLevelName(config.loglevel.upper()) == logging.INFO
    assert json.dumps(config.secure_scheme_headers) == '{"X-FORWARDED-PROTO": "https"}'
    assert built.settings["workers"].value >= 1


@pytest.mark.parametrize(
    ("environment", "meant"),
    [
        ({"APP_MODUL": "shop:app"}, "APP_MODULE"),
        ({"WEB_CONCURENCY": "3"}, "WEB_CONCURRENCY"),
        ({"LOGLEVEL": "info"}, "LOG_LEVEL"),
        ({"GUNICRON_TIMEOUT": "3"}, "GUNICORN_TIMEOUT"),
        ({"TIMEOUT": "3"}, "GUNICORN_TIMEOUT"),
        ({"UWSGI_HARAKIRI": "3"}, "no uWSGI here"),
    ],
)
def test_a_name_that_was_probably_meant_for_us_is_pointed_out_and_not_refused(
    environment: dict[str, str], meant: str
) -> None:
    (notice,) = build(environment).notices
    assert next(iter(environment)) in notice
    assert meant in notice


@pytest.mark.parametrize(
    "environment", [{"APP_MODE": "x"}, {"DATABASE_URL": "x"}, {"TIMEOUT": "3", "GUNICORN_TIMEOUT": "3"}, {"HOME": "/"}]
)
def test_an_applications_own_names_are_not_pointed_out(environment: dict[str, str]) -> None:
    assert build(environment).notices == ()


def test_a_secret_is_in_no_notice() -> None:
    (notice,) = build({"APP_MODUL_FILE": "x", "APP_SECRET": "hunter2", "TIMEOUT": "3"}).notices
    assert "hunter2" not in notice


@pytest.mark.parametrize("text", ["10.0.0.0/8,192.168.0.1", "10.0.0.0/8 192.168.0.1", '["10.0.0.0/8", "192.168.0.1"]'])
@pytest.mark.parametrize("variable", ["GUNICORN_FORWARDED_ALLOW_IPS", "FORWARDED_ALLOW_IPS"])
def test_every_list_is_written_with_commas_with_white_space_or_as_json(variable: str, text: str) -> None:
    assert build({variable: text}).settings["forwarded_allow_ips"].value == "10.0.0.0/8,192.168.0.1"


@pytest.mark.parametrize("name", sorted(peers.BARE))
def test_a_peers_name_is_in_the_page_about_coming_from_there(name: str) -> None:
    rows = (ROOT / "docs" / "coming-from.md").read_text().splitlines()
    if name in ("KEEPALIVE", "THREADS", "WORKERS"):
        return  # nobody's in particular
    right = peers.BARE[name].partition(" ")[0].partition("=")[0].rstrip(":")
    assert any(f"`{name}`" in row and (right in row or right == "a") for row in rows), name


@pytest.mark.parametrize("name", sorted(peers.BARE | peers.PREFIXED))
def test_what_a_peers_name_is_here_exists_here(name: str) -> None:
    here = (peers.BARE | peers.PREFIXED)[name]
    known = variables.ALL.keys() | settings.known().keys() | {"GUNICORN_CMD_ARGS"}
    named = set(re.findall(r"\b(?:GUNICORN|GREENDOCK|NGINX)_[A-Z_]+\b", here))
    assert name not in known
    assert named <= known
