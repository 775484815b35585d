"""Chains of hooks: what is accepted, in which order they run, what a failing one does."""

from __future__ import annotations

import inspect
import logging
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from gunicorn import config as gunicorn_config

from greendock.env.problems import ConfigurationError, Problem
from greendock.hooks import chain
from greendock.hooks.chain import Hook, Options
from greendock.hooks.events import EVENTS, FAIL_FAST_CHOICES, SSL_CONTEXT, Event, policy
from greendock.server.build import Built, build
from tests.support import ROOT


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working folder whose modules can be hooks, forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        module = getattr(sys.modules[name], "__file__", None) or ""
        if module.startswith(str(tmp_path)):
            del sys.modules[name]


def built(**environment: str) -> Built:
    return build(process=environment)


def complaints(**environment: str) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        built(**environment)
    return [str(problem) for problem in caught.value.problems]


# --- the events ---


def test_every_hook_of_the_installed_gunicorn_is_known_with_its_arguments() -> None:
    theirs = {
        setting.name: tuple(inspect.signature(setting.default).parameters)
        for setting in gunicorn_config.make_settings().values()
        if "Hooks" in setting.section and callable(setting.default)
    }
    ours = {event.name: len(event.arguments) for event in (*EVENTS.values(), SSL_CONTEXT)}
    assert ours == {name: len(arguments) for name, arguments in theirs.items()} | {"ssl_context": 2}
    assert len(ours) == 20


@pytest.mark.parametrize("event", EVENTS.values(), ids=lambda event: event.name)
def test_a_chain_passes_gunicorns_own_arity_check(event: Event) -> None:
    chained = chain.chain(event, [Hook("one", lambda *_: None)], Options())
    setting = gunicorn_config.make_settings()[event.name]
    setting.set(chained)
    assert setting.get() is chained


# --- names and arity, in the one report ---


@pytest.mark.parametrize("event", EVENTS.values(), ids=lambda event: event.name)
def test_each_event_takes_hooks_from_the_environment_in_the_order_named(here: Path, event: Event) -> None:
    arguments = ", ".join(event.arguments)
    (here / "mine.py").write_text(f"def first({arguments}): pass\ndef second({arguments}): pass\n")
    names = [
        hook.name
        for hook in built(**{f"GUNICORN_{event.name.upper()}": "mine:first,mine:second"}).hooks[event.name]
        if not hook.name.startswith("greendock.")
    ]
    assert names == (["mine:second", "mine:first"] if event.teardown else ["mine:first", "mine:second"])


def test_all_faults_are_in_one_report(here: Path) -> None:
    (here / "faulty.py").write_text("def two(a, b): pass\nvalue = 1\n")
    (here / "broken.py").write_text("1 / 0\n")
    found = complaints(
        GUNICORN_ON_STARTING="faulty:two",
        GUNICORN_POST_FORK="nowhere:hook,faulty:two",
        GUNICORN_WHEN_READY="faulty:missing,faulty:value",
        GUNICORN_ON_EXIT="broken:hook",
        GUNICORN_PRE_FORK="justaname",
        GUNICORN_TIMEOUT="soon",
    )
    assert len(found) == 7
    report = "\n".join(found)
    assert "GUNICORN_ON_STARTING='faulty:two'" in report
    assert "accepted: a callable of (server), not (a, b)" in report
    assert "No module named 'nowhere'" in report
    assert "has no attribute 'missing'" in report
    assert "value in faulty is not callable" in report
    assert "ZeroDivisionError" in report
    assert "accepted: module:callable" in report
    assert "GUNICORN_TIMEOUT='soon'" in report


@pytest.mark.parametrize(
    ("signature", "accepted"),
    [
        ("worker, req, environ, resp", True),
        ("worker, req, environ", True),
        ("worker, req", True),
        ("*arguments", True),
        ("worker, req, environ, resp, extra=None", True),
        ("worker", False),
        ("a, b, c, d, e", False),
        ("worker, req, *, keyword", False),
    ],
)
def test_post_request_takes_the_arities_that_gunicorn_takes(here: Path, signature: str, accepted: bool) -> None:
    (here / "mine.py").write_text(f"calls = []\ndef hook({signature}): calls.append(locals())\n")
    if not accepted:
        assert (
            "accepted: a callable of (worker, req, environ, resp)" in complaints(GUNICORN_POST_REQUEST="mine:hook")[0]
        )
        return
    built(GUNICORN_POST_REQUEST="mine:hook").settings["post_request"].value("worker", "req", {}, None)
    assert len(sys.modules["mine"].calls) == 1


def test_a_method_and_a_callable_object_are_hooks(here: Path) -> None:
    (here / "mine.py").write_text(
        "class Pool:\n def open(self, server, worker): pass\n def __call__(self, server): pass\npool = Pool()\n"
    )
    hooked = built(GUNICORN_POST_FORK="mine:pool.open", GUNICORN_ON_EXIT="mine.pool").hooks
    assert "mine:pool.open" in [hook.name for hook in hooked["post_fork"]]
    assert "mine.pool" in [hook.name for hook in hooked["on_exit"]]


def test_ssl_context_is_one_callable_and_never_a_chain(here: Path) -> None:
    (here / "mine.py").write_text("def context(config, factory): return factory()\ndef bad(config): pass\n")
    value = built(GUNICORN_SSL_CONTEXT="mine:context").settings["ssl_context"].value
    assert value is sys.modules["mine"].context
    assert "accepted: one callable" in complaints(GUNICORN_SSL_CONTEXT="mine:context,mine:context")[0]
    assert "accepted: a callable of (config, default" in complaints(GUNICORN_SSL_CONTEXT="mine:bad")[0]


# --- no cost where nothing is hooked ---


def test_there_is_no_chain_where_nothing_is_hooked() -> None:
    configuration = built()
    for name in ("pre_request", "post_request", "worker_int", "worker_abort", "pre_fork", "pre_exec"):
        assert name not in configuration.settings
        assert name not in configuration.hooks


# --- what a failing hook does ---


def fail(*_: Any) -> None:
    raise ValueError("it broke")


@pytest.mark.parametrize("event", [EVENTS[name] for name in EVENTS if name != "pre_request"], ids=lambda e: e.name)
def test_a_failing_hook_is_logged_once_and_the_next_ones_run(
    event: Event, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[str] = []
    steps = [Hook("a", fail), Hook("b", lambda *_: ran.append("b"))]
    arguments = [SimpleNamespace(pid=42, age=1) if name == "worker" else None for name in event.arguments]
    with caplog.at_level(logging.ERROR, "gunicorn.error"):
        monkeypatch.setattr(logging.getLogger("gunicorn.error"), "propagate", True)
        chain.chain(event, steps, Options())(*arguments)
    assert ran == ["b"]
    (record,) = caplog.records
    worker = " (worker 42)" if "worker" in event.arguments else ""
    assert record.getMessage() == f"Hook failed: {event.name} hook a{worker}"
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], ValueError)


def test_a_failing_pre_request_refuses_the_request_and_says_whose_fault_it_was() -> None:
    ran: list[str] = []
    steps = [Hook("guard", fail), Hook("later", lambda *_: ran.append("later"))]
    with pytest.raises(chain.HookError, match=r"^Hook failed: pre_request hook guard \(worker 42\)$") as caught:
        chain.chain(EVENTS["pre_request"], steps, Options())(SimpleNamespace(pid=42, age=1), None)
    assert isinstance(caught.value.__cause__, ValueError)
    assert ran == []


@pytest.mark.parametrize("name", FAIL_FAST_CHOICES)
def test_a_failing_hook_of_a_fail_fast_event_ends_the_start(name: str) -> None:
    event = EVENTS[name]
    with pytest.raises(SystemExit) as caught:
        chain.chain(event, [Hook("a", fail)], Options(fail_fast=(name,)))(*(None for _ in event.arguments))
    # 3 is Gunicorn's "worker failed to boot", for which the master stops everything.
    assert caught.value.code == (3 if event.process == "worker" else 1)


def test_only_the_named_events_fail_fast() -> None:
    default = tuple(built().options["GREENDOCK_HOOK_FAIL_FAST"])
    assert {name for name, event in EVENTS.items() if policy(event, default) == "stop"} == {
        "on_starting",
        "post_worker_init",
    }
    assert built(GREENDOCK_HOOK_FAIL_FAST="none").options["GREENDOCK_HOOK_FAIL_FAST"] == []
    assert "GREENDOCK_HOOK_FAIL_FAST='child_exit'" in complaints(GREENDOCK_HOOK_FAIL_FAST="child_exit")[0]


@pytest.mark.parametrize("name", [name for name, event in EVENTS.items() if event.process.endswith("master")])
def test_sys_exit_in_a_master_hook_gives_up_a_start_and_nothing_else(name: str) -> None:
    event = EVENTS[name]
    run = chain.chain(event, [Hook("a", lambda *_: sys.exit(7))], Options())
    arguments = [None for _ in event.arguments]
    if event.fail_fast:
        with pytest.raises(SystemExit):
            run(*arguments)
    else:
        run(*arguments)


def test_a_listener_hears_of_each_failure_and_cannot_do_harm(monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[str] = []
    monkeypatch.setattr(chain, "on_failure", [fail, heard.append])
    chain.chain(EVENTS["child_exit"], [Hook("a", fail), Hook("b", fail)], Options())(None, None)
    assert heard == ["child_exit", "child_exit"]


def test_only_a_hook_slower_than_the_threshold_is_logged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    clock = [0.0]
    monkeypatch.setattr(chain, "time", SimpleNamespace(monotonic=lambda: clock[0]))

    def takes(seconds: float) -> Callable[..., None]:
        return lambda *_: clock.__setitem__(0, clock[0] + seconds)

    steps = [Hook("quick", takes(0.4)), Hook("slow", takes(2.5))]
    monkeypatch.setattr(logging.getLogger("gunicorn.error"), "propagate", True)
    with caplog.at_level(logging.WARNING, "gunicorn.error"):
        chain.chain(EVENTS["on_reload"], steps, Options(slow=0.5))(None)
        chain.chain(EVENTS["on_reload"], steps, Options(slow=0))(None)
    assert [record.getMessage() for record in caplog.records] == ["Slow hook: on_reload hook slow took 2.500 s"]


def test_a_dotted_name_works_as_in_gunicorn_itself() -> None:
    assert chain.load("os.path.join") is chain.load("os.path:join")
    problems: list[Problem] = []
    assert chain.named("X", ["os:sep"], EVENTS["on_exit"], "test", problems) == []
    assert "sep in os is not callable" in str(problems[0])


# --- the document ---


@pytest.mark.parametrize("event", EVENTS.values(), ids=lambda event: event.name)
def test_the_document_says_of_each_event_what_the_code_does(event: Event) -> None:
    default = tuple(built().options["GREENDOCK_HOOK_FAIL_FAST"])
    raising = {"refuse": "the request is answered 500", "stop": "stops the start", "log": "logged"}[
        policy(event, default)
    ]
    if event.fail_fast and event.name not in default:
        raising += " (can stop the start)"
    order = "reverse" if event.teardown else "forward"
    row = f"| `{event.name}` | `{', '.join(event.arguments)}` | {event.process} | {raising} | {order} |"
    assert row in (ROOT / "docs" / "hooks-and-plugins.md").read_text()
