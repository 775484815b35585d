"""What Gunicorn ends up with: its defaults < ours < ``GUNICORN_CMD_ARGS`` < the command line."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gunicorn.config import Config

from greendock.server.build import Built
from greendock.server.settings import Setting


@dataclass(frozen=True)
class Effective:
    """Gunicorn's complete ``Config``, and each of its settings with its source."""

    config: Any
    settings: dict[str, Setting]


def effective(built: Built, arguments: Sequence[str] = ()) -> Effective:
    """Return what Gunicorn has when it is started with these command line ``arguments``."""
    config = Config()
    settings = {name: Setting(setting.get(), "Gunicorn's default") for name, setting in config.settings.items()}
    for name, setting in built.settings.items():
        config.set(name, setting.value)
        settings[name] = Setting(config.settings[name].get(), setting.source)
    lines = {
        "GUNICORN_CMD_ARGS": shlex.split(os.environ.get("GUNICORN_CMD_ARGS", "")),
        "command line": list(arguments),
    }
    for source, words in lines.items():
        for name, value in vars(config.parser().parse_args(words)).items():
            if value is not None and name in config.settings:
                config.set(name, value)
                settings[name] = Setting(config.settings[name].get(), source)
    return Effective(config, settings)
