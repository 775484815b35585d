"""Secrets from files: ``NAME_FILE=/run/secrets/name`` stands for ``NAME``, as in the official images.

The application's image has every Python process call ``export`` when it starts, so that a migration, a worker or
``docker compose exec`` sees what the server sees. Nothing but ``os`` is imported here: each of them waits for it.
"""

from __future__ import annotations

import os
from collections.abc import MutableMapping

FOLDER = "/run/secrets/"
MOST_BYTES = 1024 * 1024
_OURS = ("GUNICORN_", "GREENDOCK_", "NGINX_")


def target(name: str, path: str) -> str | None:
    """Return the name a ``NAME_FILE`` stands for, when its file is in the folder of secrets."""
    bare = name.removesuffix("_FILE")
    return bare if bare and bare != name and path.startswith(FOLDER) else None


def read(path: str) -> str:
    """Return a secret's text, without the line break at its end. Raises ``OSError``, or ``ValueError`` for no text."""
    with open(path, "rb") as file:  # noqa: PTH123 - pathlib costs more than all of this
        content = file.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise ValueError("more than 1 MiB")
    try:
        return content.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise ValueError("not UTF-8 text") from None


def export(environ: MutableMapping[str, str] = os.environ) -> list[str]:
    """Set each ``NAME`` that only its file names, but for Greendock's own; return a sentence for each that failed."""
    complaints = []
    for variable, path in list(environ.items()):
        name = target(variable, path)
        if name is None or name in environ or name.startswith(_OURS):
            continue
        try:
            text = read(path)
        except (OSError, ValueError) as error:
            complaints.append(f"{variable}={path}: accepted: a readable file ({getattr(error, 'strerror', error)})")
            continue
        if text and "\0" not in text:
            environ[name] = text
    return complaints
