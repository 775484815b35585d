"""The lifespan of an application: told that the worker starts, and that it has ended.

https://asgi.readthedocs.io/en/latest/specs/lifespan.html
"""

from __future__ import annotations

import asyncio
from typing import Any


class LifespanError(Exception):
    """The application has said that it cannot start or stop, or has raised while it did."""


class Lifespan:
    """One task that runs ``app`` for as long as the worker lives. ``mode`` is Gunicorn's ``asgi_lifespan``."""

    def __init__(self, app: Any, mode: str, state: dict[str, Any], log: Any) -> None:
        self._app, self._mode, self._state, self._log = app, mode, state, log
        self._messages: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._answered = asyncio.Event()
        self._answer: dict[str, Any] = {}
        self._task: asyncio.Task[None] | None = None

    async def startup(self) -> None:
        """Return when the application has started. Raises ``LifespanError`` when it cannot.

        An application that raises before it has answered knows nothing of lifespan (the specification's words); with
        ``asgi_lifespan=on`` that is an error too.
        """
        if self._mode == "off":
            return
        self._task = asyncio.get_running_loop().create_task(self._run())
        try:
            await self._ask(self._task, "startup")
        except LifespanError:
            raise
        except Exception as error:
            self._task = None
            if self._mode == "on":
                raise LifespanError("the application raised in lifespan.startup") from error
            self._log.info("The application has no lifespan (%s: %s)", type(error).__name__, error)

    async def shutdown(self) -> None:
        """Tell the application that nothing more comes, and wait until it is done. Raises ``LifespanError``."""
        if self._task is None or self._task.done():
            return
        try:
            await self._ask(self._task, "shutdown")
        except LifespanError:
            raise
        except Exception as error:
            raise LifespanError("the application raised in lifespan.shutdown") from error

    def where(self) -> str:
        """Return the lines at which the application waits, the outermost call first."""
        lines, waiting = [], self._task.get_coro() if self._task is not None else None
        while (frame := getattr(waiting, "cr_frame", None) or getattr(waiting, "ag_frame", None)) is not None:
            if frame.f_code.co_filename != __file__:
                lines.append(f"{frame.f_code.co_filename}:{frame.f_lineno} in {frame.f_code.co_name}")
            waiting = getattr(waiting, "cr_await", None) or getattr(waiting, "ag_await", None)
        return " > ".join(lines) or "nothing of the application's own"

    async def _ask(self, task: asyncio.Task[None], what: str) -> None:
        self._answered.clear()
        self._messages.put_nowait({"type": f"lifespan.{what}"})
        answered = asyncio.ensure_future(self._answered.wait())
        await asyncio.wait({answered, task}, return_when=asyncio.FIRST_COMPLETED)
        answered.cancel()
        if self._answered.is_set():
            if self._answer["type"] == f"lifespan.{what}.failed":
                raise LifespanError(self._answer.get("message", "") or f"the application failed in lifespan.{what}")
            return
        error = task.exception()
        if error is None and what == "startup":
            error = RuntimeError("it returned without an answer")
        if error is not None:
            raise error

    async def _run(self) -> None:
        scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": self._state}
        await self._app(scope, self._messages.get, self._send)

    async def _send(self, message: dict[str, Any]) -> None:
        self._answer = message
        self._answered.set()
