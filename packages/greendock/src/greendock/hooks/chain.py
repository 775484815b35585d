"""Chains of hooks: order, error policy, and a word about slow ones.

Order: Greendock's own, then enabled plugins in their order, then the callables named in the environment; teardown
events in reverse. A chain is made only where something is hooked.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import logging
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from gunicorn import util

from greendock.env.problems import Problem
from greendock.hooks.events import EVENTS, SSL_CONTEXT, Event, Policy, policy

HookFunction = Callable[..., Any]

# Told of each failure, with the event's name; metrics plugins append to it.
on_failure: list[Callable[[str], None]] = []
# Told how long each hook took, in seconds, with the event's and the hook's name; not of what runs in each request.
on_duration: list[Callable[[str, str, float], None]] = []


class HookError(Exception):
    """A hook that refuses the request has failed; its exception is the cause."""


@dataclass(frozen=True)
class Hook:
    """One callable of a chain, and the name it is logged by."""

    name: str
    call: HookFunction


@dataclass(frozen=True)
class Options:
    """``fail_fast``: events whose failing hook stops the start; ``slow``: seconds after which one is logged, or 0."""

    fail_fast: tuple[str, ...] = ()
    slow: float = 0


def named(variable: str, texts: Iterable[str], event: Event, source: str, problems: list[Problem]) -> list[Hook]:
    """Import the callables an environment variable names, and check how many arguments each takes."""
    hooks = []
    for text in texts:
        try:
            call = load(text)
        except Exception as error:  # importing runs other people's code
            reason = str(error) if isinstance(error, LookupError) else f"{type(error).__name__}: {error}"
            problems.append(Problem(variable, text, source, f"cannot be loaded: {reason}"))
            continue
        complaint = arity_complaint(call, event)
        if complaint:
            problems.append(Problem(variable, text, source, complaint))
        else:
            hooks.append(Hook(text, adapt(call, event)))
    return hooks


def load(text: str) -> HookFunction:
    """Import ``module:attribute`` (or Gunicorn's ``module.attribute``); ``LookupError`` when it is not callable."""
    module, colon, attribute = text.partition(":")
    if not colon:
        module, _, attribute = text.rpartition(".")
    if not module or not attribute:
        raise LookupError("accepted: module:callable")
    here = str(util.getcwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    loaded = functools.reduce(getattr, attribute.split("."), importlib.import_module(module))
    if not callable(loaded):
        raise LookupError(f"{attribute} in {module} is not callable")
    return loaded


def arity_complaint(call: HookFunction, event: Event) -> str | None:
    """Say why ``call`` cannot be called with the event's arguments, or ``None``.

    Gunicorn also takes ``post_request`` hooks of two or three arguments, so these are accepted here too.
    """
    try:
        signature = inspect.signature(call)
    except (TypeError, ValueError):
        return None  # a builtin that does not tell
    counts = (4, 3, 2) if event.name == "post_request" else (len(event.arguments),)
    if any(_takes(signature, count) for count in counts):
        return None
    return f"accepted: a callable of ({', '.join(event.arguments)}), not {signature}"


def _takes(signature: inspect.Signature, count: int) -> bool:
    try:
        signature.bind(*range(count))
    except TypeError:
        return False
    return True


def adapt(call: HookFunction, event: Event) -> HookFunction:
    """Let a ``post_request`` hook of two or three arguments be called with four."""
    if event.name != "post_request":
        return call
    try:
        signature = inspect.signature(call)
    except (TypeError, ValueError):
        return call
    count = next((count for count in (4, 3, 2) if _takes(signature, count)), 4)
    return call if count == 4 else lambda *arguments: call(*arguments[:count])


def chain(event: Event, steps: Iterable[Hook], options: Options) -> HookFunction:
    """Return a callable that runs ``steps`` in turn under the event's policy, with the event's exact arity."""
    on_error = policy(event, options.fail_fast)
    # In the master, sys.exit() means "give up the start" and nothing later. In a worker, a signal's handler may exit
    # in the middle of a hook.
    failures = Exception if event.fail_fast or event.process == "worker" else (Exception, SystemExit)
    calls = tuple((step, step.call) for step in steps)
    slow = options.slow or float("inf")
    clock = time.monotonic
    timed = on_duration if event.name not in ("pre_request", "post_request") else ()

    def run(*arguments: Any) -> None:
        passing = sys.exception()  # worker_exit and post_request may run while an exception passes through Gunicorn
        for step, call in calls:
            started = clock()
            try:
                call(*arguments)
            except failures as error:
                _cut_context(error, passing)
                _failed(event, step, arguments, error, on_error)
            took = clock() - started
            if took > slow:
                _log(arguments).warning("Slow hook: %s hook %s took %.3f s", event.name, step.name, took)
            for listener in timed:
                with suppress(Exception):
                    listener(event.name, step.name, took)

    parameters = [inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in event.arguments]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__name__ = run.__qualname__ = f"{event.name}: {', '.join(step.name for step, _ in calls)}"
    return run


def _cut_context(error: BaseException, passing: BaseException | None) -> None:
    """Leave an exception out of the traceback that is none of the hook's doing."""
    while error.__context__ is not None and error.__context__ is not passing:
        error = error.__context__
    error.__context__ = None


def _failed(event: Event, step: Hook, arguments: tuple[Any, ...], error: BaseException, on_error: Policy) -> None:
    for listener in on_failure:
        with suppress(Exception):
            listener(event.name)
    worker = next((f" (worker {a.pid})" for a in arguments if getattr(a, "age", None)), "")
    if on_error == "refuse":
        # Gunicorn logs it, with what caused it, and answers 500. An OSError or a StopIteration it would take for the
        # client's going away: no answer, no log.
        raise HookError(f"Hook failed: {event.name} hook {step.name}{worker}") from error
    stops = on_error == "stop"
    ending = "; giving up the start" if stops else ""
    log = _log(arguments)
    log.error("Hook failed: %s hook %s%s%s", event.name, step.name, worker, ending, exc_info=error)
    if stops:
        # 3 is "worker failed to boot", for which Gunicorn stops; ``lifecycle`` lets it go on when other workers serve.
        sys.exit(3 if event.process == "worker" else 1)


def _log(arguments: tuple[Any, ...]) -> Any:
    return getattr(arguments[0], "log", None) or logging.getLogger("gunicorn.error")


def ssl_context(texts: list[str], variable: str, source: str, problems: list[Problem]) -> HookFunction | None:
    """Return the one callable that ``ssl_context`` takes: it has a result, so there is no chain of them."""
    if len(texts) != 1:
        problems.append(Problem(variable, ",".join(texts), source, "accepted: one callable, module:callable"))
        return None
    hooks = named(variable, texts, SSL_CONTEXT, source, problems)
    return hooks[0].call if hooks else None


def from_environment(settings: Mapping[str, Any], problems: list[Problem]) -> dict[str, list[Hook]]:
    """Return the hooks that ``settings`` name as text, by event."""
    return {
        name: named(f"GUNICORN_{name.upper()}", settings[name].value, event, settings[name].source, problems)
        for name, event in EVENTS.items()
        if name in settings
    }


def ordered(event: Event, *groups: list[Hook]) -> list[Hook]:
    """Join groups in order; in reverse for teardown events."""
    joined = [hook for group in groups for hook in group]
    return joined[::-1] if event.teardown else joined
