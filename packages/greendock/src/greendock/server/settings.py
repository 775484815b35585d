"""Environment variables to Gunicorn settings, introspected from Gunicorn itself.

``GUNICORN_<SETTING>`` sets the setting of that name. How a value is read follows from the setting's own validator,
``type`` and default, so a setting that a new Gunicorn adds needs no change here; the value then goes through
Gunicorn's own validator. https://docs.gunicorn.org/en/stable/settings.html
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from contextlib import redirect_stderr
from dataclasses import dataclass
from functools import cache
from io import StringIO
from typing import Any

from gunicorn import config as gunicorn_config

from greendock.env import types
from greendock.env.problems import Problem, looks_secret
from greendock.env.types import Type
from greendock.env.value import Value
from greendock.env.variable import Variable
from greendock.hooks.events import EVENTS, SSL_CONTEXT
from greendock.host import networks
from greendock.server.variables import APP

PREFIX = "GUNICORN_"
TEMPLATE = "template default"

# Where the template differs from Gunicorn. docs/decisions.md says why, one by one.
DEFAULTS: dict[str, Any] = {
    "worker_class": "lean",
    "threads": 16,
    "keepalive": 75,
    "limit_request_line": 8190,
    "limit_request_fields": 120,
    "control_socket_disable": True,
    "secure_scheme_headers": {"X-FORWARDED-PROTO": "https"},
}

# Conventional names for a setting.
ALIASES = {
    "APP_MODULE": "wsgi_app",
    "LOG_LEVEL": "loglevel",
    "FORWARDED_ALLOW_IPS": "forwarded_allow_ips",
    "WEB_CONCURRENCY": "workers",
}

CLASS_SETTINGS = ("worker_class", "logger_class")
HOOK = Type("module:callable[,module:callable…]", types.NAMES.parse)

_LIST_VALIDATORS = frozenset({"validate_list_string", "validate_list_of_files_or_patterns"})
_COMMA_VALIDATORS = frozenset({"validate_string_to_list", "validate_string_to_addr_list"})
_WORDS: dict[str, tuple[str, ...]] = {
    "loglevel": ("debug", "info", "warning", "error", "critical"),
}
_RESOLVED_LATER = (*CLASS_SETTINGS, "forwarded_allow_ips")
# The file that GUNICORN_CONFIG would name is the one that reads this variable: too late to choose another.
_UNSETTABLE = {"config": "accepted: nothing; choose the file with `gunicorn --config FILE`"}


@dataclass(frozen=True)
class Setting:
    """A Gunicorn setting's value and where it came from."""

    value: Any
    source: str


@cache
def known() -> dict[str, Variable]:
    """Return every ``GUNICORN_*`` variable, by name."""
    return {variable.name: variable for variable in map(_variable, _gunicorn_settings().values())}


def _gunicorn_settings() -> dict[str, Any]:
    return dict(gunicorn_config.make_settings())


def _variable(setting: Any) -> Variable:
    default = DEFAULTS.get(setting.name, setting.default)
    return Variable(
        f"{PREFIX}{setting.name.upper()}",
        type_of(setting),
        _default_text(setting, default),
        setting.short,
        setting.section,
    )


def _default_text(setting: Any, default: Any) -> str:
    if default is None or (callable(default) and not isinstance(default, type)):
        return ""
    if setting.name in ("chdir", "user", "group", "control_socket"):
        return ""  # depends on who starts Gunicorn, and where
    if isinstance(default, bool):
        return str(default).lower()
    if isinstance(default, dict):
        return str(default).replace("'", '"')
    if _is_mode(setting):
        return f"0o{default:o}"
    if isinstance(default, int):
        return str(int(default))
    return ",".join(default) if isinstance(default, list) else str(default)


def _is_mode(setting: Any) -> bool:
    return bool(getattr(setting.type, "__name__", "") == gunicorn_config.auto_int.__name__)


def type_of(setting: Any) -> Type:
    """Return how a Gunicorn setting is read from text.

    One whose validator is none of those known here, in a Gunicorn newer than this package, is handed over as text;
    the validator itself still judges it.
    """
    validator = setting.validator.__name__
    if setting.name in EVENTS or setting.name == SSL_CONTEXT.name:
        return HOOK
    if setting.name in _WORDS:
        return types.choice(*_WORDS[setting.name])
    if validator == "validate_bool":
        return types.BOOLEAN
    if _is_mode(setting):
        return Type("an octal number with a leading 0, such as 0022", lambda text: setting.type(text.strip()))
    if setting.type is int or validator == "validate_pos_int":
        return types.integer(0)
    if validator in _LIST_VALIDATORS:
        return types.LIST
    if validator in _COMMA_VALIDATORS:
        return Type(types.LIST.accepted, lambda text: ",".join(types.LIST.parse(text)))
    if validator == "validate_dict":
        return types.MAPPING
    return Type(TEXT_VALIDATORS.get(validator, types.TEXT.accepted), types.TEXT.parse)


def is_understood(setting: Any) -> bool:
    """Say whether how a setting is read was thought about, and is not just text for want of better."""
    return type_of(setting).accepted is not types.TEXT.accepted or setting.validator.__name__ in TEXT_VALIDATORS


# Validators that take text, and what each accepts.
TEXT_VALIDATORS = {
    "validate_string": types.TEXT.accepted,
    "validate_class": "the name of a plugin, of one of Gunicorn's own, or module.Class",
    "validate_reload_engine": "one of auto, poll, inotify",
    "validate_chdir": "an existing folder",
    "validate_user": "a user's name or number",
    "validate_group": "a group's name or number",
    "validate_statsd_address": "host:port or unix:///path",
    "validate_proxy_protocol": "one of off, v1, v2, auto",
    "validate_ssl_version": "text (deprecated by Gunicorn and ignored)",
    "validate_http_protocols": "a list out of h1, h2",
    "validate_http2_cleartext": "one of off, prior-knowledge, upgrade, both",
    "validate_header_map_behaviour": "one of drop, refuse, dangerous",
    "validate_asgi_loop": "one of auto, asyncio, uvloop",
    "validate_asgi_lifespan": "one of auto, on, off",
    "validate_http_parser": "one of auto, fast, python",
}


def read(values: Mapping[str, Value], problems: list[Problem]) -> dict[str, Setting]:
    """Return the settings the environment gives, and the template's defaults beneath.

    Hooks and plugin classes are left as text, for ``greendock.hooks`` and ``greendock.plugins``. Faults are
    appended to ``problems``.
    """
    settings = {name: Setting(value, TEMPLATE) for name, value in DEFAULTS.items()}
    written = {name: values[name] for name in known() if name in values}
    for name, value in written.items():
        setting = name.removeprefix(PREFIX).lower()
        parsed = _parse(known()[name], setting, value, problems)
        if parsed is not None:
            settings[setting] = Setting(parsed, value.source)
    if "sendfile" in settings and settings["sendfile"].value:
        # Gunicorn disables sendfile when the setting holds anything at all, True included.
        settings["sendfile"] = Setting(None, settings["sendfile"].source)
    _read_conventions(values, settings, problems)
    return settings


def _parse(variable: Variable, setting: str, value: Value, problems: list[Problem]) -> Any:
    """Return what Gunicorn shall be given, or ``None`` when the text is refused."""
    accepted = _UNSETTABLE.get(setting)
    if accepted is None:
        try:
            parsed = variable.type.parse(value.text)
            if variable.type is not HOOK and setting not in _RESOLVED_LATER:
                validate(setting, parsed)
        except Exception as error:
            accepted = f"accepted: {variable.type.accepted}"
            if str(error) and str(error) != value.text and not value.secret and not looks_secret(variable.name):
                accepted += f" ({' '.join(str(error).split())})"
        else:
            return parsed
    problems.append(Problem(variable.name, None if value.secret else value.text, value.source, accepted))
    return None


def validate(setting: str, value: Any) -> Any:
    """Return what Gunicorn makes of a value; raises whatever Gunicorn's validator raises."""
    instance = _gunicorn_settings()[setting]
    with warnings.catch_warnings(), redirect_stderr(StringIO()):
        warnings.simplefilter("ignore")
        instance.set(value)
    return instance.get()


def _read_conventions(values: Mapping[str, Value], settings: dict[str, Setting], problems: list[Problem]) -> None:
    for alias, setting in ALIASES.items():
        value = values.get(alias)
        own = f"{PREFIX}{setting.upper()}"
        if value is not None and own in values and values[own].text != value.text:
            source = f"{value.source}; {own} from {values[own].source}"
            problems.append(Problem(alias, value.text, source, f"says another thing than {own}; set one of them"))
        elif (value is not None or alias != "WEB_CONCURRENCY") and own not in values:
            parsed = APP[alias].read(values, problems)
            if parsed is not None:
                settings[setting] = Setting(parsed, value.source if value else TEMPLATE)
    if "PORT" in values and f"{PREFIX}BIND" not in values:
        port = APP["PORT"].read(values, problems)
        settings["bind"] = Setting([f"0.0.0.0:{port}"], values["PORT"].source)
    elif f"{PREFIX}BIND" not in values:
        settings["bind"] = Setting(["127.0.0.1:8000"], TEMPLATE)
    _expand_networks(values, settings, problems)


def _expand_networks(values: Mapping[str, Value], settings: dict[str, Setting], problems: list[Problem]) -> None:
    """Replace the word ``network`` in ``forwarded_allow_ips`` with the networks we are attached to."""
    trusted = settings.get("forwarded_allow_ips")
    if trusted is None:
        return  # its text was refused
    text = networks.expand(trusted.value)
    try:
        validate("forwarded_allow_ips", text)
    except ValueError as error:
        name = "FORWARDED_ALLOW_IPS" if "FORWARDED_ALLOW_IPS" in values else f"{PREFIX}FORWARDED_ALLOW_IPS"
        accepted = f"accepted: addresses, CIDR networks, `network`, or * ({error})"
        problems.append(Problem(name, trusted.value, trusted.source, accepted))
        return
    settings["forwarded_allow_ips"] = Setting(text, trusted.source)
