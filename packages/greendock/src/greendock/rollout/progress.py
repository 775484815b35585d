"""What a person sees while it runs: one line for each step, with its duration."""

from __future__ import annotations

import sys
import time
from types import TracebackType


class Progress:
    """Writes to standard error. ``with progress.step("build"):`` tells the step and, at its end, how long it took."""

    def __init__(self) -> None:
        self._number = 0
        self._started = 0.0
        self._detail = ""

    def step(self, title: str) -> Progress:
        """Begin a step."""
        self._number += 1
        self._write(f"[{self._number}] {title}")
        return self

    def __enter__(self) -> None:
        self._started = time.monotonic()
        self._detail = ""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        took = f"{time.monotonic() - self._started:.1f} s"
        self._write(f"    done in {took}" if error is None else f"    failed after {took}")

    def detail(self, text: str) -> None:
        """Tell how far the step is, when that has changed."""
        if text != self._detail:
            self._detail = text
            self._write(f"    {text}")

    def note(self, text: str) -> None:
        """Tell something that is not a step."""
        self._write(text)

    def quote(self, title: str, text: str) -> None:
        """Show what somebody else wrote."""
        self._write(f"--- {title} ---\n{text}\n---")

    def _write(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)
