"""Maintenance: one file, which Nginx looks for at every request. It says what visitors are told, and who is let in.

It lies among the temporary files, on a volume, so that maintenance outlives a restart.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

from greendock.proxy.types import NETWORKS

# What nginx.conf can hold between double quotes, and JSON as well.
MESSAGE = re.compile(r'[^\x00-\x1f\x7f"$\\]{1,500}')


@dataclass(frozen=True)
class Maintenance:
    """What maintenance says and whom it lets in; ``until`` is a time in seconds since 1970, ``allow`` networks."""

    message: str = ""
    until: float | None = None
    allow: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        """What the error page shows."""
        if self.message or self.until is None:
            return self.message or "We will be back shortly."
        return f"We will be back by {datetime.fromtimestamp(self.until, UTC):%H:%M} UTC."

    def retry_after(self, default: str) -> str:
        """Return the value of ``Retry-After``: the announced time, or ``default`` seconds."""
        return default if self.until is None else format_datetime(datetime.fromtimestamp(self.until, UTC), usegmt=True)


def flag(values: Mapping[str, Any]) -> Path:
    """Return the path of the file."""
    return Path(values["NGINX_TEMP_DIR"]) / "maintenance"


def load(values: Mapping[str, Any]) -> Maintenance:
    """Return what the file says; what it does not say, or says wrongly, is as without options."""
    try:
        said = json.loads(flag(values).read_text(encoding="utf-8"))
        return Maintenance(message(said["message"]), said["until"] and float(said["until"]), networks(said["allow"]))
    except (OSError, ValueError, KeyError, TypeError):
        return Maintenance()


def save(values: Mapping[str, Any], maintenance: Maintenance) -> None:
    """Begin maintenance: Nginx sees the whole file or none."""
    new = flag(values).with_suffix(".new")
    new.write_text(json.dumps(asdict(maintenance)), encoding="utf-8")
    new.chmod(0o644)
    new.replace(flag(values))


def message(text: str) -> str:
    """Accept up to 500 characters on one line, without ``"``, ``$`` and backslashes; raise ``ValueError``."""
    if text and MESSAGE.fullmatch(text) is None:
        raise ValueError(text)
    return text


def networks(texts: list[str]) -> list[str]:
    """Accept addresses, networks and their names; raise ``ValueError``."""
    return [network for text in texts for network in NETWORKS.parse(text)]


def until(text: str, now: datetime) -> float:
    """Read ``14:00``, the next time it is that late by ``now``'s clock, or a date and time as in ISO 8601."""
    if re.fullmatch(r"[0-2]?[0-9]:[0-5][0-9]", text):
        hour, minute = map(int, text.split(":"))
        then = now.replace(hour=hour, minute=minute, second=0, microsecond=0)
        return (then if then > now else then + timedelta(days=1)).timestamp()
    then = datetime.fromisoformat(text)
    return (then if then.tzinfo else then.replace(tzinfo=now.tzinfo)).timestamp()
