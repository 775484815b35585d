"""Why the application cannot be loaded: one traceback, however many workers fail alike, and the server's last words."""

from __future__ import annotations

import functools
import os
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gunicorn.arbiter import Arbiter

# Parts of the paths of code that is not the user's own.
_OTHERS = ("site-packages/", "/lib/python", "<frozen ", str(Path(__file__).parents[1]))


@dataclass(frozen=True)
class Loading:
    """Keeps the reason in ``file``, where every worker of this server finds it."""

    file: Path

    def forget(self, _server: Any) -> None:
        """``on_starting``, ``on_reload``: what failed before is mended, or will be told again."""
        with suppress(OSError):
            self.file.unlink(missing_ok=True)

    def watch(self, _server: Any, worker: Any) -> None:
        """``post_fork``: note why this worker cannot load the application."""
        worker.load_wsgi = functools.partial(self._load, worker, worker.load_wsgi)

    def reason(self) -> str:
        """Return the reason in one line, ``""`` when nothing is known."""
        try:
            return self.file.read_text(errors="replace")
        except OSError:
            return ""

    def _load(self, worker: Any, load: Callable[[], None]) -> None:
        try:
            load()
        except Exception as error:
            if not self._first_to_tell(describe(error)):
                worker.log.error("The application cannot be loaded, for the reason above")
                sys.exit(Arbiter.WORKER_BOOT_ERROR)
            raise

    def _first_to_tell(self, text: str) -> bool:
        """Keep the reason; return whether it is news. Workers that fail at the same moment do not both tell."""
        mine = self.file.with_name(f"{self.file.name}.{os.getpid()}")
        try:
            mine.write_text(text)
            os.link(mine, self.file)
        except FileExistsError:
            if self.reason() == text:
                return False
            mine.replace(self.file)
        except OSError:
            return True
        finally:
            with suppress(OSError):
                mine.unlink(missing_ok=True)
        return True


def describe(error: BaseException) -> str:
    """Return an exception in one line: what it says, and the last line of the user's own code that led to it."""
    said = " ".join(f"{type(error).__name__}: {error}".split())
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not _of_others(frame.filename)]
    return f"{said} ({frames[-1].filename} line {frames[-1].lineno}: {frames[-1].line})" if frames else said


def _of_others(filename: str) -> bool:
    return any(part in filename for part in _OTHERS)
