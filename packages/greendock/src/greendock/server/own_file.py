"""A Gunicorn configuration file of the user's own, such as one that is brought along from another image.

By itself it would replace Greendock's: the server would serve and never be ready. So ``greendock run`` has Gunicorn
read ``greendock.server.configuration`` instead, which takes the file's settings above the environment's, and lets its
hooks join the chains.
"""

from __future__ import annotations

import runpy
from collections.abc import MutableMapping, Sequence
from pathlib import Path
from typing import Any

from greendock.runtime.process import is_gunicorn

VARIABLE = "GREENDOCK_CONFIG_FILE"
_DEFAULT = "gunicorn.conf.py"
_CONFIGURATION = str(Path(__file__).with_name("configuration.py"))


def join(command: Sequence[str], environ: MutableMapping[str, str]) -> list[str]:
    """Return the command that has Gunicorn read Greendock's configuration; name the user's file in ``environ``.

    A file that mentions ``greendock`` is one that uses it. ``python:MODULE`` is left alone.
    """
    words = list(command)
    if not is_gunicorn(words):
        return words
    rest, file = _without_file(words)
    if (file or "").startswith("python:"):
        return words
    path = Path(file or _DEFAULT)
    text = path.read_text(errors="replace") if path.is_file() else ""
    if "greendock" in text or (file and not path.is_file()):
        return words  # uses Greendock, or Gunicorn says that there is no such file
    if text:
        environ[VARIABLE] = str(path.absolute())
    program = 3 if words[1:2] == ["-m"] else 1
    return [*rest[:program], "--config", _CONFIGURATION, *rest[program:]]


def _without_file(words: Sequence[str]) -> tuple[list[str], str | None]:
    """Take ``-c FILE`` out of a command, in each of the ways it can be written."""
    rest: list[str] = []
    file = None
    left = iter(words)
    for word in left:
        if word in ("-c", "--config"):
            file = next(left, None)
        elif word.startswith("--config="):
            file = word.partition("=")[2]
        elif word.startswith("-c") and len(word) > 2:
            file = word[2:]
        else:
            rest.append(word)
    return rest, file


def read(path: Path, names: Sequence[str]) -> dict[str, Any]:
    """Run a configuration file; return what it says about Gunicorn's settings, ``names``. Raises what it raises."""
    written = runpy.run_path(str(path), run_name="__config__")
    return {name: written[name] for name in names if name in written}
