"""Plugins: found by entry point, enabled by name, with variables, settings and checks of their own."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from greendock.env.problems import ConfigurationError
from greendock.hooks import plugins
from greendock.server.build import Built, build
from tests.support import greendock

Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Install a distribution: ``install("name", source, "group: entry = module:attribute", …)``."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(plugins, "_loaded", {})
    before = set(sys.modules)

    def install(name: str, source: str, *entries: str) -> None:
        module = name.replace("-", "_")
        (tmp_path / f"{module}.py").write_text(source)
        info = tmp_path / f"{module}-1.2.3.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2.3\n")
        groups: dict[str, list[str]] = {}
        for entry in entries:
            group, _, line = entry.partition(": ")
            groups.setdefault(group, []).append(line)
        text = "\n".join(f"[{group}]\n" + "\n".join(lines) for group, lines in groups.items())
        (info / "entry_points.txt").write_text(text)

    yield install
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


def complaints(**environment: str) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        build(process=environment)
    return [str(problem) for problem in caught.value.problems]


def names(configuration: Built, event: str) -> list[str]:
    return [hook.name for hook in configuration.hooks[event] if not hook.name.startswith("greendock.")]


def test_hooks_run_in_order_own_then_plugins_then_environment_and_teardown_in_reverse(
    install: Install, tmp_path: Path
) -> None:
    source = "def on_starting(server): pass\ndef worker_exit(server, worker): pass\n"
    install("one", source, "greendock.hooks: one = one")
    install("two", source, "greendock.hooks: two = two")
    (tmp_path / "mine.py").write_text(source)
    configuration = build(
        process={
            "GREENDOCK_PLUGINS": "two,one",
            "GUNICORN_ON_STARTING": "mine:on_starting",
            "GUNICORN_WORKER_EXIT": "mine:worker_exit",
        }
    )
    assert names(configuration, "on_starting") == ["plugin two", "plugin one", "mine:on_starting"]
    assert configuration.hooks["on_starting"][0].name.startswith("greendock.")
    assert names(configuration, "worker_exit") == ["mine:worker_exit", "plugin one", "plugin two"]


def test_an_unknown_plugin_lists_what_is_installed(install: Install) -> None:
    install("one", "", "greendock.hooks: one = one")
    (found,) = complaints(GREENDOCK_PLUGINS="on")
    assert found.endswith("no such plugin; installed: metrics, one, otel")
    (found,) = complaints(GUNICORN_WORKER_CLASS="gthreads")
    assert "no such plugin; installed: asgi, drain, " in found
    assert "Gunicorn's own: asgi, gevent" in found


def test_a_plugin_that_cannot_be_imported_is_one_complaint_with_its_package(install: Install) -> None:
    install("one", "import not_installed\n", "greendock.hooks: one = one")
    (found,) = complaints(GREENDOCK_PLUGINS="one")
    assert "the plugin of package one cannot be loaded: ModuleNotFoundError: No module named 'not_installed'" in found


def test_a_plugins_hook_of_a_wrong_arity_is_a_complaint(install: Install) -> None:
    install("one", "def on_exit(a, b): pass\n", "greendock.hooks: one = one")
    (found,) = complaints(GREENDOCK_PLUGINS="one")
    assert "on_exit: accepted: a callable of (server), not (a, b)" in found


PLUGIN = """
from greendock.env import types
from greendock.hooks.plugins import ServerPlugin
from greendock.env.variable import Variable

class Plugin(ServerPlugin):
    variables = (Variable("GREENDOCK_ONE_SIZE", types.integer(1), "4", "How many.", "One"),)
    settings = {"max_requests": 500, "timeout": 77}

    def configure(self, options):
        self.size = options["GREENDOCK_ONE_SIZE"]
        if self.size > 9:
            yield "more than nine is too many"

    def post_fork(self, server, worker):
        pass
"""


def test_a_plugin_brings_settings_between_the_templates_and_the_environments(install: Install) -> None:
    install("one", PLUGIN, "greendock.hooks: one = one:Plugin")
    configuration = build(process={"GREENDOCK_PLUGINS": "one", "GUNICORN_TIMEOUT": "5"})
    assert configuration.settings["max_requests"].value == 500
    assert configuration.settings["max_requests"].source == "plugin one"
    assert configuration.settings["timeout"].value == 5
    assert "max_requests" not in build(process={}).settings


def test_a_plugin_reads_and_checks_its_own_variables(install: Install) -> None:
    install("one", PLUGIN, "greendock.hooks: one = one:Plugin")
    enabled = build(process={"GREENDOCK_PLUGINS": "one", "GREENDOCK_ONE_SIZE": "3"}).plugins
    assert enabled[0].plugin.size == 3
    assert "a whole number of at least 1" in complaints(GREENDOCK_PLUGINS="one", GREENDOCK_ONE_SIZE="x")[0]
    assert complaints(GREENDOCK_PLUGINS="one", GREENDOCK_ONE_SIZE="10")[0].endswith("more than nine is too many")
    assert build(process={"GREENDOCK_ONE_SIZE": "3"}).plugins == []  # known although the plugin is not in use
    assert "did you mean GREENDOCK_ONE_SIZE?" in complaints(GREENDOCK_PLUGINS="one", GREENDOCK_ONE_SIZES="3")[0]


def test_a_plugin_is_the_same_object_after_a_reload(install: Install) -> None:
    install("one", PLUGIN, "greendock.hooks: one = one:Plugin")
    first, second = (build(process={"GREENDOCK_PLUGINS": "one"}).plugins[0].plugin for _ in range(2))
    assert first is second


CLASSES = """
from gunicorn.glogging import Logger
from gunicorn.workers.sync import SyncWorker
class Worker(SyncWorker): pass
class Log(Logger): pass
"""


def test_worker_and_logger_classes_resolve_by_plugin_name_by_path_and_by_gunicorns_names(install: Install) -> None:
    install(
        "kinds",
        CLASSES,
        "greendock.workers: w = kinds:Worker",
        "gunicorn.workers: w = kinds:Worker",
        "greendock.loggers: l = kinds:Log",
    )

    def value(setting: str, text: str) -> str:
        found = build(process={f"GUNICORN_{setting.upper()}": text}).settings[setting].value
        return found if isinstance(found, str) else found.__name__

    assert value("worker_class", "w") == value("worker_class", "kinds.Worker") == "Worker"
    assert value("logger_class", "l") == value("logger_class", "kinds.Log") == "Log"
    assert value("worker_class", "sync") == "sync"
    assert value("worker_class", "egg:kinds#w") == "Worker"


def test_a_class_of_the_wrong_kind_is_a_complaint(install: Install) -> None:
    install("kinds", CLASSES, "greendock.workers: w = kinds:Log")
    assert "accepted: a subclass of gunicorn.workers.base.Worker" in complaints(GUNICORN_WORKER_CLASS="w")[0]
    assert "No package metadata was found for nobody" in complaints(GUNICORN_WORKER_CLASS="egg:nobody#w")[0]
    assert "accepted: a subclass of gunicorn.glogging.Logger" in complaints(GUNICORN_LOGGER_CLASS="os.PathLike")[0]


def test_the_command_lists_package_version_use_and_hooks(install: Install, tmp_path: Path) -> None:
    install("one", PLUGIN, "greendock.hooks: one = one:Plugin")
    install("torn", "import not_installed", "greendock.workers: torn = torn:Worker")
    done = greendock("plugins", "--format", "json", cwd=tmp_path, GREENDOCK_PLUGINS="one", PYTHONPATH=str(tmp_path))
    found = {row["name"]: row for row in json.loads(done.stdout)}
    assert found["one"] == {
        "name": "one",
        "kind": "server",
        "package": "one 1.2.3",
        "enabled": "enabled",
        "what": "post_fork",
    }
    assert found["metrics"]["enabled"] == ""
    assert found["metrics"]["package"].startswith("greendock ")
    assert found["torn"]["what"] == "cannot be loaded: No module named 'not_installed'"
    assert found["drain"]["what"] == "greendock.contrib.drain.DrainingThreadWorker"
    assert greendock("plugins", cwd=tmp_path).stdout.startswith("plugin ")


def test_the_template_has_no_use_for_threads_with_an_asgi_plugin_class() -> None:
    assert "threads" not in build(process={"GUNICORN_WORKER_CLASS": "request-id-asgi"}).settings
    assert build(process={"GUNICORN_WORKER_CLASS": "request-id"}).settings["threads"].value > 1


def test_metrics_without_its_library_is_a_complaint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugins, "_loaded", {})
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    (found,) = complaints(GREENDOCK_PLUGINS="metrics")
    assert found.endswith("prometheus-client is not installed: `uv sync --extra metrics`")


@pytest.mark.parametrize(
    ("text", "accepted"),
    [
        ("127.0.0.1:9180", True),
        ("[::1]:9180", True),
        ("unix:/run/metrics.sock", True),
        ("9180", False),
        ("localhost", False),
        ("127.0.0.1:", False),
        ("127.0.0.1:http", False),
        ("127.0.0.1:0", False),
        ("127.0.0.1:70000", False),
        ("unix:relative", False),
    ],
)
def test_the_address_of_metrics_is_checked_before_the_start(
    text: str, accepted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plugins, "_loaded", {})
    monkeypatch.setitem(sys.modules, "prometheus_client", None)  # nothing must be set up in this process
    found = complaints(GREENDOCK_PLUGINS="metrics", GREENDOCK_METRICS_BIND=text)
    assert any("GREENDOCK_METRICS_BIND" in complaint for complaint in found) is not accepted
